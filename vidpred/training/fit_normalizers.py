"""Check that networks and data agree on actions, states and classes, and fit normalizers to the data."""

from __future__ import annotations

from vidpred.data.settings import DataSettings
from vidpred.data.sources import Source
from vidpred.errors import ConfigError
from vidpred.models.base import Generator
from vidpred.models.conditions import check_conditions
from vidpred.models.dynamics import StateDynamics
from vidpred.models.normalizer import Normalizer
from vidpred.models.settings import DiscriminatorSettings, ModelSettings
from vidpred.training.objectives import ObjectiveSettings


def fit_conditions(generator: Generator, source: Source) -> None:
    """Fit the generator's normalizers to the source's actions and states, and its state dynamics to the sequences.

    Raises:
        ConfigError: See `check_conditions`.
    """
    check_conditions(generator, source)
    dynamics = [module for module in generator.modules() if isinstance(module, StateDynamics)]
    of_states = [module.states for module in dynamics]
    if generator.action_size:
        for module in generator.modules():
            if isinstance(module, Normalizer) and not any(module is normalizer for normalizer in of_states):
                module.fit(*source.action_statistics())
    if generator.state_size:
        for module in dynamics:
            module.states.fit(*source.state_statistics())
            module.fit(source.sequences())


def check_classes(
    source: Source,
    data: DataSettings,
    objective: ObjectiveSettings,
    model: ModelSettings,
    discriminator: DiscriminatorSettings,
) -> None:
    """Raise ConfigError unless the networks have the data's number of classes."""
    classes = len(source.classes)
    networks: dict[str, ModelSettings | DiscriminatorSettings] = {"model": model}
    if objective.has_discriminator:
        networks["discriminator"] = discriminator
    for section, network in networks.items():
        if not network.takes_labels:
            continue
        if network.num_labels and network.num_labels != classes:
            raise ConfigError(
                f"[{section}.num_labels={network.num_labels}] the data has {classes or 'no'} classes [{source.name}]; "
                f"set {section}.num_labels={classes}"
            )
        if network.num_labels and data.labeled is not None:
            raise ConfigError(
                f"[data.labeled={data.labeled}] hides labels that {section}.num_labels needs; "
                f"leave it out or set {section}.num_labels=0"
            )
    if not objective.adversary.class_weight:
        return
    num_classes = discriminator.num_classes
    if not 0 < classes <= num_classes:
        raise ConfigError(
            f"[discriminator.classes={num_classes}] the data has {classes or 'no'} classes [{source.name}]; "
            + (
                f"set discriminator.classes={classes}"
                if classes
                else "set objective.adversarial.class_weight=0, or use labeled data"
            )
        )
