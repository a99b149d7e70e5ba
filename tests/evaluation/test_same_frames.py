"""Runs are only compared on the same frames, none of which any of them was trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from tests.video_files import numbered_frames, write_video
from vidpred.data.build import record_splits
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.evaluation.compare import compare_predictors
from vidpred.evaluation.evaluate import EvaluationRequest, evaluate, evaluate_predictors
from vidpred.inference.predictor import Predictor
from vidpred.models.base import Generator

REQUEST = EvaluationRequest(2, windows=2)


class Dropped(nn.Module):
    """A user's module in training, part of which stays in evaluation mode."""

    context_frames, pred_frames, lead, channels = 2, 1, 1, 3

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.frozen = nn.Dropout(0.5), nn.BatchNorm2d(3).eval()

    def forward(self, context: Tensor) -> Tensor:
        assert not self.training
        return self.drop(context[:, -1:])


@pytest.mark.slow
def test_modules_in_training_are_measured_in_evaluation_mode_and_stay_in_training(clips: Path) -> None:
    own = Dropped()
    wrapped = Predictor(own, DataSettings(root=str(clips), context_frames=2))
    for models in (own, [wrapped], {"mine": wrapped}):
        own.train()
        own.frozen.eval()
        found = evaluate(models, str(clips), num_frames=1, windows=2)
        first, copied = (found.scores[name].overall["psnr"][0].mean for name in (next(iter(found.scores)), "copy last"))
        assert first == pytest.approx(copied)
        assert own.training
        assert own.drop.training
        assert not own.frozen.training
    with pytest.raises(ConfigError, match=r"\[num_frames=0\] must be at least 1"):
        evaluate(wrapped, num_frames=0)
    with pytest.raises(ConfigError, match=r"\[windows=0\] must be at least 1"):
        evaluate(wrapped, windows=0)


class CopyLast(Generator):
    """A generator that repeats the last frame."""

    def __init__(self) -> None:
        super().__init__()
        self.context_frames, self.channels = 4, 3

    def forward(self, context: Tensor) -> Tensor:
        return context[:, -1:]


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for number in range(8):
        write_video(tmp_path / "clips" / f"{number}.mp4", numbered_frames(16, 32, 48, first=number))
    return tmp_path / "clips"


def predictor(name: str, root: Path, **data: Any) -> Predictor:
    return Predictor(CopyLast(), DataSettings(root=str(root), **data), name, 0)


def psnr(predictors: list[Predictor], request: EvaluationRequest) -> dict[str, float]:
    found = evaluate_predictors(predictors, request)
    return {name: scores.overall["psnr"][0].mean for name, scores in found.scores.items()}


@pytest.mark.slow
def test_runs_of_different_sizes_need_one(clips: Path) -> None:
    """The order of the runs would choose the size, and with it every number."""
    small, large = predictor("small", clips, size=16), predictor("large", clips)
    for pair in ([small, large], [large, small]):
        with pytest.raises(ConfigError, match=r"\[data.size\] \(.*small: 16.*\); give one size for all, size=N"):
            evaluate_predictors(pair, REQUEST)
    for size in (16, 24):
        request = replace(REQUEST, size=size)
        assert psnr([small, large], request) == psnr([large, small], request)
    alone = psnr([small], REQUEST)["copy last"]
    assert psnr([large], replace(REQUEST, size=16))["copy last"] == alone
    assert psnr([large], REQUEST)["copy last"] != alone


def test_tables_show_the_frames_that_are_measured(clips: Path) -> None:
    models = {"small": CopyLast()}
    shown = str(evaluate(models, {"root": str(clips), "size": 16, "video": {"fps": 12.5}}, 2, windows=2))
    expected = f"test split of {clips}, frames of size 16 (short side), 3 channels, 12.5 fps"
    assert shown.splitlines()[0] == expected


@pytest.mark.slow
def test_pages_show_the_frames_that_are_measured(clips: Path, tmp_path: Path) -> None:
    run, request = predictor("run", clips, frame_skip=2), replace(REQUEST, num_frames=1)
    compare_predictors([run], tmp_path / "page.html", request)
    expected = (
        f"the test split of {clips}, frames of the videos&#x27; size, 3 channels, data.frame_skip=2, protocol plain"
    )
    assert expected in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"frame_skip": 2}, r"\[data.frame_skip\] \(a: 1; b: 2\)"),
        ({"video": {"fps": 5}}, r"\[data.video.fps\] \(a: null; b: 5.0\)"),
    ],
)
def test_runs_of_different_frames_are_refused(clips: Path, data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"{message}; evaluate them one by one"):
        evaluate_predictors([predictor("a", clips), predictor("b", clips, **data)], REQUEST)


def test_no_run_is_tested_on_what_it_was_trained_on(clips: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in clips.glob("*.mp4"))
    found = []
    for run, tested in (("a", names[:3]), ("b", names[2:5]), ("c", names[:3])):
        (clips / "splits.csv").write_text("".join(f"{n},{'test' if n in tested else 'train'}\n" for n in names))
        recorded = record_splits(DataSettings(root=str(clips)))
        assert recorded is not None
        recorded.write(tmp_path / f"{run}.csv")
        found.append(predictor(run, clips, split_file=str(tmp_path / f"{run}.csv")))
    first, other, same = found
    with pytest.raises(
        ConfigError, match=r"b was trained on 2 clips of the test split of a .*: 0.mp4, 1.mp4; evaluate"
    ):
        evaluate_predictors([first, other], REQUEST)
    assert evaluate_predictors([first, same], REQUEST).windows == 2
    assert evaluate_predictors([first, other], replace(REQUEST, split="train")).windows == 2
    by_time = [replace_parts(tmp_path, name, ranges) for name, ranges in (("a", (0, 11, 12, 16)), ("b", (0, 7, 8, 16)))]
    pair = [predictor(f"t{place}", clips, split_file=str(file)) for place, file in enumerate(by_time)]
    with pytest.raises(ConfigError, match="t0 was trained on 8 clips of the test split of t1"):
        evaluate_predictors(pair[::-1], REQUEST)


def replace_parts(folder: Path, name: str, ranges: tuple[int, int, int, int]) -> Path:
    """Write splits in which the first frames of every clip are for training and the last ones for tests."""
    rows = [f"{n}.mp4,{split},{first},{end},0" for n in range(8)
            for split, first, end in (("train", *ranges[:2]), ("test", *ranges[2:]))]  # fmt: skip
    file = folder / f"time-{name}.csv"
    file.write_text("\n".join(["path,split,first,end,bytes", *rows]) + "\n")
    return file
