"""Base classes of the model settings: what the rest of the package requires of them."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, model_validator

from vidpred.data.settings import DataSettings
from vidpred.models.base import Discriminator, Generator, NoiseName
from vidpred.settings import Settings


class ModelSettings(Settings):
    """Base class of the generators' settings; `models/build.py` registers each subclass."""

    needs_frames: ClassVar[bool] = True  # False: makes images from noise, without context frames
    takes_labels: ClassVar[bool] = False
    not_taken: ClassVar[tuple[str, ...]] = ()  # settings below without meaning for this model: they keep their defaults
    has_encoder: ClassVar[bool] = False  # sets `latent_cost` (a variational auto-encoder)
    has_styles: ClassVar[bool] = False  # a style per layer, which can be mixed and truncated
    starts_from_flow: ClassVar[bool] = False  # moves pixels of the context frames, at first by their optical flow
    noise_in_training: ClassVar[bool] = True  # False: the given noise determines predictions only, not training
    fitted: ClassVar[bool] = False  # trained by `fit`, not by gradients

    name: str = Field(description="Kind of generator.")
    noise_channels: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Length of the noise vector, which determines the predicted future: one draw, one "
        "outcome (0: no noise, one prediction).",
    )
    noise: NoiseName = Field(
        "gaussian",
        description="Distribution of every noise value: gaussian (standard normal), uniform in (-1, 1), "
        "or binary (1 or -1 with equal chances).",
    )
    action_size: int = Field(
        0,
        ge=0,
        le=1024,
        description="Number of values of all actions between consecutive frames: those of an action times "
        "data.frame_skip, because the actions at skipped frames are included (0: takes no actions).",
    )
    state_size: int = Field(
        0,
        ge=0,
        le=1024,
        description="Number of values in a state, such as a robot's pose; the data has one per frame (0: "
        "takes no states).",
    )
    num_labels: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Number of the data's classes, if the generator is conditioned on the class (0: it is not).",
    )

    @model_validator(mode="after")
    def _keeps_defaults(self) -> Self:
        defaults = {name: type(self).model_fields[name].default for name in self.not_taken}
        changed = {name: default for name, default in defaults.items() if getattr(self, name) != default}
        if changed:
            remedy = ", ".join(f"model.{name}={default}" for name, default in changed.items())
            raise ValueError(f"{next(iter(changed))}: model.name={self.name} does not take this setting; set {remedy}")
        return self

    @property
    def num_scales(self) -> int:
        """Number of images in a prediction, coarse to fine."""
        return 1

    def build(self, data: DataSettings) -> Generator:
        """Build the generator, with new weights, for data of these settings."""
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
        description="Number of the data's classes, if the discriminator is conditioned on the class (0: it is not).",
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
