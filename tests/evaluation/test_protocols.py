"""Evaluation compares the right frames and reports means with their n, with baselines next to the model."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vidpred.data.settings import DataSettings
from vidpred.data.sources import Source, evenly_spaced
from vidpred.data.worlds.forking_ball import WorldWindows
from vidpred.evaluation.metric_table import CAP, METRICS, PROTOCOLS
from vidpred.evaluation.protocols import (
    Measurement,
    RunningMean,
    evaluate_models,
    max_history_len,
    window_of_each_clip,
    with_baselines,
)
from vidpred.evaluation.report import clip_table, doubling_steps, table, table_rows, text, to_json, verdicts, write_plot
from vidpred.evaluation.samples import summarize
from vidpred.models.base import Generator
from vidpred.models.baselines import CopyLast, FlowExtrapolation
from vidpred.training.validation import Validation


class Drift(Source):
    """A source whose frame t is a fixed texture shifted by t pixels; clips of two names."""

    name = "drift"

    def __init__(self, frames: int, windows: int = 6) -> None:
        self.frames, self.windows = frames, windows
        rows, columns = np.mgrid[:64, :200]
        smooth = 128 + 60 * np.sin(columns / 3.0) * np.cos(rows / 4.0) + 40 * np.sin((columns + 2 * rows) / 7.0)
        self.texture = np.repeat(smooth.clip(0, 255).astype(np.uint8)[..., None], 3, -1)

    def __len__(self) -> int:
        return self.windows

    def window(self, index: int) -> np.ndarray:
        return np.stack([self.texture[:, 10 * index + 2 * t : 10 * index + 2 * t + 64] for t in range(self.frames)])

    def clip_name(self, index: int) -> str:
        return f"clip {index % 2}"


class Oracle(Generator):
    """A model that shifts the texture by two pixels: exact except for the two new columns."""

    def __init__(self) -> None:
        super().__init__()
        self.context_frames, self.pred_frames, self.lead, self.channels = 1, 1, 1, 3

    def forward(self, context: Tensor) -> list[Tensor]:
        last = context[:, -1:]
        return [torch.cat([last[..., 2:], last[..., -1:], last[..., -1:]], -1)]


@pytest.mark.slow
def test_the_right_frames_are_compared() -> None:
    """Frame t+k is compared with frame t+k: the oracle stays nearly exact, copying gets worse with every step."""
    models = with_baselines({"oracle": Oracle()}, 4)
    assert max_history_len(models) == 2
    result = evaluate_models(models, Drift(2 + 4), Measurement(4))
    assert result.windows == 6
    psnr = {name: [total.mean for total in scores.overall["psnr"]] for name, scores in result.scores.items()}
    assert all(psnr["oracle"][k] > psnr["copy last"][k] + 5 for k in range(4))
    gain = result.scores["oracle"].gain["psnr"][0]
    assert gain.mean == pytest.approx(psnr["oracle"][0] - psnr["copy last"][0], abs=1e-4)
    assert psnr["copy last"] == sorted(psnr["copy last"], reverse=True)
    assert psnr["optical flow"][0] > psnr["copy last"][0] + 5


def test_numbers_are_means_with_their_n_and_by_clip() -> None:
    result = evaluate_models({"copy last": CopyLast()}, Drift(3), Measurement(2))
    scores = result.scores["copy last"]
    by_clip = [scores.by_clip[f"clip {number}"]["psnr"][0] for number in range(2)]
    assert [total.count for total in by_clip] == [3, 3]
    assert scores.overall["psnr"][0].count == 6
    assert scores.overall["psnr"][0].mean == pytest.approx((by_clip[0].mean + by_clip[1].mean) / 2)
    assert [total.mean for total in scores.gain["psnr"]] == [0, 0], "copy-last has no gain over copy-last"
    window = torch.from_numpy(Drift(3).window(0)).permute(0, 3, 1, 2).float() / 255
    how = Measurement(2)
    single = evaluate_models({"copy last": CopyLast()}, Drift(3, windows=1), how).scores["copy last"].overall["psnr"][1]
    assert single.mean == pytest.approx(float(-10 * torch.log10((window[0] - window[2]).square().mean())), abs=1e-4)


def test_still_images_have_no_moving_metrics() -> None:
    class Still(Drift):
        def window(self, index: int) -> np.ndarray:
            return np.repeat(super().window(index)[:1], self.frames, 0)

    scores = evaluate_models({"copy last": CopyLast()}, Still(2), Measurement(1)).scores["copy last"].overall
    assert scores["psnr"][0].mean == CAP
    assert scores["psnr_moving"][0].count == 0
    assert math.isnan(scores["psnr_moving"][0].mean)
    assert scores["ssim"][0].mean == pytest.approx(1)


def test_copies_have_all_the_energy_and_never_flicker() -> None:
    result = evaluate_models({"copy last": CopyLast()}, Drift(4), Measurement(2, protocol=PROTOCOLS["detail"]))
    scores = result.scores["copy last"].overall
    assert [total.mean for total in scores["energy"]] == pytest.approx([1, 1], abs=0.1)
    assert scores["warp_error"][0].mean == pytest.approx(0, abs=0.05), (
        "the previous prediction is the last context frame"
    )
    assert scores["warp_error"][1].mean == pytest.approx(0, abs=1e-3)
    assert min(total.mean for total in scores["patches"]) > 0
    assert "except patches; energy (1) and energy moving (1) and warp error (1) are best" in table(result)


def test_the_best_of_several_ratios_is_the_nearest() -> None:
    assert summarize([0.4, 1.1, 1.5], False, 1) == {"best": 1.1, "mean": pytest.approx(1), "worst": 0.4}
    assert summarize([0.4, 1.1, 1.5], False) == {"best": 1.5, "mean": pytest.approx(1), "worst": 0.4}
    assert summarize([0.4, 1.1, 1.5], True)["best"] == 0.4


def test_running_means() -> None:
    values = [1.0, 4.0, 4.0, 7.0]
    total = RunningMean()
    for value in [*values, math.nan]:
        total.add(value)
    assert total.count == 4
    assert total.mean == pytest.approx(np.mean(values))
    assert total.error == pytest.approx(np.std(values, ddof=1) / 2)


def test_windows_are_spread_evenly() -> None:
    assert evenly_spaced(100, None) == list(range(100))
    assert evenly_spaced(100, 4) == [12, 37, 62, 87]
    assert evenly_spaced(100, 1000) == list(range(100))
    assert evenly_spaced(100, 4, middle=False) == [0, 25, 50, 75]


@pytest.mark.parametrize(("lead", "pred_frames"), [(1, 1), (3, 1), (1, 2), (2, 2)])
def test_validation_measures_the_frames_of_training(lead: int, pred_frames: int) -> None:
    """With a lead of 3 only frame t+3 counts: a generator that is right only there is perfect."""

    class Lead(Generator):
        def __init__(self) -> None:
            super().__init__()
            self.context_frames, self.pred_frames, self.lead, self.channels = 1, pred_frames, lead, 3

        def forward(self, context: Tensor) -> list[Tensor]:
            last = context[:, -1:]
            ahead = [last.roll(-2 * (lead + k), -1) for k in range(pred_frames)]
            return [torch.cat(ahead, 1)]

    class Ring(Drift):
        def window(self, index: int) -> np.ndarray:
            return np.stack([np.roll(self.texture[:, :64], -2 * t, 1) for t in range(self.frames)])

    numbers = Validation(Ring(2 * lead - 1 + pred_frames, 2), 2, torch.device("cpu"))(Lead())
    assert numbers["psnr"] == pytest.approx(CAP)


class Dim(Generator):
    """A model whose frames are the last one, darker by 0.2."""

    context_frames, pred_frames = 2, 1

    def forward(self, context: Tensor) -> list[Tensor]:
        return [context[:, -1:] - 0.2]


def test_validation_gains_over_baselines() -> None:
    """Frames brighten by 0.2 in even windows, by nothing in odd ones, on which copying is exact and no gain counts."""

    class Brighter(Drift):
        def window(self, index: int) -> np.ndarray:
            last = 151 if index % 2 == 0 else 100
            return np.stack([np.full((32, 32, 3), value, np.uint8) for value in (100, 100, last)])

    numbers = Validation(Brighter(3, 4), 4, torch.device("cpu"))(Dim())
    assert numbers["psnr_over_copy_last"] == pytest.approx(20 * math.log10(0.2 / 0.4), abs=1e-3)
    assert numbers["psnr_over_optical_flow"] == pytest.approx(numbers["psnr_over_copy_last"], abs=1e-3), "nothing moves"
    assert set(Validation(Drift(3, 2), 2, torch.device("cpu"))(CopyLast())) == {
        "psnr", "psnr_moving", "ssim", "psnr_over_copy_last", "psnr_moving_over_copy_last",
    }, "flow needs two frames"  # fmt: skip
    flow = Validation(Drift(4, 4), 4, torch.device("cpu"))(FlowExtrapolation())
    assert flow["psnr_over_copy_last"] > 10
    assert flow["psnr_over_optical_flow"] == flow["psnr_moving_over_optical_flow"] == 0


def test_frames_in_which_nothing_moves_leave_the_metric_of_moving_pixels_to_the_others() -> None:
    """As in videos whose frames are doubled: the first future frame repeats the last, and the second one moves."""

    class Doubled(Drift):
        def window(self, index: int) -> np.ndarray:
            return np.stack([np.roll(self.texture[:, :64], -2 * (t // 2), 1) for t in range(1, self.frames + 1)])

    model = CopyLast(2)
    model.pred_frames = 2
    numbers = Validation(Doubled(4, 2), 2, torch.device("cpu"))(model)
    assert numbers["psnr_moving"] < 30, "that of the second frame: the first one is exact, and nothing moves there"


@pytest.mark.slow
def test_tables_json_and_plot(tmp_path: Path) -> None:
    models = with_baselines({"mine": CopyLast()}, 3)
    source = WorldWindows(DataSettings(), range(2 + 3), 5, 0)
    result = evaluate_models(models, source, Measurement(3))
    printed = table(result)
    for word in (
        "frame t+1",
        "frame t+2",
        "frame t+3",
        "mine",
        "copy last",
        "optical flow",
        "5 windows",
        "PSNR moving",
    ):
        assert word in printed
    assert "forking-ball world" in clip_table(result)
    content = json.loads(json.dumps(to_json(result, {"data": "here"}), allow_nan=False))
    assert set(content["models"]["mine"]["overall"]) == set(PROTOCOLS["plain"].metrics)
    assert set(PROTOCOLS["plain"].metrics) <= set(content["definitions"])
    assert content["models"]["mine"]["overall"]["psnr"]["n"] == [5, 5, 5]
    write_plot(tmp_path / "plot.png", result)
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    assert doubling_steps(10) == [1, 2, 4, 8, 10]
    assert doubling_steps(8) == [1, 2, 4, 8]


class Gray(CopyLast):
    """A model that is worse than copying."""

    def forward(self, context: Tensor) -> list[Tensor]:
        return [torch.full_like(context[:, -1:], 0.5)]


def test_a_sentence_compares_each_model_with_copying() -> None:
    models = with_baselines({"mine": CopyLast(), "gray": Gray()}, 2)
    result = evaluate_models(models, WorldWindows(DataSettings(), range(2 + 2), 5, 0), Measurement(2))
    same, worse = verdicts(result)
    assert same.startswith("mine: gain in PSNR moving over copy last +0.00")
    assert same.count("(no clear difference)") == 2
    gain = result.scores["gray"].gain["psnr_moving"]
    assert f"{gain[0].mean:+.2f}" in worse
    assert f"{gain[1].mean:+.2f}" in worse
    assert worse.count("(worse)") == 2
    shown = text(result, None, {"data": "clips", "split": "test", "frames": "frames of size 64"})
    assert shown.startswith("test split of clips, frames of size 64")
    assert shown.endswith(worse)


class Noise(CopyLast):
    """A model that adds noise to the last frame, and from its second prediction on yields NaN."""

    done = 0

    def forward(self, context: Tensor) -> list[Tensor]:
        self.done += 1
        noise = torch.randn(context[:, -1:].shape, generator=torch.Generator().manual_seed(0))
        return [(context[:, -1:] + 0.3 * noise).clamp(0, 1) * (1 if self.done == 1 else math.nan)]


def test_false_detail_is_not_better_than_copying_and_n_is_that_of_every_model() -> None:
    """Noise has many times the energy of the true frames, whose own is best."""
    models = with_baselines({"noise": Noise()}, 1)
    result = evaluate_models(
        models, Drift(2 + 1, 3), Measurement(1, protocol=PROTOCOLS["detail"], only=("psnr", "energy"))
    )
    result.protocol = replace(result.protocol, name="only", added=("psnr", "energy"))
    assert result.scores["noise"].gain["energy"][0].mean > 10
    (sentence,) = verdicts(result)
    assert sentence.startswith("noise: gain in PSNR over copy last -")
    assert sentence.endswith("(worse)")
    assert table_rows(result, 1)[-1] == ["n", "1 to 3", "1 to 3"]


@pytest.mark.slow
@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_prints_its_numbers(tmp_path: Path, name: str) -> None:
    protocol = PROTOCOLS[name]
    result = evaluate_models(with_baselines({}, 2), Drift(2 + 2), Measurement(2, protocol=protocol))
    assert result.windows == (2 if protocol.one_window_a_clip else 6)
    text = table(result) + clip_table(result)
    for measure in protocol.metrics:
        assert METRICS[measure].title in text
        for scores in result.scores.values():
            assert all(total.count + 2 * ("released" in measure) >= result.windows for total in scores.overall[measure])
    if name == "openstl":
        assert "except MSE (sum) and MAE (sum)" in text
        flow, copy = (
            result.scores[model].overall["openstl_mse_sum"][0].mean for model in ("optical flow", "copy last")
        )
        assert flow < copy
    content = json.loads(json.dumps(to_json(result, {}), allow_nan=False))
    assert content["protocol"] == name
    assert set(protocol.metrics) < set(content["definitions"])
    write_plot(tmp_path / "plot.png", result)


def test_the_middle_window_of_every_clip() -> None:
    assert window_of_each_clip(Drift(2, windows=10)) == [4, 5]
