"""Whether networks and data agree on actions, states and classes, and what the generator takes from the data's."""

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
    """Give the generator the mean and deviation of the source's actions and states, and how its states go on. Raises
    what `check_conditions` raises."""
    check_conditions(generator, source)
    dynamics = [module for module in generator.modules() if isinstance(module, StateDynamics)]
    of_states = [module.states for module in dynamics]
    if generator.action_size:
        for module in generator.modules():
            if isinstance(module, Normalizer) and not any(module is scale for scale in of_states):
                module.fit(*source.action_statistics())
    if generator.state_size:
        for one in dynamics:
            one.states.fit(*source.state_statistics())
            one.fit(source.sequences())


def check_classes(
    source: Source,
    data: DataSettings,
    objective: ObjectiveSettings,
    model: ModelSettings,
    discriminator: DiscriminatorSettings,
) -> None:
    """Check that the networks' classes are those of the data. Raises ConfigError."""
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
        if network.num_labels and data.labelled is not None:
            raise ConfigError(
                f"[data.labelled={data.labelled}] hides classes that {section}.num_labels tells the network; "
                f"leave it out or set {section}.num_labels=0"
            )
    if not objective.adversary.class_weight:
        return
    known = discriminator.num_classes
    if not 0 < classes <= known:
        raise ConfigError(
            f"[discriminator.classes={known}] the data has {classes or 'no'} classes [{source.name}]; "
            + (
                f"set discriminator.classes={classes}"
                if classes
                else "set objective.adversarial.class_weight=0, or use labelled data"
            )
        )
