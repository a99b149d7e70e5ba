"""SVG-LP of Denton & Fergus 2018, "Stochastic video generation with a learned prior".

Every step draws a code from a prior that depends on the frames before it. In training, the code comes from a posterior
that also takes the frame to predict, and the divergence of the two is a loss (equation 3).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as functional
from pydantic import Field
from torch import Tensor, nn

from vidpred.bounds import MOST_WIDTH
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.models.base import Generator
from vidpred.models.multiscale import as_channels_last
from vidpred.models.noise import draw_noise
from vidpred.models.pyramid import crop, pad_to_multiple
from vidpred.models.recurrent import context_losses
from vidpred.models.settings import ModelSettings

CELL = 16  # side in pixels of the coarsest features
GRID = 4  # side of the coarsest features that become a code; those of 64x64 frames have it
State = tuple[Tensor, Tensor]


class SVGSettings(ModelSettings):
    """Settings of SVG-LP."""

    not_taken: ClassVar[tuple[str, ...]] = ("action_size", "state_size")

    name: Literal["svg_lp"] = Field("svg_lp", description="Stochastic video generation, learned prior (Denton 2018).")
    noise_channels: int = Field(
        10,
        ge=1,
        le=1024,
        description="Length of the latent vector z of one future frame; a prediction draws one per frame, "
        "data.pred_frames times as many noise values.",
    )
    noise: Literal["gaussian"] = Field("gaussian", description="Distribution of every noise value: standard normal.")
    width: int = Field(
        64, ge=1, le=MOST_WIDTH, description="Channels of the finest convolutions; the coarsest have 8 times as many."
    )
    code_size: int = Field(
        128,
        ge=1,
        le=MOST_WIDTH,
        description="Length of the code of a frame, which the encoder computes and the decoder turns into a frame.",
    )
    hidden: int = Field(
        256,
        ge=1,
        le=MOST_WIDTH,
        description="Units of every LSTM layer, of the frame predictor, the prior and the posterior.",
    )
    predictor_layers: int = Field(
        2, ge=1, le=16, description="LSTM layers of the frame predictor; prior and posterior have one."
    )
    beta: float = Field(
        1e-4,
        gt=0,
        description="Weight of the KL divergence between posterior and prior of z, relative to squared "
        "errors of values in [0, 1] as in the paper.",
    )
    context_weight: float = Field(
        1.0,
        ge=0,
        description="Weight, relative to future frames, of the squared error of context frames, each "
        "predicted from those before it.",
    )

    def build(self, data: DataSettings) -> SVG:
        if data.lead > 1:
            raise ConfigError(f"[data.lead={data.lead}] model.name=svg_lp predicts frame after frame; set data.lead=1")
        return SVG(self, data)


class GaussianLSTM(nn.Module):
    """Recurrent network from a sequence of codes to means and log variances."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.embed, self.memory = nn.Linear(inputs, hidden), nn.LSTM(hidden, hidden, batch_first=True)
        self.mean, self.log_variance = nn.Linear(hidden, outputs), nn.Linear(hidden, outputs)

    def forward(self, codes: Tensor, state: State | None = None) -> tuple[Tensor, Tensor, State]:
        """Map codes `(B, N, inputs)` to means and log variances `(B, N, outputs)`, and the state after the last."""
        hidden, state = self.memory(self.embed(codes), state)
        return self.mean(hidden).float(), self.log_variance(hidden).float(), state


def encoder_layer(before: int, after: int) -> nn.Module:
    """Return a convolution to half the resolution, batch norm and LeakyReLU; the arguments are channels."""
    return nn.Sequential(nn.Conv2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.LeakyReLU(0.2))


def decoder_layer(before: int, after: int) -> nn.Module:
    """Return a transposed convolution to twice the resolution, batch norm and LeakyReLU; the arguments are channels."""
    return nn.Sequential(nn.ConvTranspose2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.LeakyReLU(0.2))


class SVG(Generator):
    """Encoder, recurrent prior, posterior and frame predictor, and a decoder with the last context frame's features.

    Frames whose sides are no multiples of 16 are padded, and features of other sizes than 4x4 are resized to that
    before they become a code. Predictions of more than K frames use the same draws again for every K.
    """

    takes_target = True
    min_context_frames = 1

    def __init__(self, settings: SVGSettings, data: DataSettings) -> None:
        super().__init__()
        self.context_frames, self.pred_frames, self.channels = data.context_frames, data.pred_frames, data.channels
        self.code, self.beta, self.context_weight = settings.noise_channels, settings.beta, settings.context_weight
        self.noise_channels = settings.noise_channels * data.pred_frames
        size, widths = settings.code_size, [settings.width * factor for factor in (1, 2, 4, 8)]
        self.down = nn.ModuleList(map(encoder_layer, [data.channels, *widths[:-1]], widths))
        self.to_code = nn.Sequential(nn.Conv2d(widths[-1], size, GRID), nn.BatchNorm2d(size), nn.Tanh())
        self.from_code = nn.Sequential(
            nn.ConvTranspose2d(size, widths[-1], GRID), nn.BatchNorm2d(widths[-1]), nn.LeakyReLU(0.2)
        )
        self.up = nn.ModuleList(decoder_layer(2 * width, width // 2) for width in widths[:0:-1])
        self.readout = nn.ConvTranspose2d(2 * widths[0], data.channels, 4, 2, 1)
        self.prior = GaussianLSTM(size, settings.hidden, self.code)
        self.posterior = GaussianLSTM(size, settings.hidden, self.code)
        self.embed = nn.Linear(size + self.code, settings.hidden)
        self.predictor = nn.LSTM(settings.hidden, settings.hidden, settings.predictor_layers, batch_first=True)
        self.predicted_code = nn.Sequential(nn.Linear(settings.hidden, size), nn.Tanh())

    def forward(self, context: Tensor, noise: Tensor | None = None, target: Tensor | None = None) -> list[Tensor]:
        """Predict future frames.

        Args:
            context: `(B, T, C, H, W)` in [0, 1].
            noise: `(B, K * code)`, the standardized codes of the future frames; None: drawn from torch's random stream.
            target: `(B, K, C, H, W)`, the true future frames, in training: codes come from the posterior, and every
                frame is predicted from the true ones before it.

        Returns:
            A list of one, `(B, K, C, H, W)` in [0, 1].
        """
        noise = draw_noise(self, len(context)).to(context) if noise is None else noise.to(context)
        noise = noise.unflatten(1, (self.pred_frames, self.code))
        if target is None:
            return [self.sample(context, noise)]
        frames = torch.cat([context, target], 1)
        given, size = context.shape[1], context.shape[-2:]
        codes, features = self.encode(frames)
        mean, log_variance, _ = self.posterior(codes[:, 1:])
        noise = torch.cat([torch.randn_like(mean[:, : given - 1]), noise], 1)
        prior_mean, prior_log_variance, _ = self.prior(codes[:, :-1])
        divergence = gaussian_divergence(mean, log_variance, prior_mean, prior_log_variance).sum(1).mean()
        predicted, _ = self.predict(codes[:, :-1], mean + noise * (log_variance / 2).exp())
        skips = [min(number, given - 1) for number in range(frames.shape[1] - 1)]
        images = self.decode(predicted, [level[:, skips] for level in features], size)
        # The paper's sum over all frames and 4 times that in [-1, 1], which the objective divides by K.
        self.extra_losses = {
            "kl": 4 * self.beta / self.pred_frames * divergence,
            **context_losses(self.context_weight, images[:, : given - 1], context[:, 1:], self.pred_frames),
        }
        return [images[:, given - 1 :]]

    def sample(self, context: Tensor, noise: Tensor) -> Tensor:
        """Predict future frames `(B, K, C, H, W)` in [0, 1] with latent vectors drawn from the prior.

        Args:
            context: `(B, T, C, H, W)` in [0, 1]; the latent vectors of its frames are the posterior's means.
            noise: `(B, K, code)`, standard normal.
        """
        self.extra_losses = {}
        codes, features = self.encode(context)
        prior = state = None
        if context.shape[1] > 1:
            known, _, _ = self.posterior(codes[:, 1:])
            _, _, prior = self.prior(codes[:, :-1])
            _, state = self.predict(codes[:, :-1], known)
        code, images = codes[:, -1:], list[Tensor]()
        skips = [level[:, -1:] for level in features]
        for number in range(self.pred_frames):
            mean, log_variance, prior = self.prior(code, prior)
            drawn = mean + noise[:, number : number + 1] * (log_variance / 2).exp()
            predicted, state = self.predict(code, drawn, state)
            images.append(self.decode(predicted, skips, context.shape[-2:]))
            if number + 1 < self.pred_frames:
                code, _ = self.encode(images[-1])
        return torch.cat(images, 1)

    def predict(self, codes: Tensor, drawn: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Predict the codes of the next frames.

        Args:
            codes: Those of the frames before, `(B, N, code_size)`.
            drawn: Latent vectors of the next frames, `(B, N, noise_channels)`.
            state: The predictor's state; None: zeros.

        Returns:
            Codes `(B, N, code_size)`, and the state after the last.
        """
        hidden, state = self.predictor(self.embed(torch.cat([codes, drawn.to(codes)], 2)), state)
        return self.predicted_code(hidden), state

    def encode(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Encode frames `(B, N, C, H, W)` in [0, 1].

        Returns:
            Codes `(B, N, code_size)`, and features `(B, N, c, h, w)` of every layer, fine to coarse.
        """
        level, features = as_channels_last(pad_to_multiple(frames, CELL).flatten(0, 1)), []
        for layer in self.down:
            level = layer(level)
            features.append(torch.unflatten(level, 0, frames.shape[:2]))
        code = self.to_code(functional.adaptive_avg_pool2d(level, GRID)).flatten(1)
        return torch.unflatten(code, 0, frames.shape[:2]), features

    def decode(self, codes: Tensor, skips: list[Tensor], size: torch.Size) -> Tensor:
        """Decode codes `(B, N, code_size)` to frames `(B, N, C, H, W)` in [0, 1].

        Args:
            codes: The codes.
            skips: Features of other frames as `encode` returns them, for the same N.
            size: (H, W).
        """
        level = self.from_code(codes.flatten(0, 1)[:, :, None, None])
        level = functional.interpolate(level, skips[-1].shape[-2:])
        for layer, skip in zip([*self.up, self.readout], reversed(skips), strict=True):
            level = layer(torch.cat([level, skip.flatten(0, 1).to(level)], 1))
        images = crop(level.float().sigmoid(), size[0], size[1])
        return torch.unflatten(images, 0, codes.shape[:2])


def gaussian_divergence(mean: Tensor, log_variance: Tensor, other: Tensor, other_log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, variance) | N(other, other variance)) of `(B, N, Z)`, summed over Z: `(B, N)`."""
    ratio = (log_variance - other_log_variance).exp()
    distance = (mean - other).square() * (-other_log_variance).exp()
    return ((ratio + distance - 1) - (log_variance - other_log_variance)).sum(2) / 2
