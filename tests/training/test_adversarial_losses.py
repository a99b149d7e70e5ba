"""Adversarial losses on plain images without context, as for image generators, and their schedule."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vidpred.config import load_config
from vidpred.errors import ConfigError
from vidpred.losses.reconstruction import feature_matching_loss
from vidpred.training.adversarial_losses import AdversarialLosses, AdversarialSettings, ramp_factor


class Critic(nn.Module):
    """A discriminator of single images `(B, 1, 2, 2)`: one hidden layer, one scale."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.last = nn.Linear(4, 3), nn.Linear(3, 1)

    def forward(self, images: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        features = self.hidden(images[0].flatten(1)).tanh()
        return self.last(features), [features]


def compute_losses(
    critic: Critic, step: int = 0, history_weight: float = 0.0, **settings: Any
) -> tuple[dict[str, Tensor], dict[str, tuple[float, Tensor]]]:
    """Return the discriminator's parts and the generator's terms for fixed images."""
    torch.manual_seed(1)
    real, fake = [torch.randn(6, 1, 2, 2)], [torch.randn(6, 1, 2, 2, requires_grad=True)]
    adversarial_losses = AdversarialLosses(
        AdversarialSettings(**{"weight": 0.5, **settings}), {"discriminator": critic}, history_weight
    )
    losses = adversarial_losses.discriminator_losses(lambda images: critic(images)[0], real, [fake], step)
    parts = {name: value.detach() for name, value in {"total": losses.total, **losses.parts}.items()}
    terms = adversarial_losses.generator_terms(critic, fake, real, step)
    return parts, {name: (weight, value.detach()) for name, (weight, value) in terms.items()}


def test_losses_of_an_image_discriminator_by_hand() -> None:
    critic = Critic()
    for parameter in critic.last.parameters():
        nn.init.zeros_(parameter)
    parts, terms = compute_losses(critic)
    assert float(parts["total"]) == pytest.approx(2 * math.log(2))
    assert terms.keys() == {"adversarial"}
    assert terms["adversarial"][0] == 0.5
    assert float(terms["adversarial"][1]) == pytest.approx(math.log(2))


def test_the_total_is_the_weighted_sum_of_its_parts() -> None:
    critic = Critic()
    parts, _ = compute_losses(critic, r1_weight=2.0, gradient_penalty_weight=3.0, history_weight=0.5)
    assert float(parts["r1"]) > 0
    assert float(parts["gradient_penalty"]) > 0
    expected = parts["real"] + parts["fake"] + 2 * parts["r1"] + 3 * parts["gradient_penalty"] + 0.5 * parts["history"]
    torch.testing.assert_close(parts["total"], expected)


def test_relativistic_pairs_by_hand() -> None:
    """The losses are softplus of differences within pairs; an offset of all logits changes nothing."""
    critic = Critic()
    parts, terms = compute_losses(critic, loss="relativistic", r1_weight=2.0, r2_weight=3.0, r1_every=1)
    torch.manual_seed(1)
    real, fake = critic([torch.randn(6, 1, 2, 2)])[0], critic([torch.randn(6, 1, 2, 2)])[0]
    torch.testing.assert_close(parts["pairs"], torch.log1p((fake - real).exp()).mean())
    torch.testing.assert_close(terms["adversarial"][1], torch.log1p((real - fake).exp()).mean())
    torch.testing.assert_close(parts["total"], parts["pairs"] + 2 * parts["r1"] + 3 * parts["r2"])
    assert float(parts["r1"]) != float(parts["r2"]) > 0
    with torch.no_grad():
        critic.last.bias += 100
    moved, moved_terms = compute_losses(critic, loss="relativistic")
    torch.testing.assert_close(moved["pairs"], parts["pairs"], atol=1e-5, rtol=0)
    torch.testing.assert_close(moved_terms["adversarial"][1], terms["adversarial"][1], atol=1e-5, rtol=0)


def test_r2_of_a_linear_critic_equals_r1() -> None:
    """Its gradient is the same everywhere: |w|^2 / 2."""
    torch.manual_seed(1)
    weights = torch.tensor([0.0, 3.0, 4.0])
    losses = AdversarialLosses(AdversarialSettings(weight=1, r1_weight=1.0, r2_weight=1.0, r1_every=2), {})
    groups = [torch.randn(4, 3)], [[torch.randn(4, 3)]]
    parts = losses.discriminator_losses(lambda images: images[0] @ weights[:, None], *groups, step=2).parts
    assert float(parts["r1"]) == pytest.approx(12.5)
    assert float(parts["r2"]) == pytest.approx(12.5)
    assert "r2" not in losses.discriminator_losses(lambda images: images[0] @ weights[:, None], *groups, step=3).parts


def test_all_false_groups_weigh_as_much_as_the_true_images() -> None:
    critic = Critic()
    torch.manual_seed(1)
    real, one, other = ([torch.randn(4, 1, 2, 2)] for _ in range(3))
    adversarial_losses = AdversarialLosses(AdversarialSettings(weight=1), {"discriminator": critic})

    def fake(groups: list[list[Tensor]]) -> Tensor:
        return adversarial_losses.discriminator_losses(lambda images: critic(images)[0], real, groups, 0).parts["fake"]

    torch.testing.assert_close(fake([one, other]), (fake([one]) + fake([other])) / 2)


def test_feature_matching_by_hand() -> None:
    """Batch means (2, 2) and (3, 5) cost (1 + 9) / 2; the order in a batch does not matter, and scales add up."""
    own, true = torch.tensor([[1.0, 2.0], [3.0, 2.0]]), torch.tensor([[3.0, 4.0], [3.0, 6.0]])
    assert float(feature_matching_loss([own], [true])) == 5.0
    assert float(feature_matching_loss([own.flip(0)], [true])) == 5.0
    assert float(feature_matching_loss([own, own], [true, own])) == 5.0
    own.requires_grad_()
    true.requires_grad_()
    feature_matching_loss([own], [true]).backward()
    assert own.grad is not None
    assert true.grad is None


def test_feature_matching_alone_needs_a_discriminator() -> None:
    settings = AdversarialSettings(feature_matching_weight=2.0)
    assert settings.has_discriminator
    _, terms = compute_losses(Critic(), weight=0.0, feature_matching_weight=2.0)
    assert terms.keys() == {"feature_matching"}
    assert terms["feature_matching"][0] == 2.0


def test_ramp_by_hand() -> None:
    assert [ramp_factor(step, 2, 3) for step in range(7)] == [0, 0, 0.25, 0.5, 0.75, 1, 1]
    assert [ramp_factor(step, 1, 0) for step in range(3)] == [0, 1, 1]
    _, early = compute_losses(Critic(), step=1, start=2)
    _, later = compute_losses(Critic(), step=2, start=2, ramp=1)
    assert early == {}
    assert later["adversarial"][0] == 0.25


def test_wasserstein_accuracy_does_not_depend_on_an_offset() -> None:
    critic = Critic()
    before, _ = compute_losses(critic, loss="wasserstein")
    with torch.no_grad():
        critic.last.bias += 100
    after, _ = compute_losses(critic, loss="wasserstein")
    assert float(before["accuracy"]) == float(after["accuracy"])


@pytest.mark.parametrize("name", ["hinge", "wasserstein", "relativistic"])
def test_losses_without_labels_refuse_smoothing(name: str) -> None:
    with pytest.raises(ConfigError, match="real_label"):
        load_config(None, {"objective.adversarial.loss": name, "objective.adversarial.real_label": 0.9})


def test_an_adversary_that_starts_later_needs_something_to_learn_before() -> None:
    with pytest.raises(ConfigError, match="objective.adversarial.start"):
        load_config(
            None,
            {
                "objective.lp_weight": 0, "objective.gdl_weight": 0, "objective.adversarial.weight": 1,
                "objective.adversarial.start": 5,
            },
        )  # fmt: skip
