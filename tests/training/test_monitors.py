"""Monitors, checked against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from vidpred.data.batch import Batch
from vidpred.losses.gan_losses import saturation
from vidpred.models.base import Generator
from vidpred.training.adversarial_losses import weighted_losses
from vidpred.training.monitors import (
    as_table,
    dead_units,
    gradients_of,
    is_due,
    measure,
    measure_images,
    measure_samples,
    norm_of,
    spread,
    summarize,
)
from vidpred.training.objectives import Step


def test_steps_that_are_measured() -> None:
    assert [n + 1 for n in range(100) if is_due(n, 50, 100, 1)] == [1, 50, 100]
    assert [n + 1 for n in range(120) if is_due(n, 50, 120, 1)] == [1, 50, 100, 120]
    assert [n + 1 for n in range(121) if is_due(n, 50, 121, 3)] == [3, 51, 102, 120], (
        "only steps that update the generator"
    )
    assert not any(is_due(n, 0, 10, 1) for n in range(10))


def test_gradient_norms_of_weighted_terms() -> None:
    weight = nn.Parameter(torch.tensor([3.0, 4.0]))
    unused = nn.Parameter(torch.zeros(2))
    losses = weighted_losses({"lp": (2.0, weight.square().sum()), "adversarial": (0.5, weight.detach().sum())})
    images = torch.rand(2, 1, 1, 4, 4)
    step = Step(Batch(images, images, torch.arange(2)), [images], 0)
    before = torch.get_rng_state()
    found = measure(step, losses, [weight, unused])
    assert torch.equal(torch.get_rng_state(), before), "no random number is drawn"
    assert float(found["gradient_lp"]) == pytest.approx(2 * 2 * 5)
    assert float(found["gradient_adversarial"]) == 0, "it was detached"
    assert weight.grad is None
    losses.total.backward()  # the graph is still there
    assert weight.grad is not None
    assert float(norm_of(gradients_of(unused.sum() * 0 + 1.0, [weight]))) == 0, "nothing of it reaches this one"


def test_units_without_gradient_are_dead() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1))
    with torch.no_grad():
        layers[0].bias.copy_(torch.tensor([-9.0, -9.0, -9.0, 9.0]))
    images = torch.rand(2, 1, 1, 4, 4)
    prediction = layers(images[:, 0])
    step = Step(Batch(images, images, torch.arange(2)), [images], 0)
    losses = weighted_losses({"lp": (1.0, prediction.mean()), "gdl": (1.0, prediction[..., :1].mean())})
    assert float(measure(step, losses, list(layers.parameters()))["dead_units"]) == 0.75
    assert float(dead_units([gradients_of(torch.zeros(()), [])])) == 0


def summary(context: Tensor, truth: Tensor, prediction: Tensor) -> dict[str, float]:
    names, values = as_table({k: v.float() for k, v in measure_images(context, truth, [prediction]).items()})
    return summarize(names, values)


def test_ratios_to_the_true_frames() -> None:
    torch.manual_seed(0)
    context, truth = torch.rand(3, 2, 1, 8, 8), torch.rand(3, 1, 1, 8, 8)
    perfect = summary(context, truth, truth)
    assert [perfect[f"monitor/{name}"] for name in ("diversity", "motion", "energy")] == [1, 1, 1]
    copied = summary(context, truth, context[:, -1:])
    assert copied["monitor/motion"] == 0
    halfway = summary(context, truth, (truth + context[:, -1:]) / 2)
    assert halfway["monitor/motion"] == pytest.approx(0.5)
    faint = summary(context, truth, truth / 2)
    assert faint["monitor/diversity"] == pytest.approx(0.5)
    assert faint["monitor/energy"] == pytest.approx(0.25)
    constant = summary(context, truth, truth[:1].expand_as(truth))
    assert constant["monitor/diversity"] == 0


def test_spread_is_the_mean_squared_distance_of_pairs() -> None:
    images = torch.rand(4, 1, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    flat = images.flatten(1)
    pairs = [(flat[i] - flat[j]).square().mean() for i in range(4) for j in range(i)]
    torch.testing.assert_close(spread(images), torch.stack(pairs).mean())
    assert float(spread(images[:1])) == 0


class Sides(Generator):
    """A generator of middle gray plus noise times a share, so that noise of +-1 is `share` off."""

    context_frames, pred_frames, step, channels, noise_channels, noise = 2, 1, 1, 1, 1, "binary"

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, context: Tensor, noise: Tensor) -> list[Tensor]:
        assert not self.training, "in training it might draw, or count batches"
        return [torch.full_like(context[:, :1], 0.5) + self.share * noise[:, :, None, None, None]]


@pytest.mark.parametrize("share", [0.25, 0.0, 0.05])
def test_distance_of_samples_relative_to_their_error(share: float) -> None:
    """The true frames are 0.25 from the middle on either side, so both samples are off by sqrt(0.25^2 + share^2)."""
    frames = torch.full((6, 2, 1, 4, 4), 0.5)
    truth = torch.full((6, 1, 1, 4, 4), 0.75)
    generator = Sides(share).train()
    before = torch.get_rng_state()
    found = measure_samples(generator, Batch(frames, truth, torch.arange(6)), 1)
    assert torch.equal(torch.get_rng_state(), before), "no random number is drawn"
    assert generator.training
    everything = measure_images(frames, truth, [truth]) | found
    ratio = summarize(*as_table({key: value.float() for key, value in everything.items()}))["monitor/draws"]
    assert ratio == pytest.approx(2 * share / math.hypot(0.25, share), abs=1e-6)
    assert measure_samples(Generator(), Batch(frames, truth, torch.arange(6)), 1) == {}, "without noise there are none"


def test_still_edges_do_not_count() -> None:
    """A sharp background must not hide a blurred ball: the left half is still and sharp, the right half moves."""
    context = torch.zeros(1, 1, 1, 8, 8)
    context[..., ::2, :4] = 1
    truth = context.clone()
    truth[..., 2:6, 5:7] = 1
    prediction = context.clone()
    prediction[..., 2:6, 5:7] = 0.5
    assert summary(context, truth, truth)["monitor/energy"] == 1
    assert summary(context, truth, prediction)["monitor/energy"] == pytest.approx(0.25)


def test_energy_of_the_last_frame() -> None:
    context, truth = torch.zeros(1, 1, 1, 8, 8), torch.rand(1, 3, 1, 8, 8)
    prediction = truth.clone()
    prediction[:, -1] /= 2
    found = summary(context, truth, prediction)
    assert found["monitor/energy_last"] == pytest.approx(0.25)
    assert 0.5 < found["monitor/energy"] < 1


def test_undefined_numbers_are_left_out() -> None:
    still = torch.full((1, 2, 1, 4, 4), 0.5)
    found = summary(still, still[:, :1], still[:, :1])
    assert {"monitor/diversity", "monitor/motion", "monitor/energy"}.isdisjoint(found)
    assert found["monitor/input_std"] == 0
    broken = still.clone()
    broken[0, 0, 0, 0, 0] = float("nan")
    found = summary(broken, still[:, :1], still[:, :1])
    assert found["monitor/non_finite"] == 1
    assert all(math.isfinite(value) for value in found.values())


def test_processes_are_combined() -> None:
    names = list(measure_images(torch.rand(2, 1, 1, 4, 4), torch.rand(2, 1, 1, 4, 4), [torch.rand(2, 1, 1, 4, 4)]))
    one, other = torch.rand(len(names)), torch.rand(len(names))
    found = summarize(names, torch.stack([one, other]))
    for name, choose in (("input_min", torch.minimum), ("prediction_max", torch.maximum)):
        assert found[f"monitor/{name}"] == float(choose(one, other)[names.index(name)])
    total = (one + other)[names.index("non_finite")]
    assert found["monitor/non_finite"] == pytest.approx(float(total))


def test_saturation_counts_confident_correct_logits() -> None:
    logits = torch.tensor([5.0, 4.0, -5.0, 0.0])
    assert float(saturation(logits, True, 0.0, math.log(99))) == 0.25
    assert float(saturation(logits, False, 0.0, math.log(99))) == 0.25
    assert float(saturation(logits, False, 6.0, math.log(99))) == 0.5
