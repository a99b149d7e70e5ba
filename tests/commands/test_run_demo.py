"""The demo with few steps: its outputs, and that its three trainings differ only in the objective."""

from __future__ import annotations

import html
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from shutil import copyfile

import numpy as np
import pytest
import torch

from tests.evaluation.test_compare import read
from tests.video_files import numbered_frames, write_video
from vidpred.checkpoint import find_checkpoint
from vidpred.commands import demo_clip, demo_objectives
from vidpred.commands.demo_clip import ENDS
from vidpred.commands.demo_objectives import ADVERSARY, MSE, SHARP, describe_objectives
from vidpred.commands.demo_report import DEFINITIONS, cells, side_notes
from vidpred.commands.parallel_runs import LOG, steps_done, train_together
from vidpred.commands.run_demo import FORKS, GHOST, PRESETS, demo_config, measure, run_demo
from vidpred.config import load_config
from vidpred.data.worlds.forking_ball import ForkingBallWorld
from vidpred.errors import DataError
from vidpred.evaluation.forking_ball import find_forking_scenes
from vidpred.evaluation.protocols import Evaluation, Scores

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def one_window() -> Iterator[None]:
    """Measure the real clip on one window only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_clip, "MOST_WINDOWS", 1)
        patch.setattr(demo_objectives, "WINDOWS", 1)
        yield


def moving_frames(count: int) -> np.ndarray:
    """Return `(count, 96, 112, 3)` uint8 without the frame number, which is a cut where many of its bits change."""
    return numbered_frames(count, 144, 112)[:, 48:]


def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One test, so that the demo runs once; as on systems without CPU affinity, such as macOS."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    output, clip = tmp_path / "out", tmp_path / "clip.mp4"
    write_video(clip, moving_frames(80))
    text = run_demo(output, seed=3, clip=clip, steps=2)
    check_outputs(output, text)
    check_report(output)
    check_same_start_and_samples(output)
    check_objectives(output, text)
    check_second_call(output, text)
    for preset in PRESETS.values():
        assert "warning" not in (output / Path(preset).stem / LOG).read_text()


def check_outputs(output: Path, text: str) -> None:
    for name in (
        "comparison.png",
        "comparison.gif",
        "comparison.mp4",
        "report.html",
        "results.json",
        "clip.mp4",
        "clip.gif",
        "clip.png",
        "both_ends.mp4",
        "both_ends.gif",
        "both_ends.png",
    ):
        assert (output / name).stat().st_size > 0, name
    results = json.loads((output / "results.json").read_text())
    assert results["about"]["forks"] == FORKS >= 500
    assert list(results["models"]) == [GHOST, *PRESETS]
    for name, values in results["models"].items():
        assert set(values) == set(DEFINITIONS)
        assert name in text
    blurry, sharp = (results["both_ends"]["models"][name]["overall"]["energy"] for name in ENDS)
    assert blurry["mean"][-1] < sharp["mean"][-1]
    ghost = results["models"][GHOST]
    assert (ghost["near"], ghost["sharp"]) == (0, 0)
    assert 0.4 < ghost["gradient energy"] < 0.9
    assert all(values["PSNR"] < ghost["PSNR"] for name, values in results["models"].items() if name != GHOST)


def check_report(output: Path) -> None:
    """The report is self-contained and shows the results."""
    page = read(output / "report.html")
    assert len(page.sources) >= 4
    assert all(source.startswith("data:") for source in page.sources)
    results = json.loads((output / "results.json").read_text())
    for values in results["models"].values():
        assert f"{values['PSNR']:.2f}" in page.cells


def check_same_start_and_samples(output: Path) -> None:
    """The three trainings start from the same weights and use the same samples; their results differ."""
    checksums, weights = [], []
    for preset in PRESETS.values():
        run = output / Path(preset).stem
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        checksums.append([line["data_checksum"] for line in lines if "data_checksum" in line])
        weights.append(find_checkpoint(run, "last").tensors("generator"))
        settings = load_config(run / "config.yaml")
        assert settings.training.init_from == str(output / "start")
        assert settings.seed == 3
    assert checksums[0] == checksums[1] == checksums[2] != []
    name = next(iter(weights[0]))
    assert not torch.equal(weights[0][name], weights[2][name])
    models = [load_config(preset).model for preset in PRESETS.values()]
    assert models[0] == models[1] == models[2]


def check_objectives(output: Path, text: str) -> None:
    """On the clip, the three trainings have the same network and samples, and each objective has its line."""
    results = json.loads((output / "results.json").read_text())["clip"]
    assert list(results["models"])[:3] == [MSE, SHARP, ADVERSARY]
    assert len(results["found"]) == 3
    page = (output / "report.html").read_text()
    for sentence in results["found"]:
        assert sentence in text
        assert html.escape(sentence) in page
    runs = sorted((output / "clip-clip").iterdir())
    assert len(runs) == 3
    first, *others = (load_config(run / "config.yaml") for run in runs)
    lines = [(run / "metrics.jsonl").read_text().splitlines()[-1] for run in runs]
    assert len({json.loads(line)["data_checksum"] for line in lines}) == 1
    for other in others:
        assert (other.model, other.data, other.training.generator) == (
            first.model,
            first.data,
            first.training.generator,
        )
    assert len({run.objective.model_dump_json() for run in (first, *others)}) == 3
    assert all("warning" not in (run / LOG).read_text() for run in runs)


def check_second_call(output: Path, text: str) -> None:
    """A second call trains nothing."""
    before = {file: file.stat().st_mtime_ns for file in output.rglob("*.safetensors")}
    assert run_demo(output, seed=3, clip=output.parent / "clip.mp4", steps=2) == text
    assert {file: file.stat().st_mtime_ns for file in output.rglob("*.safetensors")} == before


def test_a_one_sided_model_has_a_note() -> None:
    """Three of four predictions are near the right future, and one is a ghost."""
    forks = find_forking_scenes(ForkingBallWorld(4, 1, 16), 4)
    mostly = forks.right.clone()
    mostly[3] = forks.ghost[3]
    both = torch.stack([forks.left[0], forks.left[1], forks.right[2], forks.right[3]])
    numbers = measure(forks, {GHOST: forks.ghost, "mostly": mostly, "both": both})
    assert [numbers[name]["to the left"] for name in (GHOST, "mostly", "both")] == [None, 0, 0.5]
    (note,) = side_notes(numbers)
    assert note.startswith("mostly: 100.0% of the balls go to the right")
    assert side_notes(measure(forks, {"left": forks.left}))[0].startswith("left: 100.0% of the balls go to the left")
    assert cells(numbers[GHOST])[-1] == "-"


def evaluation(**values: tuple[float, float, float]) -> Evaluation:
    """Return an evaluation of one frame with a metric's values of the three objectives."""
    scores = {name: Scores(1) for name in (MSE, SHARP, ADVERSARY)}
    for metric, row in values.items():
        for score, value in zip(scores.values(), row, strict=True):
            score.add("clip", 0, metric, value, math.nan)
    return Evaluation(1, 1, scores)


@pytest.mark.parametrize(
    ("changed", "last"),
    [
        ({}, "closer to that of the true frames, at a lower PSNR: not all of it is in the right place."),
        ({"psnr": (24, 23, 23.05)}, "closer to that of the true frames, at the same PSNR."),
        ({"psnr": (24, 23, 25)}, "closer to that of the true frames, at a higher PSNR."),
        ({"patches": (7, 5, 6)}, "a part of the added detail is false."),
        ({"energy_moving": (0.5, 0.7, 0.7)}, "does not bring the amount of detail closer"),
        ({"energy_moving": (0.5, 0.9, 1.2)}, "does not bring the amount of detail closer"),
        ({"energy_moving": (math.nan,) * 3}, "Nothing moves"),
    ],
)
def test_each_term_is_described_by_its_own_change(changed: dict[str, tuple[float, ...]], last: str) -> None:
    """From MSE to l1 + GDL, then from there to the adversary; changes under 2 % or 0.1 dB are none."""
    values = {
        "energy_moving": (0.5, 0.7, 0.9), "patches": (7, 5, 4), "warp_error": (0.8, 0.8, 1.5), "psnr": (24, 23, 22),
    }  # fmt: skip
    gradients, adversary, conclusion = describe_objectives(evaluation(**(values | changed)), 1)
    assert conclusion.endswith(last) or last in conclusion
    if not changed:
        assert gradients == (
            "l1 + GDL instead of the squared error, frame t+1: energy moving 0.50 to 0.70 (better, true frames 1); "
            "patches 7.00 to 5.00 (better); warp error 0.80 to 0.80 (no change, true frames 1); "
            "PSNR 24.00 to 23.00 (worse)."
        )
        assert "warp error 0.80 to 1.50 (worse, true frames 1); PSNR 23.00 to 22.00 (worse)" in adversary
        assert adversary.startswith("The adversary in addition, frame t+1: energy moving 0.70 to 0.90 (better")


def test_parallel_trainings_equal_single_ones(tmp_path: Path) -> None:
    """With a process and a thread each, they end with the same weights as alone."""
    configs = [
        demo_config("forking_ball_mse.yaml", tmp_path / name, 0, 1, steps) for name, steps in (("a", 3), ("b", 4))
    ]
    train_together(configs, "two", threads=1)
    assert [steps_done(config) for config in configs] == [3, 4]
    assert all((Path(config.run) / LOG).is_file() for config in configs)
    alone = demo_config("forking_ball_mse.yaml", tmp_path / "alone", 0, 1, 3)
    train_together([alone], "one")
    one, other = (find_checkpoint(tmp_path / name, "last").tensors("generator") for name in ("a", "alone"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_failure_of_one_ends_all(tmp_path: Path) -> None:
    good = demo_config("forking_ball_mse.yaml", tmp_path / "good", 0, 1, 2)
    bad = load_config("tiny.yaml", {"data.root": str(tmp_path / "absent"), "run": str(tmp_path / "bad")})
    with pytest.raises(DataError, match="no such folder"):
        train_together([bad, good], "two")


def test_a_clip_that_is_too_flat_is_refused_before_any_training(tmp_path: Path) -> None:
    write_video(tmp_path / "flat.mp4", np.zeros((90, 16, 512, 3), np.uint8))
    with pytest.raises(DataError, match="4608x144 pixels.*factor of at most 16"):
        run_demo(tmp_path / "out", clip=tmp_path / "flat.mp4", steps=1)
    assert not (tmp_path / "out").exists()


def test_a_clip_that_is_too_short_is_refused_before_any_training(tmp_path: Path) -> None:
    for count in (3, 18, 52):
        write_video(tmp_path / "short.mp4", moving_frames(count))
        with pytest.raises(DataError, match=rf"{count} frames, which the demo cannot divide.*at least 80 frames"):
            run_demo(tmp_path / "out", clip=tmp_path / "short.mp4", steps=1)
    assert not (tmp_path / "out").exists()
    write_video(tmp_path / "enough.mp4", moving_frames(demo_clip.LEAST_FRAMES))
    demo_clip.check_clip(tmp_path / "enough.mp4")
    demo_clip.check_clip(Path(copyfile(demo_clip.CLIP, tmp_path / "shipped.mp4")))
