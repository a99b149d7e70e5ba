"""Whether a generator and the data agree on actions and states, and what the generator takes from the data's."""

from __future__ import annotations

from vidpred.data.sources import Source
from vidpred.models.base import Generator
from vidpred.models.conditions import check_conditions
from vidpred.models.dynamics import StateDynamics
from vidpred.models.scale import ValueScale


def fit_conditions(generator: Generator, source: Source) -> None:
    """Give the generator the mean and deviation of the source's actions and states, and how its states go on. Raises
    what `check_conditions` raises."""
    check_conditions(generator, source)
    dynamics = [module for module in generator.modules() if isinstance(module, StateDynamics)]
    of_states = [module.states for module in dynamics]
    if generator.action_size:
        for module in generator.modules():
            if isinstance(module, ValueScale) and not any(module is scale for scale in of_states):
                module.fit(*source.action_statistics())
    if generator.state_size:
        for one in dynamics:
            one.states.fit(*source.state_statistics())
            one.fit(source.sequences())
