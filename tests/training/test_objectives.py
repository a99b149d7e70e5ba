"""Gradients of the objective: which network receives which, a common source of errors in implementations."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.settings_for_tests import objective_settings
from vidpred.data.batch import Batch
from vidpred.models.discriminators import MultiscaleDiscriminator, MultiscaleDiscriminatorSettings
from vidpred.models.multiscale import MultiscaleGenerator, MultiscaleSettings
from vidpred.training.objectives import Objective, ObjectiveSettings, Step, targets
from vidpred.training.updates import frozen


@pytest.fixture
def networks() -> tuple[MultiscaleGenerator, MultiscaleDiscriminator]:
    torch.manual_seed(0)
    rows = MultiscaleSettings(scales=3, feature_maps=[[4]] * 3, kernel_sizes=[[3, 3]] * 3)
    generator, discriminator = (
        MultiscaleGenerator(rows, 2),
        MultiscaleDiscriminator(MultiscaleDiscriminatorSettings(), 3, 32, 2),
    )
    for network in discriminator.networks:
        torch.nn.init.constant_(network.layers[-1].bias, 1.0)  # confident logits, so that the losses' slopes differ
    return generator, discriminator


@pytest.fixture
def batch() -> Batch:
    torch.manual_seed(1)
    return Batch(torch.rand(2, 2, 3, 32, 32), torch.rand(2, 1, 3, 32, 32), torch.arange(2))


def move(*modules: torch.nn.Module) -> None:
    """Move weights away from their historical average, so that its loss is not 0."""
    with torch.no_grad():
        for module in modules:
            for parameter in module.parameters():
                parameter.mul_(1.01)


def gradients(networks: Any, batch: Batch, number: int = 0, phase: str = "generator", **weights: Any) -> Any:
    """Return the generator's and the discriminator's gradients from one phase, by parameter name."""
    generator, discriminator = copy.deepcopy(networks)
    settings = objective_settings(**{"lp_weight": 0, "gdl_weight": 0, **weights})
    objective = Objective(settings, discriminator, discriminator, generator)
    move(generator, discriminator)
    torch.manual_seed(2)
    step = Step(batch, generator(batch.context), number)
    chosen = next(candidate for candidate in objective.phases(number) if candidate.network == phase)
    other = discriminator if phase == "generator" else generator
    with frozen([other]):
        chosen.losses(step).total.backward()
    return [
        {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}
        for network in (generator, discriminator)
    ]


def test_the_adversary_reaches_every_scale_of_the_generator(networks: Any, batch: Batch) -> None:
    """The best-known public implementation detaches predictions, which then carry no gradient."""
    generator, discriminator = gradients(networks, batch, weight=1.0)
    for scale in range(3):
        norm = sum(float(g.norm()) for name, g in generator.items() if name.startswith(f"networks.{scale}."))
        assert norm > 0, f"no adversarial gradient at scale {scale}"
    assert discriminator == {}, "the generator's step must leave the discriminator without gradient"


def test_the_discriminators_step_leaves_the_generator_alone(networks: Any, batch: Batch) -> None:
    generator, discriminator = gradients(networks, batch, phase="discriminator", weight=1.0)
    assert generator == {}
    assert all(float(gradient.norm()) > 0 for gradient in discriminator.values())


def flat(gradients: dict[str, Tensor]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients.values()])


BASE = {"lp_weight": 1.0, "lp_exponent": 1.5, "gdl_weight": 1.0, "gdl_alpha": 1.5, "weight": 0.05}


@pytest.mark.parametrize(
    ("key", "value"),
    [("lp_weight", 2.0), ("lp_exponent", 2.0), ("gdl_weight", 2.0), ("gdl_alpha", 2.0), ("weight", 0.5)],
)
def test_every_weight_and_exponent_changes_the_gradients(networks: Any, batch: Batch, key: str, value: float) -> None:
    before = flat(gradients(networks, batch, **BASE)[0])
    after = flat(gradients(networks, batch, **{**BASE, key: value})[0])
    assert float((after - before).norm() / before.norm()) > 1e-3


@pytest.mark.parametrize(
    "change",
    [
        {"loss": "minimax"}, {"loss": "least_squares"}, {"loss": "hinge"},
        {"loss": "wasserstein"}, {"ramp": 1}, {"start": 1},
        {"feature_matching_weight": 1000.0}, {"history_weight": 1.0},
    ],
)  # fmt: skip
def test_every_adversarial_setting_changes_the_generators_gradients(
    networks: Any, batch: Batch, change: dict[str, Any]
) -> None:
    adversarial = {"lp_weight": 1e-3, "weight": 1.0}
    before, after = (flat(gradients(networks, batch, **adversarial, **more)[0]) for more in ({}, change))
    assert float((after - before).norm() / before.norm()) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"r1_weight": 10.0}, {"wrong_pairs": True}, {"gradient_penalty_weight": 1.0}, {"real_label": 0.9},
        {"history_weight": 1.0}, {"loss": "least_squares"}, {"loss": "hinge"},
        {"loss": "wasserstein"},
    ],
)  # fmt: skip
def test_discriminator_settings_change_its_gradients(networks: Any, batch: Batch, change: dict[str, Any]) -> None:
    settings = {"phase": "discriminator", "weight": 1.0}
    before, after = (flat(gradients(networks, batch, **settings, **more)[1]) for more in ({}, change))
    assert float((after - before).norm() / before.norm()) > 1e-3


@pytest.mark.slow
def test_r1_is_lazy(networks: Any, batch: Batch) -> None:
    settings = {"phase": "discriminator", "weight": 1.0, "r1_every": 4}
    for number, differs in ((0, True), (1, False), (4, True)):
        plain = flat(gradients(networks, batch, number, **settings)[1])
        penalised = flat(gradients(networks, batch, number, **settings, r1_weight=1.0)[1])
        assert bool((plain != penalised).any()) is differs


def test_gradients_are_linear_in_the_weights(networks: Any, batch: Batch) -> None:
    parts = [flat(gradients(networks, batch, **{name: 1.0})[0]) for name in ("lp_weight", "gdl_weight", "weight")]
    together = gradients(networks, batch, lp_weight=2.0, gdl_weight=0.5, weight=0.05)[0]
    torch.testing.assert_close(flat(together), 2 * parts[0] + 0.5 * parts[1] + 0.05 * parts[2], rtol=1e-4, atol=1e-6)


def test_every_scale_counts_in_the_reconstruction(networks: Any, batch: Batch) -> None:
    """The loss is the sum over all scales, in [-1, 1], not the finest scale's loss."""
    generator, _ = networks
    step = Step(batch, generator(batch.context), 0)
    parts = Objective(ObjectiveSettings(gdl_weight=0)).generator_losses(step).parts
    expected = sum(
        torch.nn.functional.l1_loss(prediction * 2 - 1, target * 2 - 1)
        for prediction, target in zip(step.predictions, targets(step), strict=True)
    )
    torch.testing.assert_close(parts["lp"], expected)


def test_reconstruction_is_one_phase_and_an_adversary_makes_two() -> None:
    assert [phase.network for phase in Objective(ObjectiveSettings()).phases()] == ["generator"]
    phases = Objective(ObjectiveSettings(adversarial={"weight": 0.1})).phases()
    assert [phase.network for phase in phases] == ["discriminator", "generator"]


def test_the_generator_is_updated_every_nth_step() -> None:
    objective = Objective(ObjectiveSettings(adversarial={"weight": 0.1, "discriminator_steps": 3}))
    learns = ["generator" in [phase.network for phase in objective.phases(number)] for number in range(6)]
    assert learns == [False, False, True, False, False, True]


def test_weights_are_clipped_after_the_discriminators_update(networks: Any) -> None:
    generator, discriminator = networks
    settings = ObjectiveSettings(adversarial={"weight": 1, "weight_clip": 0.01})
    phases = Objective(settings, discriminator, discriminator, generator).phases()
    for phase in phases:
        phase.after_update()
    assert max(float(parameter.detach().abs().max()) for parameter in discriminator.parameters()) == pytest.approx(0.01)
    assert max(float(parameter.detach().abs().max()) for parameter in generator.parameters()) > 0.02


def test_a_discriminator_without_output_costs_ln_2_per_scale(networks: Any, batch: Batch) -> None:
    """With logits of 0 the losses are 2 ln 2 (discriminator) and ln 2 (generator) at each of the 3 scales."""
    generator, discriminator = networks
    for parameter in discriminator.parameters():
        torch.nn.init.zeros_(parameter)
    objective = Objective(
        ObjectiveSettings(lp_weight=0, gdl_weight=0, adversarial={"weight": 1}), discriminator, discriminator
    )
    step = Step(batch, generator(batch.context), 0)
    ln2 = torch.log(torch.tensor(2.0))
    torch.testing.assert_close(objective.generator_losses(step).total, 3 * ln2)
    torch.testing.assert_close(objective.discriminator_losses(step).total, 6 * ln2)


def test_frozen_parameters_stay_frozen(networks: Any) -> None:
    """A phase does not unfreeze parameters that the user froze."""
    generator, _ = networks
    generator.networks[0].requires_grad_(False)
    with frozen([generator]):
        assert not any(parameter.requires_grad for parameter in generator.parameters())
    assert not any(parameter.requires_grad for parameter in generator.networks[0].parameters())
    assert all(parameter.requires_grad for parameter in generator.networks[1].parameters())
