"""Stops, divergence and resuming with several processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from tests.reliability.conftest import Start, Started, has_step, train_words, two_ranks
from tests.reliability.soak import tensors
from vidpred.checkpoint import RunFolder, read_metrics
from vidpred.errors import DivergedError, StoppedError

pytestmark = pytest.mark.reliability


def rank(started: Started, number: int) -> psutil.Process:
    return next(child for child in started.children() if child.environ().get("RANK") == str(number))


def codes(run: Path) -> list[int]:
    return [json.loads((run / name).read_text())["code"] for name in ("exit.json", "exit-process-1.json")]


@pytest.mark.parametrize("whom", ["launcher", "rank 1", "while it validates"])
def test_sigterm_saves_on_all_ranks(start: Start, clips: Path, tmp_path: Path, whom: str) -> None:
    run = tmp_path / "run"
    more: dict[str, Any] = {"training__validate_every": 2} if whom == "while it validates" else {}
    started = start(*two_ranks(train_words(clips, run, data__num_workers=1, **more)))
    started.wait_until(lambda: has_step(run, 5), 90)
    started.children()
    (rank(started, 1) if whom == "rank 1" else psutil.Process(started.process.pid)).send_signal(signal.SIGTERM)
    errors = started.errors(60)
    started.wait_for_family()
    assert codes(run) == [StoppedError.exit_code] * 2, errors
    newest = RunFolder(run).newest()
    assert newest is not None
    assert newest.step >= 5


def test_values_of_one_rank_that_are_not_finite(start: Start, clips: Path, tmp_path: Path) -> None:
    """Both ranks stop before the update; the message is printed once, as the last line, and names the cause."""
    run = tmp_path / "run"
    script = tmp_path / "script.py"
    script.write_text("""
import os, torch
from vidpred.commands import app
from vidpred.training.updates import Updates
predict = Updates._predict
def broken(self, batch):
    images, losses = predict(self, batch)
    self.count = getattr(self, "count", 0) + 1
    broken = os.environ["RANK"] == "1" and self.count > 5
    return [image + float("nan") for image in images] if broken else images, losses
Updates._predict = broken
app.main()
""")
    words = train_words(clips, run, checkpoint__every=2, objective__adversarial__weight=0.1)
    started = start(*two_ranks([str(script), *words[2:]]), PYTHONPATH=os.getcwd())
    errors = started.errors(120)
    started.wait_for_family()
    assert codes(run) == [DivergedError.exit_code] * 2, errors
    last = errors.splitlines()[-1]
    assert last.startswith("vidpred: error: generator's output is not finite at step 6 ["), errors
    assert errors.count("not finite at step") == 1
    assert len(last) <= 200
    newest = RunFolder(run).newest()
    assert newest is not None
    assert newest.step == 4
    assert all(bool(value.isfinite().all()) for value in newest.tensors("generator").values())


@pytest.mark.parametrize("counts", [(2, 1), (1, 2)])
def test_another_number_of_processes(start: Start, clips: Path, tmp_path: Path, counts: tuple[int, int]) -> None:
    """The change is announced, the samples are those of an unchanged run, the weights are close."""

    def run_with(run: Path, processes: int, steps: int) -> str:
        words = train_words(clips, run, training__steps=steps, training__precision="float32")
        launch = two_ranks(words) if processes == 2 else words
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, *launch], capture_output=True, text=True, timeout=180, env=environment)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stderr

    run_with(tmp_path / "changed", counts[0], 10)
    run_with(tmp_path / "same", counts[0], 10)
    errors = run_with(tmp_path / "changed", counts[1], 20)
    run_with(tmp_path / "same", counts[0], 20)
    assert f"instead of {counts[0]}: the samples are the same, and the weights differ by rounding" in errors
    logs = [
        {line["step"]: line["data_checksum"] for line in read_metrics(tmp_path / name) if "data_checksum" in line}
        for name in ("same", "changed")
    ]
    assert logs[0] == logs[1]
    one, two = tensors(tmp_path / "same"), tensors(tmp_path / "changed")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4)


def test_ranks_without_labeled_samples(start: Start, tmp_path: Path) -> None:
    """Their logs lack the accuracy of classes, which is averaged over the other ranks."""
    script = tmp_path / "script.py"
    script.write_text("""
import sys
from pathlib import Path
from tests.image_files import small_preset
from vidpred.run import train
few = {"data.labeled": 10, "data.labeled_share": 0.2, "model.virtual_batch": 0, "training.image_every": 0}
train(small_preset("improved_gan", Path(sys.argv[1]), few))
""")
    started = start(*two_ranks([str(script), str(tmp_path)]), PYTHONPATH=os.getcwd())
    errors = started.errors(120)
    assert started.process.returncode == 0, errors[-2000:]
    found = ["discriminator/class_accuracy" in line for line in read_metrics(tmp_path / "improved_gan")]
    assert found.count(True) > 0


def test_a_diverged_run_diverges_again(clips: Path, tmp_path: Path) -> None:
    """Repeating the command neither loops nor damages the checkpoints."""
    from vidpred.config import load_config
    from vidpred.run import train

    words = train_words(clips, tmp_path / "run", checkpoint__every=1, training__generator__name="sgd")
    settings = [word for word in words[3:] if "learning_rate" not in word]
    messages = []
    for _ in range(3):
        with pytest.raises(DivergedError) as caught:
            train(load_config(None, [*settings, "training.generator.learning_rate=1e38"]))
        messages.append(str(caught.value))
    assert len(set(messages)) == 1
