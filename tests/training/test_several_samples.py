"""Best of N: which sample is chosen, which losses reach it, and that one sample is the plain objective."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vidpred.checkpoint import Checkpoint
from vidpred.config import load_config
from vidpred.data.batch import Batch
from vidpred.errors import ConfigError
from vidpred.losses.reconstruction import gradient_difference_loss, lp_loss
from vidpred.models.discriminators import MultiscaleDiscriminator, MultiscaleDiscriminatorSettings
from vidpred.models.pyramid import build_pyramid
from vidpred.run import train
from vidpred.training.objectives import Objective, ObjectiveSettings, Step, nearest_sample

SMALL: dict[str, Any] = {
    "training.steps": 3, "training.batch_size": 2, "model.scales": 2, "training.device": "cpu", "data.crop_size": 32,
    "model.feature_maps": [[4], [4]], "model.kernel_sizes": [[3, 3], [3, 3]], "training.validate_every": 0,
    "training.image_every": 0, "training.log_every": 1,
}  # fmt: skip
NOISY = {
    "model.noise_channels": 1,
    "model.noise": "binary",
    "objective.num_samples": 2,
    "objective.other_samples_weight": 0.1,
}


def step_of(samples: list[Tensor], future: Tensor) -> Step:
    """Return a step of one scale from samples and true frames, each `(B, K, C, H, W)`."""
    batch = Batch(torch.zeros(len(future), 1, *future.shape[2:]), future, torch.arange(len(future)))
    return Step(batch, [torch.cat(samples)], 0, len(samples))


def test_the_nearer_sample_is_chosen_for_each_clip() -> None:
    """Two clips with two samples each are counted by their nearer sample.

    Clip 0 costs 2*1 + 3 = 5 and 2*2 + 0 = 4: the second is nearer although its first term is worse. Clip 1 costs
    2*0 + 1 = 1 and 2*5 + 7 = 17: the first. So a is (2 + 0) / 2 and b is (0 + 1) / 2.
    """
    terms = {"a": (2.0, torch.tensor([1.0, 0.0, 2.0, 5.0])), "b": (1.0, torch.tensor([3.0, 1.0, 0.0, 7.0]))}
    best = nearest_sample(terms, 2)
    assert {name: (weight, float(value)) for name, (weight, value) in best.items()} == {
        "a": (2.0, 1.0),
        "b": (1.0, 0.5),
    }
    relaxed = nearest_sample(terms, 2, others=0.25)  # a: 3/4 (2, 0) + 1/4 (1, 5), b: 3/4 (0, 1) + 1/4 (3, 7)
    assert float(relaxed["a"][1]) == pytest.approx((1.75 + 1.25) / 2)
    assert float(relaxed["b"][1]) == pytest.approx((0.75 + 2.5) / 2)


def test_the_other_samples_share_the_rest() -> None:
    """Three samples of one clip with losses 1, 2, 6 cost 0.6 * 1 + 0.2 * (2 + 6)."""
    value = nearest_sample({"a": (1.0, torch.tensor([1.0, 2.0, 6.0]))}, 3, others=0.4)["a"][1]
    assert float(value) == pytest.approx(0.6 + 0.2 * 8)


def test_reconstruction_reaches_only_the_chosen_sample() -> None:
    future = torch.full((2, 1, 3, 4, 4), 0.5)
    near, far = future + 0.1, future + 0.3
    samples = [torch.stack([near[0], far[1]]).requires_grad_(), torch.stack([far[0], near[1]]).requires_grad_()]
    settings = ObjectiveSettings(num_samples=2, gdl_weight=0)
    losses = Objective(settings).generator_losses(step_of(samples, future))
    torch.testing.assert_close(losses.total, torch.tensor(0.2))  # |0.1| in [0, 1] is 0.2 in [-1, 1]
    losses.total.backward()
    reached = [[bool(g.any()) for g in sample.grad] for sample in samples if sample.grad is not None]
    assert reached == [[True, False], [False, True]]


def test_the_adversary_and_the_discriminator_use_every_sample() -> None:
    torch.manual_seed(0)
    discriminator = MultiscaleDiscriminator(MultiscaleDiscriminatorSettings(size="strided"), 1, 32, 1)
    future = torch.rand(2, 1, 3, 32, 32)
    samples = [torch.rand_like(future).requires_grad_() for _ in range(2)]
    objective = Objective(ObjectiveSettings(num_samples=2, adversarial={"weight": 1.0}), discriminator, discriminator)
    step = step_of(samples, future)
    objective.generator_losses(step).total.backward()
    assert all(bool(sample.grad.flatten(1).any(1).all()) for sample in samples if sample.grad is not None)
    with torch.no_grad():
        logits = discriminator(torch.cat([step.batch.context] * 3), [torch.cat([future, *samples])])
        parts = objective.discriminator_losses(step).parts
    softplus = nn.functional.softplus
    torch.testing.assert_close(parts["real"], softplus(-logits[:2]).mean())
    torch.testing.assert_close(parts["fake"], softplus(logits[2:]).mean())


def test_one_sample_is_exactly_the_plain_objective() -> None:
    torch.manual_seed(0)
    future, prediction = torch.rand(2, 3, 1, 3, 16, 16)
    images = build_pyramid(prediction, 2)
    batch = Batch(torch.zeros(3, 1, 3, 16, 16), future, torch.arange(3))
    losses = Objective(ObjectiveSettings(gdl_weight=0.5)).generator_losses(Step(batch, images, 0))
    pairs = [(p * 2 - 1, t * 2 - 1) for p, t in zip(images, build_pyramid(future, 2), strict=True)]
    lp = lp_loss(*pairs[0], 1.0) + lp_loss(*pairs[1], 1.0)
    gdl = gradient_difference_loss(*pairs[0], 1.0) + gradient_difference_loss(*pairs[1], 1.0)
    assert torch.equal(losses.total, lp + 0.5 * gdl)


def test_two_equal_samples_cost_as_much_as_one() -> None:
    torch.manual_seed(0)
    future, prediction = torch.rand(2, 3, 1, 3, 16, 16)
    one = Objective(ObjectiveSettings()).generator_losses(step_of([prediction], future))
    two = Objective(ObjectiveSettings(num_samples=2)).generator_losses(step_of([prediction, prediction], future))
    torch.testing.assert_close(two.total, one.total)


def weights(run: Path, step: int) -> dict[str, Tensor]:
    checkpoint = Checkpoint(run / "checkpoints" / f"step-{step}")
    return {
        f"{name} {key}": tensor for name in ("generator", "ema") for key, tensor in checkpoint.tensors(name).items()
    }


@pytest.mark.slow
def test_a_resumed_run_with_noise_is_the_uninterrupted_one(tmp_path: Path) -> None:
    """Both samples of every step are a function of (seed, step, process)."""
    adversarial = {"objective.adversarial.weight": 0.05, "discriminator.size": "strided"}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for run, steps in ((whole, 4), (stopped, 2), (stopped, 4)):
        changes = {**NOISY, **adversarial, "training.steps": steps, "training.schedule.hold": 1.0, "run": str(run)}
        train(load_config(None, {**SMALL, **changes}))
    before, after = weights(whole, 4), weights(stopped, 4)
    assert all(torch.equal(before[name], after[name]) for name in before)
    logged = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert logged[-1]["generator/adversarial"] > 0


def test_several_samples_without_noise_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"objective\.num_samples: .* set model\.noise_channels=1"):
        load_config(None, {"objective.num_samples": 2})


class CustomGenerator(nn.Module):
    """A custom generator that takes noise and shifts the last frame by it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        if channels:
            self.noise_channels = channels

    def forward(self, context: Tensor, noise: Tensor | None = None) -> Tensor:
        shift = 0 if noise is None else noise[:, :1, None, None, None]
        return context[:, -1:] + self.weight * (1 + shift)


def test_a_custom_generator_can_take_noise(tmp_path: Path) -> None:
    settings = {**SMALL, "model.noise_channels": 2, "objective.num_samples": 3, "training.steps": 1}
    train(load_config(None, {**settings, "run": str(tmp_path / "own")}), CustomGenerator(2))
    with pytest.raises(
        ConfigError, match=r"\[objective\.num_samples=3\] the generator has no attribute noise_channels"
    ):
        train(load_config(None, {**settings, "run": str(tmp_path / "none")}), CustomGenerator(0))
