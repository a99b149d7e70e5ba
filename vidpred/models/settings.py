"""Base classes of the model settings: what the rest of the package requires of them."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from vidpred.data.settings import DataSettings
from vidpred.models.base import Discriminator, Generator, NoiseName
from vidpred.settings import Settings


class ModelSettings(Settings):
    """Base class of the generators' settings; `models/build.py` registers each subclass."""

    needs_frames: ClassVar[bool] = True  # False: makes images from noise, without context frames
    takes_labels: ClassVar[bool] = False
    has_encoder: ClassVar[bool] = False  # sets `latent_cost` (a variational auto-encoder)
    fitted: ClassVar[bool] = False  # trained by `fit`, not by gradients

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
        description="Number of values in a state, such as a robot's pose; the data has one per frame (0: no states).",
    )
    num_labels: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Number of the data's classes, if the generator takes the class as an input (0: it does not).",
    )

    @property
    def num_scales(self) -> int:
        """Number of images in a prediction, coarse to fine."""
        return 1

    def build(self, data: DataSettings) -> Generator:
        """Build the generator."""
        raise NotImplementedError


class DiscriminatorSettings(Settings):
    """Base class of the discriminators' settings; `models/build.py` registers each subclass."""

    needs_frames: ClassVar[bool] = True  # scores images as the continuation of context frames
    takes_labels: ClassVar[bool] = False

    name: str = Field(description="Kind of discriminator.")
    num_labels: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Number of the data's classes, if the discriminator takes the class as an input (0: it does not).",
    )

    @property
    def num_classes(self) -> int:
        """Number of classes that the discriminator predicts; 0: none."""
        return 0

    def build(self, num_scales: int, data: DataSettings) -> Discriminator:
        """Build the discriminator of predictions at `num_scales` scales.

        Raises:
            ConfigError: The images are too small.
        """
        raise NotImplementedError
