"""`accelerate launch --num_processes N` on a machine without GPUs.

Accelerate starts several processes by itself only on GPUs; without any it starts one, silently. The run would then
differ from the one that was asked for, so that one process hands over to torch's launcher.
"""

from __future__ import annotations

import os
import sys


def under_launcher() -> bool:
    """Whether Accelerate's or torch's launcher started this process."""
    return "RANK" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ


def requested_processes() -> int:
    """How many processes the user asked Accelerate for; 1 where that cannot be told or is already so."""
    if "ACCELERATE_MIXED_PRECISION" not in os.environ or "MASTER_ADDR" not in os.environ or "RANK" in os.environ:
        return 1
    import psutil

    parent = psutil.Process().parent()
    words = parent.cmdline() if parent else []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, separator, value = word.partition("=")
        if name in ("--num_processes", "--num-processes"):
            text = value if separator else following
            return int(text) if text.isdigit() else 1
    return 1


def start_processes(processes: int, arguments: list[str]) -> None:
    """Replace this process by torch's launcher running `python -m vidpred` with these arguments in `processes`."""
    # The address and port that Accelerate set up belong to the one process that it started.
    environment = {key: value for key, value in os.environ.items() if key not in ("MASTER_ADDR", "MASTER_PORT")}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    os.execve(sys.executable, [sys.executable, *launcher, "-m", "vidpred", *arguments], environment)
