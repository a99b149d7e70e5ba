"""The command line of `vidpred prepare NAME` and `python -m data_prep.NAME`: one parser, made from a set's fields."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from vidpred.errors import ConfigError, DataError, VidpredError

from . import sets
from .base import DataSet

COMMON = ("source", "target", "size", "cache", "workers", "check", "json", "preview")


class _Parser(argparse.ArgumentParser):
    """Mistakes are one line, as everywhere in vidpred."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see {self.prog} --help")

    def format_help(self) -> str:
        return super().format_help().replace("usage: ", "Usage: ", 1)


def run(program: str, words: Sequence[str]) -> str:
    """`words` after "vidpred prepare": NAME SOURCE [TARGET] and options. Returns what to print."""
    known = sets()
    if not words or words[0] in ("-h", "--help"):
        return _overview(program, known)
    name, *rest = words
    if name not in known:
        near = get_close_matches(name, known, 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"no set named {name!r}{meant}; there are {', '.join(known)}")
    return run_set(f"{program} {name}", known[name], rest)


def run_set(program: str, kind: type[DataSet], words: Sequence[str]) -> str:
    """Prepare or check one set as its own words say."""
    parser = make_parser(program, kind)
    if not words or "-h" in words or "--help" in words:
        return parser.format_help()
    options, unknown = parser.parse_known_intermixed_args(list(words))
    if unknown:
        raise ConfigError(_unknown(unknown[0], parser))
    from vidpred.data.prepared.pipeline import check, prepare

    preparation = _make_set(kind, {key: value for key, value in vars(options).items() if key not in COMMON[1:]})
    _refuse_combinations(preparation, options)
    if options.check:
        return _report(preparation, check(preparation, options.workers), options.json)
    frames = options.cache or not preparation.keeps_videos
    unpacked = preparation.unpacked(options.target)
    if frames:
        if options.target is None:
            raise ConfigError(f"where to? {program} {options.source} TARGET")
        if unpacked is not preparation:
            raise ConfigError(f"extract the archive first, without --cache [{options.source}]")
        size = options.size or preparation.default_size
        text = prepare(preparation, options.target, size, options.workers).text()
    else:
        from .videos import keep_videos

        text = keep_videos(unpacked, options.target)  # type: ignore[arg-type]
    if options.preview:
        from .preview import write_preview

        text += f"\nlook at {write_preview(unpacked, options.target or options.source)}"
    return text


def make_parser(program: str, kind: type[DataSet]) -> argparse.ArgumentParser:
    """The common options, and one for each field of the set."""
    module = sys.modules[kind.__module__].__doc__ or ""
    parser = _Parser(
        program, description=f"{module.strip()}\n\nSOURCE: {kind.expects}", allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("source", type=Path, metavar="SOURCE", help=kind.model_fields["source"].description)
    add = parser.add_argument
    if kind.keeps_videos:
        add("target", type=Path, nargs="?", metavar="TARGET", help="folder to write to (default: beside the videos)")
        add("--cache", action="store_true", help="decode the videos once into frames that load fast")
    else:
        add("target", type=Path, nargs="?", metavar="TARGET", help="folder to write to")
        add("--cache", action="store_true", help="(this set is always written as frames)")
    default = f" (default: {kind.default_size or 'as the source has it'})"
    add("--size", type=_positive, metavar="PIXELS", help=f"short side of the written frames{default}")
    add("--workers", type=_positive, metavar="N", help="processes (default: one a core)")
    add("--check", action="store_true", help="read everything and write nothing; exit code 3 where something is bad")
    add("--json", type=Path, metavar="FILE", help="with --check: list every file with ok or the reason why not")
    add("--preview", action="store_true", help="write TARGET/preview.png: clips, their motion, a histogram of it")
    own = parser.add_argument_group(f"options of {kind.name}")
    for name, field in kind.model_fields.items():
        if name not in COMMON:
            _add_option(own, name, field)
    return parser


def _add_option(group: Any, name: str, field: FieldInfo) -> None:
    option = "--" + name.replace("_", "-")
    default = field.default
    text = (field.description or "").replace("%", "%%")
    if default is not None and field.annotation is not bool and "default" not in text:
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
        text += f" (default: {shown})"
    if field.annotation is bool:
        group.add_argument(option, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text)
        return
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    metavar = "{" + ",".join(map(str, choices)) + "}" if choices else name.rsplit("_", 1)[-1].upper()
    group.add_argument(option, metavar=metavar, default=argparse.SUPPRESS, help=text)


def _make_set(kind: type[DataSet], values: dict[str, Any]) -> DataSet:
    # Words become the field's type: choices among numbers are compared with numbers.
    for name, value in values.items():
        choices = get_args(kind.model_fields[name].annotation)
        for choice in choices:
            if isinstance(choice, int) and value == str(choice):
                values[name] = choice
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        place = "--" + str(first["loc"][0]).replace("_", "-") if first["loc"] else kind.name
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{place}: {message}, got {first['input']!r}" if first["loc"] else message) from None


def _refuse_combinations(preparation: DataSet, options: argparse.Namespace) -> None:
    if options.json and not options.check:
        raise ConfigError("--json belongs to --check")
    if options.check and (options.preview or options.cache):
        raise ConfigError("--check writes nothing: leave out --preview and --cache")
    if preparation.keeps_videos and not options.cache and not options.check and options.size:
        raise ConfigError("--size belongs to --cache; videos that stay as they are take data.size of the run")


def _report(preparation: DataSet, rows: list[dict[str, Any]], file: Path | None) -> str:
    """Write the rows; returns a line with their count. Raises DataError where any is bad."""
    bad = [row for row in rows if not row["ok"]]
    if file:
        text = json.dumps({"set": preparation.name, "source": str(preparation.source), "files": rows}, indent=1)
        from vidpred.files import write_file

        write_file(file, text + "\n", "free space or choose another --json")
    if bad:
        named = "; ".join(f"{row['item']}: {row['reason']}" for row in bad[:3])
        more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise DataError(f"{len(bad):,} of {len(rows):,} files are bad [{preparation.source}]: {named}{more}")
    return f"all {len(rows):,} files are good [{preparation.source}]"


def _unknown(word: str, parser: argparse.ArgumentParser) -> str:
    known = [option for action in parser._actions for option in action.option_strings]
    near = get_close_matches(word.split("=")[0], known, 1)
    return f"no option {word}" + (f"; did you mean {near[0]}?" if near else f"; see {parser.prog} --help")


def _overview(program: str, known: dict[str, type[DataSet]]) -> str:
    width = max(map(len, known))
    lines = [f"  {name:<{width}}  {kind.about}" for name, kind in known.items()]
    return "\n".join(
        [
            f"Usage: {program} NAME SOURCE [TARGET] [--size PIXELS] [--cache] [--workers N] [--preview]",
            f"       {program} NAME SOURCE --check [--json FILE]",
            f"       {program} NAME --help   (the options of a set)",
            "",
            "Prepare a data set once: check its files, write its splits, and its frames so that they load fast.",
            "",
            "Sets:",
            *lines,
        ]
    )


def _positive(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1, not {word!r}")
    return int(word)


def main(name: str) -> None:
    """`python -m data_prep.NAME`. Mistakes are one line on stderr and the documented exit code."""
    try:
        print(run_set(f"python -m data_prep.{name}", sets()[name], sys.argv[1:]))
    except VidpredError as error:
        print(f"vidpred: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
