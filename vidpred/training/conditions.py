"""Whether a generator and the data agree on actions and states, and what the generator takes from the data's."""

from __future__ import annotations

from torch import nn

from vidpred.data.clips import ActionSource, Source, StateSource
from vidpred.errors import ConfigError
from vidpred.models.conditions import action_size, state_size
from vidpred.models.dynamics import StateDynamics
from vidpred.models.scale import ValueScale


def check_conditions(generator: nn.Module, source: Source) -> None:
    """Raises ConfigError where the generator takes actions or states and the source has none, or of another size."""
    actions = source.action_size if isinstance(source, ActionSource) else 0
    states = source.state_size if isinstance(source, StateSource) else 0
    for wanted, found, setting, name, what in (
        (action_size(generator), actions, "model.action_size", "actions", "from one frame to the next"),
        (state_size(generator), states, "model.state_size", "states", "a frame"),
    ):
        if wanted and not found:
            raise ConfigError(
                f"[{setting}={wanted}] the data has no {name} [{source.name}]; set {setting}=0, or use a prepared set "
                "that has them (vidpred record, vidpred prepare numpy)"
            )
        if wanted and found != wanted:
            raise ConfigError(
                f"[{setting}={wanted}] the data's {name} have {found} values {what} [{source.name}]; "
                f"set {setting}={found}"
            )


def fit_conditions(generator: nn.Module, source: Source) -> None:
    """Give the generator the mean and deviation of the source's actions and states, and how its states go on. Raises
    what `check_conditions` raises."""
    check_conditions(generator, source)
    dynamics = [module for module in generator.modules() if isinstance(module, StateDynamics)]
    of_states = [module.states for module in dynamics]
    if action_size(generator) and isinstance(source, ActionSource):
        for module in generator.modules():
            if isinstance(module, ValueScale) and not any(module is scale for scale in of_states):
                module.fit(*source.action_statistics())
    if state_size(generator) and isinstance(source, StateSource):
        for one in dynamics:
            one.states.fit(*source.state_statistics())
            one.fit(source.sequences())
