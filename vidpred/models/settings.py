"""What the rest of the package asks of every model's settings."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from vidpred.data.settings import DataSettings
from vidpred.models.base import Discriminator, Generator, NoiseName
from vidpred.settings import Settings


class ModelSettings(Settings):
    """Base of the generators' settings; each one is registered in `models/build.py`."""

    needs_frames: ClassVar[bool] = True  # False: it makes images from noise, without known frames
    takes_labels: ClassVar[bool] = False
    has_encoder: ClassVar[bool] = False  # it says what a code of the truth costs (a variational auto-encoder)
    fitted: ClassVar[bool] = False  # it has a `fit` instead of gradients

    name: str = Field(description="Kind of generator.")
    noise_channels: int = Field(
        0, ge=0, le=100_000, description="Number of noise values per sample (0: no noise, one prediction)."
    )
    noise: NoiseName = Field(
        "gaussian",
        description="Noise distribution: gaussian, uniform in (-1, 1), or binary (1 or -1 with equal chances).",
    )
    action_size: int = Field(
        0, ge=0, le=1024, description="Number of values in an action of the data (0: the generator takes no actions)."
    )
    state_size: int = Field(
        0,
        ge=0,
        le=1024,
        description="Number of values in a state of the data, one per frame (0: the generator takes no states).",
    )
    num_labels: int = Field(
        0, ge=0, le=100_000, description="Number of classes in the data that the generator is conditioned on (0: none)."
    )

    @property
    def num_scales(self) -> int:
        """How many images a prediction has, coarse to fine."""
        return 1

    def build(self, data: DataSettings) -> Generator:
        """Build the generator."""
        raise NotImplementedError


class DiscriminatorSettings(Settings):
    """Base of the discriminators' settings; each one is registered in `models/build.py`."""

    needs_frames: ClassVar[bool] = True  # it judges images as the continuation of known ones
    takes_labels: ClassVar[bool] = False

    name: str = Field(description="Kind of discriminator.")
    num_labels: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Number of classes in the data that the discriminator is conditioned on (0: none).",
    )

    @property
    def num_classes(self) -> int:
        """Number of classes that the discriminator predicts; 0: none."""
        return 0

    def build(self, num_scales: int, data: DataSettings) -> Discriminator:
        """What judges `num_scales` images of the frames to come. Raises ConfigError where they are too small."""
        raise NotImplementedError
