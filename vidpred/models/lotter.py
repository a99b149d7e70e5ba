"""Predictive generative network of Lotter, Kreiman & Cox 2015: convolutions, an LSTM, deconvolutions.

"Unsupervised learning of visual structure using predictive generative networks".
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal

import torch
from einops import rearrange
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import interpolate

from vidpred.bounds import MOST_WIDTH
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.models.base import Generator
from vidpred.models.multiscale import as_channels_last
from vidpred.models.settings import ModelSettings


class LotterSettings(ModelSettings):
    """Settings of the network of Lotter et al., for frames of one size (data.crop_size)."""

    not_taken: ClassVar[tuple[str, ...]] = ("noise_channels", "noise", "action_size", "state_size")

    name: Literal["lotter"] = Field(
        "lotter", description="Recurrent frame predictor (Lotter et al. 2015): convolutions and an LSTM."
    )
    feature_maps: list[int] = Field(
        [32, 64],
        min_length=1,
        max_length=6,
        description="Feature maps of each convolution of the encoder; max pooling halves the size after each one.",
    )
    hidden: int = Field(512, ge=1, le=MOST_WIDTH, description="Units of the recurrent memory (LSTM).")
    kernel: Literal[3, 5, 7] = Field(5, description="Side in pixels of the kernels of all convolutions.")

    def build(self, data: DataSettings) -> LotterPredictor:
        halvings = len(self.feature_maps)
        if data.crop_size is None or data.crop_size % 2**halvings:
            raise ConfigError(
                f"[data.crop_size={data.crop_size}] model.name=lotter halves its frames {halvings} times; set a "
                f"multiple of {2**halvings}"
            )
        return LotterPredictor(self, data)


class LotterPredictor(Generator):
    """Predictor with an LSTM over encoded frames.

    Every context frame passes convolutions, ReLU and 2x2 max pooling. The LSTM's last state is unfolded to feature
    maps, which convolutions upsample to the future frames.
    """

    def __init__(self, settings: LotterSettings, data: DataSettings) -> None:
        super().__init__()
        self.context_frames, self.pred_frames, self.lead = data.context_frames, data.pred_frames, data.lead
        assert data.crop_size is not None
        self.channels, self.side = data.channels, data.crop_size
        maps, kernel = settings.feature_maps, settings.kernel
        encoder: list[nn.Module] = []
        for before, after in pairwise([data.channels, *maps]):
            encoder += [nn.Conv2d(before, after, kernel, padding=kernel // 2), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        self.encoder = nn.Sequential(*encoder)
        self.small = self.side >> len(maps)
        self.memory = nn.LSTM(maps[-1] * self.small**2, settings.hidden, batch_first=True)
        self.unfold = nn.Linear(settings.hidden, maps[-1] * self.small**2)
        widths = [*maps[::-1], data.pred_frames * data.channels]
        self.decoder = nn.ModuleList(
            nn.Conv2d(before, after, kernel, padding=kernel // 2) for before, after in pairwise(widths)
        )

    def forward(self, context: Tensor) -> list[Tensor]:
        """Predict from `(B, T, C, H, W)` in [0, 1].

        Returns:
            A list of one, `(B, K, C, H, W)` in [0, 1].

        Raises:
            ValueError: The frames have another size than `data.crop_size`.
        """
        if tuple(context.shape[-2:]) != (self.side, self.side):
            raise ValueError(
                f"the network takes frames of {self.side}x{self.side} (data.crop_size), not "
                f"{context.shape[-1]}x{context.shape[-2]}; set data.size so that whole frames have that size"
            )
        frames = rearrange(context * 2 - 1, "b t c h w -> (b t) c h w")
        encoded = self.encoder(as_channels_last(frames)).flatten(1).unflatten(0, (len(context), -1))
        states, _ = self.memory(encoded)
        features = self.unfold(states[:, -1]).relu().unflatten(1, (-1, self.small, self.small))
        for number, layer in enumerate(self.decoder):
            features = layer(as_channels_last(interpolate(features, scale_factor=2, mode="nearest")))
            features = features if number == len(self.decoder) - 1 else features.relu()
        return [rearrange(torch.sigmoid(features.float()), "b (k c) h w -> b k c h w", c=self.channels)]
