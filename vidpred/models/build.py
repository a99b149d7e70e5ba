"""From settings to networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, Union

from pydantic import BaseModel, Discriminator, Tag
from torch import nn

from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.models.conditions import action_size, state_size
from vidpred.models.dcgan import DcganJudgeSettings, DcganSettings
from vidpred.models.discriminators import DiscriminatorSettings
from vidpred.models.dynamics import StateDynamics
from vidpred.models.film_unet import FilmUnetSettings
from vidpred.models.lapgan import LapganJudgeSettings, LapganSettings
from vidpred.models.lotter import LotterSettings
from vidpred.models.mixture import MixtureSettings
from vidpred.models.mlp import MlpJudgeSettings, MlpSettings
from vidpred.models.motion import MotionSettings
from vidpred.models.multiscale import GeneratorSettings
from vidpred.models.progressive import ProgressiveJudgeSettings, ProgressiveSettings
from vidpred.models.settings import JudgeSettings, ModelSettings
from vidpred.models.stylegan import StyleganSettings
from vidpred.models.vae import VaeSettings

# `model.name` and `discriminator.name` choose from these; the first is the default.
GENERATORS: dict[str, type[ModelSettings]] = {
    "multiscale": GeneratorSettings,
    "dcgan": DcganSettings,
    "film_unet": FilmUnetSettings,
    "mlp": MlpSettings,
    "lapgan": LapganSettings,
    "lotter": LotterSettings,
    "progressive": ProgressiveSettings,
    "stylegan": StyleganSettings,
    "vae": VaeSettings,
    "mixture": MixtureSettings,
    "motion": MotionSettings,
}
DISCRIMINATORS: dict[str, type[JudgeSettings]] = {
    "multiscale": DiscriminatorSettings,
    "dcgan": DcganJudgeSettings,
    "mlp": MlpJudgeSettings,
    "lapgan": LapganJudgeSettings,
    "progressive": ProgressiveJudgeSettings,
}


def choice(table: dict[str, Any]) -> Any:
    """The type of a config section that is one of a table's, chosen by its name."""
    default = next(iter(table))
    if len(table) == 1:
        return table[default]

    def name(section: Any) -> str:
        if isinstance(section, BaseModel):
            return str(section.name)  # type: ignore[attr-defined]
        return str(section.get("name", default)) if isinstance(section, dict) else default

    return Annotated[Union[tuple(Annotated[kind, Tag(key)] for key, kind in table.items())], Discriminator(name)]  # noqa: UP007


if TYPE_CHECKING:
    AnyModel: TypeAlias = ModelSettings
    AnyJudge: TypeAlias = JudgeSettings
else:
    AnyModel, AnyJudge = choice(GENERATORS), choice(DISCRIMINATORS)


def build_generator(settings: ModelSettings, data: DataSettings) -> nn.Module:
    return settings.build(data)


def build_discriminator(settings: JudgeSettings, num_scales: int, data: DataSettings) -> nn.Module:
    """Raises ConfigError where the patches are too small for it."""
    return settings.build(num_scales, data)


def adopt(generator: nn.Module, data: DataSettings) -> nn.Module:
    """Give a module of the user's the attributes that rollouts read, where it lacks them. Raises ConfigError where it
    has others than the settings, or takes states and does not say how they go on."""
    for name in ("context_frames", "pred_frames", "step", "channels"):
        wanted = getattr(data, name)
        if not hasattr(generator, name):
            setattr(generator, name, wanted)
        elif getattr(generator, name) != wanted:
            raise ConfigError(f"[data.{name}] is {wanted}, but the generator's {name} is {getattr(generator, name)}")
    if state_size(generator) and not isinstance(getattr(generator, "state_dynamics", None), StateDynamics):
        raise ConfigError(
            f"the generator takes states (state_size={state_size(generator)}) and does not say how they go on; give it "
            "state_dynamics = vidpred.models.dynamics.StateDynamics(state_size, action_size)"
        )
    return generator


def history_frames(generator: nn.Module) -> int:
    """How many known frames a rollout of this generator starts from: its context, and its lead over that."""
    return int(generator.context_frames) + int(generator.step) - 1  # type: ignore[arg-type]


def least_history(generator: nn.Module) -> int:
    """How many known frames it makes do with, if not all of `history_frames` are there: its `least_frames` and its lead
    over that. Models without that attribute need all, and so do those that take actions or states, a row for every
    frame."""
    context = int(generator.context_frames)  # type: ignore[arg-type]
    rows = action_size(generator) or state_size(generator)
    least = context if rows else int(getattr(generator, "least_frames", context))
    return min(least, context) + int(generator.step) - 1  # type: ignore[arg-type]


def count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
