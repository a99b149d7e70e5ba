"""Whether a generator and the data agree on actions, and what the generator takes from the data's."""

from __future__ import annotations

from torch import nn

from vidpred.data.clips import ActionSource, Source
from vidpred.errors import ConfigError
from vidpred.models.conditions import action_size
from vidpred.models.scale import ValueScale


def check_actions(generator: nn.Module, source: Source) -> None:
    """Raises ConfigError where the generator takes actions and the source has none, or of another size."""
    wanted = action_size(generator)
    if not wanted:
        return
    found = source.action_size if isinstance(source, ActionSource) else 0
    if not found:
        raise ConfigError(
            f"[model.action_size={wanted}] the data has no actions [{source.name}]; set model.action_size=0, or use a "
            "prepared set that has them (vidpred record, vidpred prepare numpy)"
        )
    if found != wanted:
        raise ConfigError(
            f"[model.action_size={wanted}] the data's actions have {found} values from one frame to the next "
            f"[{source.name}]; set model.action_size={found}"
        )


def fit_action_scale(generator: nn.Module, source: Source) -> None:
    """Give the generator the mean and deviation of the source's actions. Raises what `check_actions` raises."""
    check_actions(generator, source)
    if action_size(generator) and isinstance(source, ActionSource):
        for module in generator.modules():
            if isinstance(module, ValueScale):
                module.fit(*source.action_statistics())
