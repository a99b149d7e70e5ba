"""What `vidpred prepare NAME` and `python -m data_prep.NAME` do with a set."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from vidpred.errors import ConfigError, DataError

from . import sets
from .base import DataSet


@dataclass(frozen=True)
class Request:
    """A preparation as the command line asks for it.

    Attributes:
        kind: The class of the set.
        source: Where the set is.
        target: The folder to write to; None: next to the videos, where those stay as they are.
        settings: KEY=VALUE words for the fields of the set.
        cache: Decode videos once into frames.
        workers: Number of processes; None: one a core.
        check: Read everything and write nothing.
        json: Where to list what was checked.
        preview: Draw TARGET/preview.png.
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
    """Return the class of a set. Raises ConfigError naming the nearest one."""
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
    """Return what a set is, what its source holds, and its settings."""
    from vidpred.config.explain import explain_class

    about = (sys.modules[kind.__module__].__doc__ or "").strip()
    return f"{about}\n\nSOURCE: {kind.expects}\n\n{explain_class(kind, 'KEY=VALUE', ('source',))}"


def run(request: Request) -> str:
    """Prepare or check a set; return what to print. Raises ConfigError, DataError, StorageError."""
    from vidpred.config.load import parse_settings
    from vidpred.data.prepared.pipeline import check, prepare

    hint = f"`vidpred prepare {request.kind.name} --help` lists the keys"
    preparation = parse_settings(request.kind, request.settings, {"source": request.source}, hint)
    _refuse_combinations(preparation, request)
    if request.check:
        return _report(preparation, check(preparation, request.workers), request.json)
    unpacked = preparation.unpacked(request.target)
    if request.cache or not preparation.keeps_videos:
        if request.target is None:
            raise ConfigError(f"where to? vidpred prepare {preparation.name} {request.source} TARGET")
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
        raise ConfigError("--json belongs to --check")
    if request.check and (request.preview or request.cache):
        raise ConfigError("--check writes nothing: leave out --preview and --cache")
    kept = preparation.keeps_videos and not request.cache and not request.check
    if kept and "size" in preparation.model_fields_set:
        raise ConfigError("[size] belongs to --cache; videos that stay as they are take data.size of the run")


def _report(preparation: DataSet, rows: list[dict[str, Any]], file: Path | None) -> str:
    """Write the rows; return a line with their count. Raises DataError where any is bad."""
    bad = [row for row in rows if not row["ok"]]
    if file:
        from vidpred.files import write_file

        text = json.dumps({"set": preparation.name, "source": str(preparation.source), "files": rows}, indent=1)
        write_file(file, text + "\n", "free space or choose another --json")
    if bad:
        named = "; ".join(f"{row['item']}: {row['reason']}" for row in bad[:3])
        more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise DataError(f"{len(bad):,} of {len(rows):,} files are bad [{preparation.source}]: {named}{more}")
    damaged = [row for row in rows if row.get("notes")]
    if damaged:
        lines = [f"{row['item']}: usable: {row['frames']} frames; {'; '.join(row['notes'])}" for row in damaged]
        what = f"{len(rows) - len(damaged):,} of {len(rows):,} files are good, the others are usable"
        return "\n".join([f"{what} [{preparation.source}]", *lines])
    return f"all {len(rows):,} files are good [{preparation.source}]"


def main(name: str) -> None:
    """Run `python -m data_prep.NAME`, which is `vidpred prepare NAME`."""
    from vidpred.commands import app

    sys.argv[1:1] = ["prepare", name]
    app.main()
