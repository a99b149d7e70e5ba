"""The implementation of `vidpred prepare NAME` and `python -m data_prep.NAME`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from vidpred.errors import ConfigError, DataError, counted

from . import sets
from .base import DataSet


@dataclass(frozen=True)
class Request:
    """The arguments of a preparation on the command line.

    Attributes:
        kind: Class of the set.
        source: Folder or file of the set.
        target: Folder to write; None for sets of videos that are used directly, to write next to the videos.
        settings: KEY=VALUE words for the fields of the set.
        cache: Whether to decode videos once into frames.
        workers: Number of processes; None uses one per core.
        check: Whether to read everything without writing anything.
        json: File to write the results of a check to.
        preview: Whether to draw TARGET/preview.png.
    """

    kind: type[DataSet]
    source: Path
    target: Path | None = None
    settings: Sequence[str] = ()
    cache: bool = False
    workers: int | None = None
    check: bool = False
    json: Path | None = None
    preview: bool = False


def find_set(name: str) -> type[DataSet]:
    """Return the class of a set.

    Raises:
        ConfigError: There is no such set; the message suggests a similar name.
    """
    known = sets()
    if name not in known:
        near = get_close_matches(name, known, 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"no set named {name!r}{meant}; there are {', '.join(known)}")
    return known[name]


def describe_sets() -> str:
    """Return a line for each set."""
    known = sets()
    width = max(map(len, known))
    return "\n".join(["Sets:", *(f"  {name:<{width}}  {kind.about}" for name, kind in known.items())])


def describe_set(kind: type[DataSet]) -> str:
    """Return the description of a set, of its expected source, and of its settings."""
    from vidpred.settings.tables import explain_class

    about = (sys.modules[kind.__module__].__doc__ or "").strip()
    return f"{about}\n\nSOURCE: {kind.expects}\n\n{explain_class(kind, 'KEY=VALUE', ('source',))}"


def run(request: Request) -> str:
    """Prepare or check a set, and return the text to print.

    Raises:
        ConfigError: The arguments are invalid or contradict each other.
        DataError: The source cannot be read, or a checked file is bad.
        StorageError: The target cannot be written.
    """
    from vidpred.data.prepared.pipeline import check, prepare
    from vidpred.files import check_input, check_output
    from vidpred.settings.overrides import parse_settings

    check_input(request.source)
    hint = f"`vidpred prepare {request.kind.name} --help` lists the keys"
    preparation = parse_settings(request.kind, request.settings, {"source": request.source}, hint)
    _refuse_combinations(preparation, request)
    if request.check:
        check_output(request.json, True, "--json", stream=True)
        return _report(preparation, check(preparation, request.workers), request.json)
    unpacked = preparation.unpacked(request.target)
    if request.cache or not preparation.keeps_videos:
        if request.target is None:
            raise ConfigError(f"no target folder; vidpred prepare {preparation.name} {request.source} TARGET")
        if unpacked is not preparation:
            raise ConfigError(f"extract the archive first, without --cache [{request.source}]")
        text = prepare(preparation, request.target, preparation.size, request.workers).text()
    else:
        from .videos import keep_videos

        text = keep_videos(unpacked, request.target)  # type: ignore[arg-type]
    if request.preview:
        from .preview import write_preview

        text += f"\nlook at {write_preview(unpacked, request.target or request.source)}"
    return text


def _refuse_combinations(preparation: DataSet, request: Request) -> None:
    if request.json and not request.check:
        raise ConfigError("--json needs --check")
    if request.check and (request.preview or request.cache):
        raise ConfigError("--check writes nothing; remove --preview and --cache")
    kept = preparation.keeps_videos and not request.cache and not request.check
    if kept and "size" in preparation.model_fields_set:
        raise ConfigError("[size] needs --cache; without it, videos are scaled to the run's data.size")


def _report(preparation: DataSet, rows: list[dict[str, Any]], file: Path | None) -> str:
    """Write the results of a check, and return a line with their number.

    Raises:
        DataError: A file is bad.
    """
    bad = [row for row in rows if not row["ok"]]
    parts = "groups of images" if preparation.of_images else "files"
    if file:
        from vidpred.files import write_file

        text = json.dumps({"set": preparation.name, "source": str(preparation.source), "files": rows}, indent=1)
        write_file(file, text + "\n", "free space or choose another --json")
    if bad:
        named = "; ".join(f"{row['item']}: {row['reason']}" for row in bad[:3])
        more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise DataError(f"{len(bad):,} of {len(rows):,} {parts} are bad [{preparation.source}]: {named}{more}")
    damaged = [row for row in rows if row.get("notes")]
    if damaged:
        noun = "image" if preparation.of_images else "frame"
        lines = [f"{row['item']}: usable: {counted(row['frames'], noun)}; {'; '.join(row['notes'])}" for row in damaged]
        what = f"{len(rows) - len(damaged):,} of {len(rows):,} {parts} are good, the others are usable"
        return "\n".join([f"{what} [{preparation.source}]", *lines])
    if preparation.of_images:
        return f"all {counted(sum(row['frames'] for row in rows), 'image')} are good [{preparation.source}]"
    return f"all {len(rows):,} files are good [{preparation.source}]"


def main(name: str) -> None:
    """Run `vidpred prepare NAME`; the entry point of `python -m data_prep.NAME`."""
    from vidpred.commands import app

    sys.argv[1:1] = ["prepare", name]
    app.main()
