"""The field's standard predictors: what all of them share, and their parameter counts at the papers' sizes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vidpred.checkpoint import find_checkpoint
from vidpred.config import load_config
from vidpred.data.settings import DataSettings
from vidpred.evaluation.evaluate import evaluate
from vidpred.models.base import Generator
from vidpred.models.build import build_generator, count_parameters
from vidpred.models.noise import draw_noise
from vidpred.models.rollout import rollout
from vidpred.run import train

# Small settings of each predictor, and the parameters of presets.
SMALL: dict[str, dict[str, Any]] = {
    "convlstm": {"hidden": [6, 5], "kernel": 3},
    "simvp": {"spatial_width": 4, "spatial_layers": 3, "translator_width": 6, "translator_layers": 2},
    "simvp_gsta": {"spatial_width": 4, "translator_width": 6, "translator_layers": 3, "mlp_ratio": 2.0},
    "predrnn_v2": {"hidden": [6, 6], "kernel": 3},
    "svg_lp": {"width": 2, "code_size": 6, "noise_channels": 3, "hidden": 5},
    "voxel_flow": {"scales": [2, 1], "widths": [8, 4], "mean_blocks": 1},
    "flow_matching": {"widths": [4, 8], "euler_steps": 2},
}
# As in OpenSTL and, for SVG, in the authors' code. OpenSTL counts 15.08 M for ConvLSTM, of which its forward pass never
# uses 3.41 M, and has no biases (2048).
PARAMETERS = {
    "convlstm_moving_mnist": 15_083_520 - 4 * (2 * 128 * 128 * 26) + 4 * 512,
    "simvp_moving_mnist": 57_946_113,
    "simvp_gsta_moving_mnist": 46_769_665,
    "predrnn_v2_moving_mnist": 23_855_104,
    "svg_lp_moving_mnist": 12_614_057,
    # OpenSTL's table for KTH rounds: 12.2 M, 15.6 M, 23.6 M, 14.9 M (again with the unused layers).
    "simvp_kth": 12_152_385,
    "simvp_gsta_kth": 15_632_961,
    "predrnn_v2_kth": 23_584_768,
    "convlstm_kth": 11_522_560,
}
WITH_ACTIONS, ONE_LEAD = {"predrnn_v2", "voxel_flow", "flow_matching"}, {"svg_lp"}
RUN: dict[str, Any] = {
    "data.root": None, "data.world.name": "bouncing_balls", "data.context_frames": 2, "data.pred_frames": 2,
    "data.unroll": 2, "data.crop_size": 32, "training.steps": 2, "training.batch_size": 2, "training.device": "cpu",
    "training.validate_every": 0, "training.image_every": 0, "training.log_every": 1, "training.monitor_every": 0,
    "checkpoint.every": 1, "checkpoint.keep": 4,
}  # fmt: skip
SHAPES = [
    (2, 3, 2, 3, (16, 9)),
    *(pytest.param(*shape, marks=pytest.mark.slow) for shape in (
        (1, 1, 1, 3, (8, 8)), (3, 2, 1, 1, (13, 22)), (4, 2, 1, 1, (7, 30)),
    )),
]  # fmt: skip


def built(name: str, data: DataSettings, **change: object) -> Generator:
    torch.manual_seed(0)
    model = load_config(
        f"{name}_moving_mnist.yaml", {f"model.{key}": value for key, value in SMALL[name].items()}
    ).model
    return build_generator(model.model_copy(update=change), data)


def given(generator: Generator, count: int, frames: int) -> dict[str, Tensor]:
    """Return noise and actions that a generator takes, for `frames` frames in total."""
    found = {"noise": draw_noise(generator, count)} if generator.noise_channels else {}
    return found | ({"actions": torch.randn(count, frames - 1, generator.action_size)} if generator.action_size else {})


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_presets_have_the_published_number_of_parameters(name: str, count: int) -> None:
    config = load_config(f"{name}.yaml", {})
    with torch.device("meta"):
        assert count_parameters(build_generator(config.model, config.data)) == count


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("context", "future", "lead", "channels", "size"), SHAPES)
def test_any_context_horizon_color_and_size(
    name: str, context: int, future: int, lead: int, channels: int, size: tuple[int, int]
) -> None:
    lead = 1 if name in ONE_LEAD else lead
    data = DataSettings(context_frames=context, pred_frames=future, lead=lead, channels=channels)
    generator = built(name, data, action_size=2 if name in WITH_ACTIONS else 0)
    generator.grow(0.1)
    frames, target = torch.rand(2, context, channels, *size), torch.rand(2, future, channels, *size)
    with torch.autocast("cpu", torch.bfloat16, enabled=channels == 3):
        (images,) = generator(frames, **given(generator, 2, context + lead - 1 + future), **(
            {"target": target} if generator.takes_target else {}
        ))  # fmt: skip
    assert images.shape == target.shape
    assert images.dtype == torch.float32
    assert 0 <= images.detach().min().item() <= images.detach().max().item() <= 1
    loss = (images - target).square().mean() + sum(generator.extra_losses.values())
    (loss if generator.latent_cost is None else loss + generator.latent_cost.mean()).backward()
    missing = [key for key, parameter in generator.named_parameters() if parameter.grad is None]
    assert not missing, "parameters without a gradient stop a training on several processes"

    generator.eval()
    given_frames = torch.rand(2, context + lead, channels, *size)
    longer = rollout(generator, given_frames, future + lead + 1, **given(generator, 2, context + 2 * lead + future + 1))
    assert longer.shape == (2, future + lead + 1, channels, *size)
    assert bool(longer.isfinite().all())


@pytest.mark.parametrize("name", SMALL)
def test_every_context_frame_matters_and_short_contexts_work(name: str) -> None:
    generator = built(name, DataSettings(context_frames=3, pred_frames=2, channels=1)).eval()
    frames = torch.rand(1, 3, 1, 16, 16, requires_grad=True)
    (images,) = generator(frames, **given(generator, 1, 5))
    (images * torch.rand_like(images)).sum().backward()
    assert frames.grad is not None
    assert bool((frames.grad.flatten(2).abs().amax(2) > 0).all()), "a frame has no effect"
    conditions = given(generator, 1, generator.min_history_len + 3)
    short = rollout(generator, frames.detach()[:, -generator.min_history_len :], 3, **conditions)
    assert short.shape == (1, 3, 1, 16, 16)


@pytest.mark.parametrize("name", ["predrnn_v2", "voxel_flow", "flow_matching"])
def test_bair_presets_predict_28_frames_from_2_with_actions(name: str) -> None:
    config = load_config(f"{name}_bair.yaml", {f"model.{key}": value for key, value in SMALL[name].items()})
    generator = build_generator(config.model, config.data).eval()
    conditions = given(generator, 1, 30)
    assert conditions["actions"].shape == (1, 29, 4)
    with torch.no_grad():
        frames = rollout(generator, torch.rand(1, 2, 3, 16, 16), 28, **conditions)
    assert frames.shape == (1, 28, 3, 16, 16)


LONG = ("simvp", "simvp_gsta", "svg_lp", "voxel_flow")


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else []) for name in SMALL])
def test_consecutive_predictions_train_and_resume_exactly(name: str, tmp_path: Path) -> None:
    settings = {**RUN, **{f"model.{key}": value for key, value in SMALL[name].items()}}
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    train(load_config(f"{name}_moving_mnist.yaml", {**settings, "run": str(whole)}))
    shutil.copytree(whole, resumed)
    shutil.rmtree(find_checkpoint(resumed, "step-2").path)
    assert train(load_config(f"{name}_moving_mnist.yaml", {**settings, "run": str(resumed)})).first_step == 1
    one, other = (find_checkpoint(run, "step-2").tensors("generator") for run in (whole, resumed))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert evaluate(whole, num_frames=5, windows=1).scores


class Recorder(Generator):
    """A generator with a separate loss, which records its targets."""

    takes_target = True

    def __init__(self) -> None:
        super().__init__()
        self.context_frames, self.pred_frames, self.channels = 1, 2, 1
        self.factor = torch.nn.Parameter(torch.ones(()))
        self.targets: list[Tensor] = []

    def forward(self, context: Tensor, target: Tensor | None = None) -> Tensor:
        if target is not None:
            self.targets.append(target)
            self.extra_losses = {"own": self.factor * len(self.targets)}
        return context[:, -1:].expand(-1, 2, -1, -1, -1) * self.factor


def test_consecutive_predictions_have_consecutive_targets_and_mean_losses(tmp_path: Path) -> None:
    generator = Recorder()
    settings = {**RUN, "run": str(tmp_path), "data.context_frames": 1, "data.channels": 1, "training.steps": 1}
    train(load_config(None, settings), generator)
    first, second = generator.targets
    assert first.shape == second.shape == (2, 2, 1, 32, 32)
    assert not torch.equal(first, second)
    (line,) = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines() if "own" in line]
    assert line["generator/own"] == pytest.approx((1 + 2) / 2)
