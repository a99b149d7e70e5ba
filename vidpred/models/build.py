"""From settings to networks."""

from __future__ import annotations

from torch import nn

from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.models.discriminators import DiscriminatorSettings, MultiscaleDiscriminator
from vidpred.models.multiscale import GeneratorSettings, MultiscaleGenerator


def build_generator(settings: GeneratorSettings, data: DataSettings) -> MultiscaleGenerator:
    return MultiscaleGenerator(settings, data.context_frames, data.pred_frames, data.step, data.channels)


def build_discriminator(settings: DiscriminatorSettings, scales: int, data: DataSettings) -> MultiscaleDiscriminator:
    """Raises ConfigError where the patches are too small for it."""
    assert data.patch_size is not None  # the config refuses an adversary on whole frames
    return MultiscaleDiscriminator(
        settings, scales, data.patch_size, data.context_frames, data.pred_frames, data.channels
    )


def adopt(generator: nn.Module, data: DataSettings) -> nn.Module:
    """Give a module of the user's the attributes that rollouts read, where it lacks them. Raises ConfigError where it
    has others than the settings."""
    for name in ("context_frames", "pred_frames", "step", "channels"):
        wanted = getattr(data, name)
        if not hasattr(generator, name):
            setattr(generator, name, wanted)
        elif getattr(generator, name) != wanted:
            raise ConfigError(f"[data.{name}] is {wanted}, but the generator's {name} is {getattr(generator, name)}")
    return generator


def history_frames(generator: nn.Module) -> int:
    """How many known frames a rollout of this generator starts from: its context, and its lead over that."""
    return int(generator.context_frames) + int(generator.step) - 1  # type: ignore[arg-type]


def count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
