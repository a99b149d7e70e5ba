"""The end of a command: one line on stderr, the exit code, and both in the run folder."""

from __future__ import annotations

import json
import os
import re
import select
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from vidpred.errors import DistributedError, InUseError, StoppedError, StorageError, VidpredError, one_line
from vidpred.processes.parent_watch import started_by_launcher

MOST_CHARACTERS = 200  # of the last line, as far as its parts allow
LEAST_NAME, SHORTEST_NAME = 80, 40  # characters that remain of a name in brackets, before and after advice is left out
ELLIPSIS = "..."
LAUNCHER_SECONDS = 45.0  # torch's launcher gives processes 30 s to end

_run_folder: Path | None = None  # where this process leaves its exit code, once the folder is known


def set_run_folder(folder: Path | None) -> None:
    """Set the run folder to leave the exit code in; None: unknown."""
    global _run_folder
    _run_folder = folder


def end(error: VidpredError, debug: bool) -> NoReturn:
    """Print an error as one line, leave its exit code in the run folder, and exit.

    Args:
        error: The error.
        debug: Also print its traceback.
    """
    message = one_line(error)
    # All processes agree on failures, so only one reports them; every remaining process reports a lost one.
    if os.environ.get("RANK", "0") == "0" or error.exit_code == DistributedError.exit_code:
        if debug:
            import traceback

            traceback.print_exception(error)
        _close_progress_bars()
        stopped = error.exit_code == StoppedError.exit_code
        print_last(shortened(f"vidpred: {message}" if stopped else f"vidpred: error: {message}"))
    if not isinstance(error, InUseError):  # the folder belongs to another process
        leave_exit_code(error.exit_code, message)
    sys.exit(error.exit_code)


def _close_progress_bars() -> None:
    """End the lines of progress bars, which a stored exception keeps open."""
    for bar in list(getattr(getattr(sys.modules.get("tqdm"), "tqdm", None), "_instances", ())):
        bar.close()


def shortened(line: str) -> str:
    """Return a line of at most `MOST_CHARACTERS` if what it names in brackets and advises can be shortened that far.

    The middle of long names is left out first, then the last of several pieces of advice ("do this, or that"), then
    more of the names. Names outside brackets stay whole: they are to be copied. exit.json has all of it.
    """
    line = _with_shorter_names(line, LEAST_NAME)
    while len(line) > MOST_CHARACTERS:
        what, semicolon, advice = line.rpartition("; ")
        first, other, _ = advice.rpartition(", or ")
        if not (semicolon and other):
            break
        line = f"{what}; {first}"
    return _with_shorter_names(line, SHORTEST_NAME)


def _with_shorter_names(line: str, least: int) -> str:
    while len(line) > MOST_CHARACTERS:
        longest = max(re.findall(r"\[[^][]*\]", line), key=len, default="")
        cut = min(len(line) - MOST_CHARACTERS + len(ELLIPSIS), len(longest) - least)
        if cut <= len(ELLIPSIS):
            break
        middle = (len(longest) - cut) // 2
        line = line.replace(longest, f"{longest[:middle]}{ELLIPSIS}{longest[middle + cut :]}", 1)
    return line


def print_last(line: str) -> None:
    """Print a line on stderr: at once, or after the report of torch's launcher, whose own lines would hide it."""
    launcher = os.getppid()
    by_torch = started_by_launcher() and "TORCHELASTIC_RUN_ID" in os.environ and launcher > 1
    if not (by_torch and hasattr(os, "pidfd_open")):
        print(line, file=sys.stderr)
        return
    sys.stderr.flush()
    if os.fork():
        return
    os.setsid()  # the launcher kills the groups of its processes
    with suppress(OSError):  # it has ended already
        watch = os.pidfd_open(launcher)  # readable at its end, even before its own parent asks for its exit code
        select.select([watch], [], [], LAUNCHER_SECONDS)
    with suppress(OSError):
        os.write(sys.stderr.fileno(), f"{line}\n".encode("utf-8", "backslashreplace"))
    os._exit(0)


def leave_exit_code(code: int, message: str) -> None:
    """Write the exit code to the run folder; under a launcher also for failures before the folder exists.

    A command that fails before its training begins changes nothing, so it leaves what an earlier one wrote: a training
    removes that at its beginning.
    """
    folder = _run_folder
    if code and not under_launcher() and folder is not None and os.path.isfile(folder / "exit.json"):
        return
    if folder is None and under_launcher():
        folder = requested_run(sys.argv[1:])
    if folder is not None and not moved_away(folder):
        write_exit(folder, code, message, make_folder=under_launcher())


def moved_away(folder: Path) -> bool:
    """Return whether a training of this process began in a folder that is no longer there."""
    module = sys.modules.get("vidpred.checkpoint.run_folder")  # not loaded by commands that fail early
    return module is not None and bool(module.is_gone(folder))


def under_launcher() -> bool:
    """Return whether Accelerate's or torch's launcher started this process."""
    return "RANK" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ


def started_alone() -> bool:
    """Return whether Accelerate was asked for several processes and started one, as it does without GPUs.

    It then sets the address for several processes in the environment, but no rank.
    """
    address = "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_ADDR" in os.environ
    return address and "RANK" not in os.environ


def requested_run(words: list[str]) -> Path | None:
    """Return the run folder that a `train` command names, even if the command or config is wrong otherwise."""
    if words[:1] != ["train"] or "--dry-run" in words:
        return None
    from vidpred.config import Config, find_preset, parse_text, split_words
    from vidpred.settings.yaml_files import read_yaml

    options = [after for word, after in pairwise(words) if word in ("--config", "-c")]
    plain = [after for word, after in pairwise(words) if word not in ("--config", "-c") and not after.startswith("-")]
    options += [word.removeprefix("--config=") for word in words if word.startswith("--config=")]
    run = Config.model_fields["run"].default
    try:
        config, overrides = split_words(plain, options[-1] if options else None)
        given = [word.removeprefix("run=") for word in overrides if word.startswith("run=")]
        if given:
            run = parse_text(given[-1])
        elif config is not None:
            run = read_yaml(find_preset(config), {}).get("run", run)
    except (VidpredError, OSError, ValueError, TypeError):
        return None
    return Path(run).expanduser() if isinstance(run, str) else None


def write_exit(folder: Path, code: int, message: str, make_folder: bool = False) -> None:
    """Write this process's exit code to the run folder, without raising an error.

    Under a launcher, whose exit code is the same for every failure, these files show what happened in each process.

    Args:
        folder: The run folder.
        code: The exit code.
        message: The error as one line.
        make_folder: Create the folder if it does not exist; otherwise nothing is written then.
    """
    from vidpred.files import write_file

    rank = int(os.environ.get("RANK", "0"))
    name = "exit.json" if rank == 0 else f"exit-process-{rank}.json"
    try:
        if make_folder:
            folder.mkdir(parents=True, exist_ok=True)
        if folder.is_dir():
            write_file(folder / name, json.dumps({"code": code, "message": message, "process": rank}))
    except (OSError, StorageError):
        return
