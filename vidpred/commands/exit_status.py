"""How the command line ends: one line on stderr, the exit code, and both in the run folder."""

from __future__ import annotations

import json
import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from vidpred.errors import DistributedError, StoppedError, StorageError, VidpredError, one_line

_run_folder: Path | None = None  # where this process leaves its exit code, once it is known


def runs_here(folder: Path | None) -> None:
    """None: not known."""
    global _run_folder
    _run_folder = folder


def end(error: VidpredError, debug: bool) -> NoReturn:
    message = one_line(error)
    # Failures are agreed on by all processes, so one of them reports; a lost peer is reported by who is left.
    if os.environ.get("RANK", "0") == "0" or error.exit_code == DistributedError.exit_code:
        if debug:
            import traceback

            traceback.print_exception(error)
        stopped = error.exit_code == StoppedError.exit_code
        print(f"vidpred: {message}" if stopped else f"vidpred: error: {message}", file=sys.stderr)
    leave_exit_code(error.exit_code, message)
    sys.exit(error.exit_code)


def leave_exit_code(code: int, message: str) -> None:
    """In the run folder; under a launcher, whose own code says little, also for what failed before it was made."""
    folder = _run_folder
    if folder is None and under_launcher():
        folder = requested_run(sys.argv[1:])
    if folder is not None:
        write_exit(folder, code, message, make_folder=under_launcher())


def under_launcher() -> bool:
    """Return whether the launcher of Accelerate or torch started this process."""
    return "RANK" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ


def started_alone() -> bool:
    """Return whether Accelerate was asked for several processes and started one, as it does without GPUs.

    It then leaves the address for several in the environment, but no rank; the number is not to be found there.
    """
    address = "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_ADDR" in os.environ
    return address and "RANK" not in os.environ


def requested_run(words: list[str]) -> Path | None:
    """The run folder that a `train` line asks for, though the line or the config may be wrong otherwise."""
    if words[:1] != ["train"] or "--dry-run" in words:
        return None
    import yaml

    from vidpred.config import Config, find_preset, parse_text

    given = [word.removeprefix("run=") for word in words if word.startswith("run=")]
    presets = [after for word, after in pairwise(words) if word in ("--config", "-c")]
    presets += [word.removeprefix("--config=") for word in words if word.startswith("--config=")]
    run = Config.model_fields["run"].default
    try:
        if presets and not given:
            run = yaml.safe_load(find_preset(presets[-1]).read_text(encoding="utf-8"))["run"]
        elif given:
            run = parse_text(given[-1])
    except (VidpredError, OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None
    return Path(run) if isinstance(run, str) else None


def write_exit(folder: Path, code: int, message: str, make_folder: bool = False) -> None:
    """Leave this process's exit code in the run folder, if there is one or it shall be made: under a launcher, whose
    own code says little, that is what tells the processes apart. Never fails itself."""
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
