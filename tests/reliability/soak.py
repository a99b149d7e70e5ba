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

LONG, SHORT = (400, (15.0, 60.0)), (200, (1.0, 6.0))  # steps of a run, and seconds until a kill: an hour, and minutes
CHECKPOINT_EVERY, VALIDATE_EVERY = 10, 15
EARLY_SHARE, EARLY_SECONDS = 0.15, 15.0  # of the kills: while a process loads, from its start
MOMENTS = ("loading", "training", "saving", "validating", "drawing")
SETTINGS: dict[str, Any] = {
    "training.batch_size": 4, "model.scales": 1, "model.feature_maps": [[8]], "model.kernel_sizes": [[3, 3]],
    "training.validate_every": VALIDATE_EVERY, "training.validation_windows": 4, "training.image_every": 7,
    "training.log_every": 1, "training.device": "cpu", "checkpoint.every": CHECKPOINT_EVERY, "checkpoint.keep": 2,
    "data.num_workers": 1, "objective.adversarial.weight": 0.05,
}  # fmt: skip
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
END_SECONDS = 60.0


class Training:
    """A training, with its processes in a separate session."""

    def __init__(self, run: Path, clips: Path, processes: int, steps: int) -> None:
        words = [f"{key}={json.dumps(value)}" for key, value in {**SETTINGS, "training.steps": steps}.items()]
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        self.run, self.processes, self.reached = run, processes, last_step(run)
        self.complete = steps in RunFolder(run).steps()  # nothing is left to do
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

    def moment(self) -> str:
        """Return what the main process does now, as far as its files show it."""
        if list(self.run.glob("checkpoints/.tmp-*")):
            return "saving"
        if list(self.run.glob("images/.tmp-*")):
            return "drawing"
        if not self.resumed_at() and last_step(self.run) in (0, self.reached):
            return "loading"
        step = last_step(self.run)
        validated = any(
            key.startswith("validation/") for line in read_metrics(self.run) if line["step"] == step for key in line
        )
        return "training" if step % VALIDATE_EVERY or validated else "validating"

    def kill(self, number: signal.Signals) -> str:
        """Kill all processes at once, or let the main one end by another signal; wait until none is left.

        Returns:
            What the main process was doing.
        """
        family = self.family()
        if number == signal.SIGKILL:
            for process in family:
                _send(process, signal.SIGSTOP)
            moment = self.moment()
            for process in family:
                _send(process, number)
        else:
            moment = self.moment()
            self.process.send_signal(number)
        self.process.wait(END_SECONDS)
        _, alive = psutil.wait_procs(family, END_SECONDS)
        assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE], "a process is left"
        return moment

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


def tensors(run: Path) -> dict[str, torch.Tensor]:
    """Return everything in a run's last checkpoint."""
    folder = find_checkpoint(run, "last").path
    return {
        f"{file.stem}/{name}": value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()
    }


def soak(
    folder: Path, minutes: float, processes: int, seed: int, extent: tuple[int, tuple[float, float]]
) -> dict[str, Any]:
    """Kill trainings for some time; complete runs are compared with an undisturbed one.

    Args:
        folder: Folder for the runs.
        minutes: How long.
        processes: Processes of a training.
        seed: Seed of the moments and signals.
        extent: Steps of a run, and the range of seconds from the first step of a process to its end.

    Raises:
        AssertionError: A promise of docs/guide/reliability.md was broken.
    """
    chance, (steps, between) = random.Random(seed), extent
    clips = folder / "clips"
    for number in range(5):
        write_video(clips / f"{number}.mp4", numbered_frames(10, 40, 48, first=number * 10))
    whole = folder / "whole"
    _finish(Training(whole, clips, processes, steps))
    disk = size_of(whole)
    found: dict[str, Any] = dict.fromkeys(("kills", *MOMENTS, "runs completed", "most steps redone"), 0)
    found |= {"most handles": 0, "most megabytes of memory": 0, "most disk, to the undisturbed run": 0.0}
    run, end = folder / "broken", time.monotonic() + 60 * minutes
    while (left := time.monotonic() < end) or run.exists():
        training = Training(run, clips, processes, steps)
        if left:
            _disturb(training, chance, between, found)
        else:
            _finish(training)
        share = size_of(run) / disk if run.exists() else 0.0
        found["most disk, to the undisturbed run"] = max(found["most disk, to the undisturbed run"], round(share, 2))
        assert share < 3, "the disk fills"
        if training.process.returncode == 0:
            _compare(run, whole)
            found["runs completed"] += 1
            shutil.rmtree(run)
    return {"minutes": minutes, "processes": processes, "seed": seed, "steps": steps, **found}


def _finish(training: Training) -> None:
    assert training.process.wait(900) == 0, training.log.read_text()[-2000:]


def _disturb(training: Training, chance: random.Random, between: tuple[float, float], found: dict[str, Any]) -> None:
    """End a training at a random moment unless it is done before."""
    run, reached = training.run, training.reached
    number, early = chance.choice(SIGNALS), chance.random() < EARLY_SHARE
    seconds = chance.uniform(0, EARLY_SECONDS) if early else chance.uniform(*between)
    if not early:
        deadline = time.monotonic() + 300
        while last_step(run) in (0, reached) and training.process.poll() is None:
            assert time.monotonic() < deadline, training.log.read_text()[-2000:]
            time.sleep(0.05)
    end = time.monotonic() + seconds
    while training.process.poll() is None and time.monotonic() < end:
        handles, memory = training.measure()
        found["most handles"] = max(found["most handles"], handles)
        found["most megabytes of memory"] = max(found["most megabytes of memory"], memory >> 20)
        time.sleep(min(0.2, max(0.0, end - time.monotonic())))
    killed = training.process.poll() is None
    if killed:
        found[training.kill(number)] += 1
        found["kills"] += 1
    text = training.log.read_text(errors="replace")
    assert killed or training.process.returncode == 0, text[-2000:]
    assert "Traceback" not in text or training.processes > 1, text[-2000:]
    if not training.complete and not (killed and early and not training.resumed_at()):  # else it had not resumed yet
        redone = max(0, reached - training.resumed_at())
        found["most steps redone"] = max(found["most steps redone"], redone)
        assert redone <= CHECKPOINT_EVERY, f"{redone} steps were redone"


def checksums(run: Path) -> dict[int, Any]:
    """Return the checksum of the samples of every step in a run's log."""
    return {line["step"]: line["data_checksum"] for line in read_metrics(run) if "data_checksum" in line}


def _compare(run: Path, whole: Path) -> None:
    found, expected = tensors(run), tensors(whole)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items()), "weights differ"
    assert checksums(run) == checksums(whole), "samples differ"
    assert not list(run.rglob(".tmp-*")), "temporary files are left"


def main() -> None:
    """Soak one and two processes, each for half of the time, and print what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for processes in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            found = soak(Path(folder), options.minutes / 2, processes, options.seed, LONG)
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
