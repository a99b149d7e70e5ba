"""The demo with few steps: its outputs, and that its three trainings differ only in the objective."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.evaluation.test_compare import read
from tests.video_files import numbered_frames, write_video
from vidpred.checkpoint import find_checkpoint
from vidpred.commands import demo_clip
from vidpred.commands.demo_clip import ENDS
from vidpred.commands.demo_report import DEFINITIONS, cells, side_notes
from vidpred.commands.parallel_runs import LOG, steps_done, train_together
from vidpred.commands.run_demo import FORKS, GHOST, PRESETS, demo_config, measure, run_demo
from vidpred.config import load_config
from vidpred.data.worlds.forking_ball import ForkingBallWorld
from vidpred.errors import DataError
from vidpred.evaluation.forking_ball import find_forking_scenes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def one_window() -> Iterator[None]:
    """Measure the real clip on one window only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_clip, "MOST_WINDOWS", 1)
        yield


def test_demo(tmp_path: Path) -> None:
    """One test, so that the demo runs once."""
    output, clip = tmp_path / "out", tmp_path / "clip.mp4"
    write_video(clip, numbered_frames(80, 96, 112))
    text = run_demo(output, seed=3, clip=clip, steps=2)
    check_outputs(output, text)
    check_report(output)
    check_same_start_and_samples(output)
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


def check_second_call(output: Path, text: str) -> None:
    """A second call trains nothing."""
    before = {file: file.stat().st_mtime_ns for file in output.rglob("*.safetensors")}
    assert run_demo(output, seed=3, steps=2).splitlines()[:-1] == text.splitlines()[:-1]
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


def test_a_clip_that_is_too_short_is_refused_before_any_training(tmp_path: Path) -> None:
    for count in (3, 18, 52):
        write_video(tmp_path / "short.mp4", numbered_frames(count, 96, 112))
        with pytest.raises(DataError, match=rf"{count} frames, which the demo cannot divide.*at least 80 frames"):
            run_demo(tmp_path / "out", clip=tmp_path / "short.mp4", steps=1)
    assert not (tmp_path / "out").exists()
    write_video(tmp_path / "enough.mp4", numbered_frames(demo_clip.LEAST_FRAMES, 96, 112))
    demo_clip.check_clip(tmp_path / "enough.mp4")
