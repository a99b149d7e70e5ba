"""Soak: a training that is killed at random moments, over and over, equals an undisturbed one bit for bit.

Run: python -m tests.reliability.soak --minutes 60
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import load_file

from tests.video_files import numbered_frames, write_video
from vidpred.checkpoint import RunFolder, find_checkpoint, read_metrics
from vidpred.processes.temporary import size_of

STEPS, CHECKPOINT_EVERY = 400, 10
SETTINGS: dict[str, Any] = {
    "training.batch_size": 4, "model.scales": 1, "model.feature_maps": [[8]], "model.kernel_sizes": [[3, 3]],
    "training.validate_every": 15, "training.validation_windows": 4, "training.image_every": 7, "training.log_every": 1,
    "training.device": "cpu", "training.steps": STEPS, "checkpoint.every": CHECKPOINT_EVERY, "checkpoint.keep": 2,
    "data.num_workers": 1, "objective.adversarial.weight": 0.05,
}  # fmt: skip
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
END_SECONDS = 60.0


class Training:
    """A training, with its processes in a separate session."""

    def __init__(self, run: Path, clips: Path, processes: int) -> None:
        words = [f"{key}={json.dumps(value)}" for key, value in SETTINGS.items()]
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        self.run = run
        self.log = run.with_suffix(".log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *(launcher if processes > 1 else []), "-m", "vidpred", "train", *words,
                 f"data.root={clips}", f"run={run}"],
                env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True, stdout=log, stderr=log,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )  # fmt: skip

    def family(self) -> list[psutil.Process]:
        """Return the process and its descendants."""
        try:
            main = psutil.Process(self.process.pid)
            return [main, *main.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def measure(self) -> tuple[int, int]:
        """Return the open handles and the bytes of memory of all processes together."""
        handles = memory = 0
        for process in self.family():
            try:
                handles, memory = handles + process.num_fds(), memory + process.memory_info().rss
            except psutil.Error:
                continue
        return handles, memory

    def kill(self, number: signal.Signals) -> None:
        """Kill all processes at once, or let the main one end by another signal; wait until none is left."""
        family = self.family()
        if number == signal.SIGKILL:
            for process in family:
                _send(process, signal.SIGSTOP)
            for process in family:
                _send(process, number)
        else:
            self.process.send_signal(number)
        self.process.wait(END_SECONDS)
        _, alive = psutil.wait_procs(family, END_SECONDS)
        assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE], "a process is left"

    def resumed_at(self) -> int:
        """Return the step from which it went on; 0 for a new run."""
        match = re.search(r"resuming at step (\d+)", self.log.read_text(errors="replace"))
        return int(match[1]) if match else 0


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def last_step(run: Path) -> int:
    """Return the last step in a run's log."""
    return max((int(line["step"]) for line in read_metrics(run)), default=0)


def checkpointed(run: Path) -> int:
    """Return the last step of a complete checkpoint, as far as names show it."""
    return max(RunFolder(run).steps(), default=0)


def tensors(run: Path) -> dict[str, torch.Tensor]:
    """Return everything in a run's last checkpoint."""
    folder = find_checkpoint(run, "last").path
    return {
        f"{file.stem}/{name}": value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()
    }


def soak(folder: Path, minutes: float, processes: int, seed: int, between: tuple[float, float]) -> dict[str, Any]:
    """Kill trainings for some time; complete runs are compared with an undisturbed one.

    Args:
        folder: Folder for the runs.
        minutes: How long.
        processes: Processes of a training.
        seed: Seed of the moments and signals.
        between: Range of seconds from the first step of a process to its end.

    Raises:
        AssertionError: A promise of docs/guide/reliability.md was broken.
    """
    chance = random.Random(seed)
    clips = folder / "clips"
    for number in range(5):
        write_video(clips / f"{number}.mp4", numbered_frames(10, 40, 48, first=number * 10))
    undisturbed = Training(folder / "whole", clips, processes)
    assert undisturbed.process.wait(600) == 0, undisturbed.log.read_text()[-2000:]
    expected = tensors(folder / "whole")
    disk = size_of(folder / "whole")
    found = dict.fromkeys(("kills", "kills while a file was written", "runs completed", "most steps redone"), 0)
    found |= {"most handles": 0, "most megabytes of memory": 0, "most disk, to the undisturbed run": 0.0}
    run, end = folder / "broken", time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        _one_process(run, clips, processes, chance, between, found)
        written = size_of(run)
        found["most disk, to the undisturbed run"] = max(
            found["most disk, to the undisturbed run"], round(written / disk, 2)
        )
        assert written < 3 * disk, "the disk fills"
        if checkpointed(run) == STEPS:
            _compare(run, expected)
            found["runs completed"] += 1
            shutil.rmtree(run)
    if run.exists():
        training = Training(run, clips, processes)
        assert training.process.wait(600) == 0, training.log.read_text()[-2000:]
        _compare(run, expected)
        found["runs completed"] += 1
    return {"minutes": minutes, "processes": processes, "seed": seed, **found}


def _one_process(
    run: Path, clips: Path, processes: int, chance: random.Random, between: tuple[float, float], found: dict[str, Any]
) -> None:
    """Start a training, and end it after some seconds unless it is done before."""
    reached, number = last_step(run), chance.choice(SIGNALS)
    training = Training(run, clips, processes)
    deadline = time.monotonic() + 300
    while last_step(run) in (0, reached) and training.process.poll() is None:
        assert time.monotonic() < deadline, training.log.read_text()[-2000:]
        time.sleep(0.05)
    assert not list(run.rglob(".tmp-*")) or training.process.poll() is None, "temporary files are left"
    end = time.monotonic() + chance.uniform(*between)
    while training.process.poll() is None and time.monotonic() < end:
        handles, memory = training.measure()
        found["most handles"] = max(found["most handles"], handles)
        found["most megabytes of memory"] = max(found["most megabytes of memory"], memory >> 20)
        time.sleep(min(0.2, max(0.0, end - time.monotonic())))
    if training.process.poll() is None:
        training.kill(number)
        found["kills"] += 1
        found["kills while a file was written"] += bool(list(run.rglob(".tmp-*")))
    else:
        assert training.process.returncode == 0, training.log.read_text()[-2000:]
    text = training.log.read_text(errors="replace")
    assert "Traceback" not in text or processes > 1, text[-2000:]
    redone = max(0, reached - training.resumed_at())
    found["most steps redone"] = max(found["most steps redone"], redone)
    assert redone <= CHECKPOINT_EVERY, f"{redone} steps were redone"


def _compare(run: Path, expected: dict[str, torch.Tensor]) -> None:
    found = tensors(run)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items()), "weights differ"


def main() -> None:
    """Soak one and two processes, each for half of the time, and print what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--between", type=float, nargs=2, default=(2.0, 20.0), help="Range of seconds until a kill.")
    options = parser.parse_args()
    for processes in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            found = soak(Path(folder), options.minutes / 2, processes, options.seed, tuple(options.between))
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
