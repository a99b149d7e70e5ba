"""What the rest of the package asks of every model's settings."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import nn

from vidpred.data.settings import DataSettings
from vidpred.models.noise import NoiseName
from vidpred.settings import Settings


class ModelSettings(Settings):
    """Base of the generators' settings; each stands above its module and is a line of the table in `models/build.py`.

    name: the table's key, which chooses the generator.
    noise_channels: random numbers of a draw (0: no noise, one prediction); noise: what they are, `gaussian`,
    `uniform` in (-1, 1) or `binary` (1 or -1 with equal chances: n channels choose between 2^n futures).
    action_size: how many values an action of the data has (0: the model takes no actions).
    state_size: how many values a state of the data has, the state in which a frame was taken (0: the model takes none).
    num_labels: how many classes the data has (0: the model is told none).
    """

    needs_frames: ClassVar[bool] = True  # False: it makes pictures from noise, without known frames
    takes_labels: ClassVar[bool] = False
    has_encoder: ClassVar[bool] = False  # it says what a code of the truth costs (a variational auto-encoder)
    fitted: ClassVar[bool] = False  # it has a `fit` instead of gradients

    name: str
    noise_channels: int = Field(0, ge=0, le=100_000)
    noise: NoiseName = "gaussian"
    action_size: int = Field(0, ge=0, le=1024)
    state_size: int = Field(0, ge=0, le=1024)
    num_labels: int = Field(0, ge=0, le=100_000)

    @property
    def num_scales(self) -> int:
        """How many pictures a prediction has, coarse to fine."""
        return 1

    def build(self, data: DataSettings) -> nn.Module:
        """The generator. It says context_frames, pred_frames, step, channels, noise_channels, action_size and
        state_size."""
        raise NotImplementedError


class JudgeSettings(Settings):
    """Base of the discriminators' settings. name: the key in the table of `models/build.py`.

    num_labels: how many classes the data has, where it judges a picture with its class (0: without).
    """

    needs_frames: ClassVar[bool] = True  # it judges pictures as the continuation of known ones
    takes_labels: ClassVar[bool] = False

    name: str
    num_labels: int = Field(0, ge=0, le=100_000)

    def build(self, num_scales: int, data: DataSettings) -> nn.Module:
        """What judges `num_scales` pictures of the frames to come. Raises ConfigError where they are too small."""
        raise NotImplementedError
