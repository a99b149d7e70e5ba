"""Tables that map settings to networks, including those of installed packages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, Union

from pydantic import Discriminator as TagOf
from pydantic import Tag
from torch import nn

from vidpred.data.settings import DataSettings
from vidpred.models.base import Discriminator, Generator
from vidpred.models.convlstm import ConvLSTMSettings
from vidpred.models.dcgan import DcganDiscriminatorSettings, DcganSettings
from vidpred.models.discriminators import MultiscaleDiscriminatorSettings
from vidpred.models.film_unet import FilmUnetSettings
from vidpred.models.flow_matching import FlowMatchingSettings
from vidpred.models.lapgan import LapganDiscriminatorSettings, LapganSettings
from vidpred.models.lotter import LotterSettings
from vidpred.models.mixture import MixtureSettings
from vidpred.models.mlp import MlpDiscriminatorSettings, MlpSettings
from vidpred.models.motion import MotionSettings
from vidpred.models.multiscale import MultiscaleSettings
from vidpred.models.patch_discriminator import PatchDiscriminatorSettings
from vidpred.models.predrnn import PredRNNSettings
from vidpred.models.progressive import ProgressiveDiscriminatorSettings, ProgressiveSettings
from vidpred.models.projected_discriminator import ProjectedDiscriminatorSettings
from vidpred.models.r3gan import R3ganDiscriminatorSettings, R3ganSettings
from vidpred.models.settings import DiscriminatorSettings, ModelSettings
from vidpred.models.simvp import SimVPSettings
from vidpred.models.stylegan import StyleganSettings
from vidpred.models.svg import SVGSettings
from vidpred.models.vae import VaeSettings
from vidpred.models.voxel_flow import VoxelFlowSettings
from vidpred.plugins import plugged_in
from vidpred.settings import Settings

# Choices of `model.name` and `discriminator.name`; the first is the default.
GENERATORS: dict[str, type[ModelSettings]] = {
    "multiscale": MultiscaleSettings,
    "convlstm": ConvLSTMSettings,
    "dcgan": DcganSettings,
    "film_unet": FilmUnetSettings,
    "flow_matching": FlowMatchingSettings,
    "mlp": MlpSettings,
    "lapgan": LapganSettings,
    "lotter": LotterSettings,
    "predrnn_v2": PredRNNSettings,
    "progressive": ProgressiveSettings,
    "r3gan": R3ganSettings,
    "simvp": SimVPSettings,
    "stylegan": StyleganSettings,
    "svg_lp": SVGSettings,
    "vae": VaeSettings,
    "voxel_flow": VoxelFlowSettings,
    "gaussian_mixture": MixtureSettings,
    "motion": MotionSettings,
}
DISCRIMINATORS: dict[str, type[DiscriminatorSettings]] = {
    "multiscale": MultiscaleDiscriminatorSettings,
    "dcgan": DcganDiscriminatorSettings,
    "mlp": MlpDiscriminatorSettings,
    "lapgan": LapganDiscriminatorSettings,
    "progressive": ProgressiveDiscriminatorSettings,
    "patch": PatchDiscriminatorSettings,
    "projected": ProjectedDiscriminatorSettings,
    "r3gan": R3ganDiscriminatorSettings,
}


def add_plugin(settings_class: type[Settings]) -> None:
    """Add another package's settings class to `GENERATORS` or `DISCRIMINATORS`, under the default of its `name`.

    Args:
        settings_class: A subclass of ModelSettings or DiscriminatorSettings.

    Raises:
        ValueError: It is neither, or its name is taken.
    """
    table: dict[str, Any] = GENERATORS if issubclass(settings_class, ModelSettings) else DISCRIMINATORS
    if not issubclass(settings_class, ModelSettings | DiscriminatorSettings):
        raise ValueError("it derives from neither ModelSettings nor DiscriminatorSettings")
    name = settings_class.model_fields["name"].default
    if name in table:
        raise ValueError(f"the name {name} is taken")
    table[name] = settings_class


def tagged_union(table: dict[str, Any]) -> Any:
    """Return the type of a config section whose `name` chooses one of a table's classes, by default the first."""
    default = next(iter(table))
    if len(table) == 1:
        return table[default]

    def name(section: Any) -> str:
        if isinstance(section, ModelSettings | DiscriminatorSettings):
            return section.name
        return str(section.get("name", default)) if isinstance(section, dict) else default

    return Annotated[Union[tuple(Annotated[kind, Tag(key)] for key, kind in table.items())], TagOf(name)]  # noqa: UP007


def names_with(attribute: str) -> str:
    """Return the generators whose settings have a field of this name or an attribute that is true, for messages."""
    return "|".join(
        name for name, kind in GENERATORS.items() if attribute in kind.model_fields or getattr(kind, attribute, False)
    )


plugged_in("vidpred.models", Settings, add=add_plugin)
if TYPE_CHECKING:
    AnyModel: TypeAlias = ModelSettings
    AnyDiscriminator: TypeAlias = DiscriminatorSettings
else:
    AnyModel, AnyDiscriminator = tagged_union(GENERATORS), tagged_union(DISCRIMINATORS)


def build_generator(settings: ModelSettings, data: DataSettings) -> Generator:
    """Build the generator of the `model` settings."""
    return settings.build(data)


def build_discriminator(settings: DiscriminatorSettings, num_scales: int, data: DataSettings) -> Discriminator:
    """Build the discriminator of the `discriminator` settings.

    Raises:
        ConfigError: The crops are too small for the network.
    """
    return settings.build(num_scales, data)


def count_parameters(module: nn.Module) -> int:
    """Return the number of a module's parameters."""
    return sum(parameter.numel() for parameter in module.parameters())
