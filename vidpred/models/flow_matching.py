"""Flow-matching predictor: a U-Net predicts the velocity from noise to the future frames, given the context.

Lipman et al. 2023, "Flow matching for generative modeling", with straight paths (Liu et al. 2023, "Flow straight and
fast"): x(s) = (1 - s) noise + s future, whose velocity is future - noise. The U-Net predicts what the best linear
estimate of the velocity from x(s) leaves, scaled to variance 1 (as Karras et al. 2022, "Elucidating the design space of
diffusion-based generative models", section 5): it need not learn to copy noise.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar, Literal

import torch
import torch.nn.functional as functional
from pydantic import Field
from torch import Tensor, nn

from vidpred.data.settings import DataSettings
from vidpred.models.conditioned import ConditionedPredictor
from vidpred.models.film_unet import Block
from vidpred.models.multiscale import as_channels_last
from vidpred.models.noise import draw_noise
from vidpred.models.pyramid import clamp_straight_through, crop, pad_to_multiple
from vidpred.models.settings import ModelSettings

FREQUENCIES = 16  # of the encoded time s
DEVIATION = 0.5  # assumed standard deviation of frames in [-1, 1], as in Karras et al.
HIDDEN = 64  # units of the encoder of time and conditions
MULTIPLIER = 0x9E3779B97F4A7C15  # odd, close to 2^64 divided by the golden ratio: mixes bits


class FlowMatchingSettings(ModelSettings):
    """Settings of the flow-matching predictor."""

    noise_in_training: ClassVar[bool] = False

    name: Literal["flow_matching"] = Field("flow_matching", description="Flow matching (after Lipman et al. 2023).")
    noise_channels: int = Field(
        8,
        ge=1,
        le=1024,
        description="Length of the noise vector, from which the noise image that a prediction starts from is computed.",
    )
    noise: Literal["gaussian"] = Field("gaussian", description="Distribution of every noise value: standard normal.")
    widths: tuple[int, ...] = Field(
        (64, 128, 256),
        min_length=1,
        max_length=6,
        description="Channels of each level, fine to coarse, at half the resolution of the one before; "
        "the finest has cells of cell_size pixels.",
    )
    cell_size: Literal[1, 2, 4] = Field(
        2, description="Side in pixels of a cell of the finest level, whose pixels become channels."
    )
    euler_steps: int = Field(
        4, ge=1, le=1000, description="Number of Euler steps per prediction, each an evaluation of the network."
    )

    def build(self, data: DataSettings) -> FlowMatching:
        return FlowMatching(self, data)


class FlowMatching(ConditionedPredictor):
    """Predictor that integrates a learned velocity from noise to all K future frames, in [-1, 1].

    In training, `extra_losses` holds the velocity's mean squared error at a random time, and the returned frames are
    the estimates of the future at that time.
    """

    takes_target = True

    def __init__(self, settings: FlowMatchingSettings, data: DataSettings) -> None:
        super().__init__(settings, data.context_frames, data.pred_frames, data.lead, data.channels)
        self.euler_steps, self.cell_size = settings.euler_steps, settings.cell_size
        widths, cells = settings.widths, settings.cell_size**2
        values = self.condition_size - self.noise_channels + 2 * FREQUENCIES
        self.condition = nn.Sequential(nn.Linear(values, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU())
        inputs = [(data.context_frames + data.pred_frames) * data.channels * cells, *widths[:-1]]
        self.down = nn.ModuleList(
            Block(before, width, HIDDEN, normalize=True) for before, width in zip(inputs, widths, strict=True)
        )
        self.up = nn.ModuleList(
            Block(fine + coarse, fine, HIDDEN, normalize=True) for fine, coarse in list(pairwise(widths))[::-1]
        )
        self.readout = nn.Conv2d(widths[0], data.pred_frames * data.channels * cells, 3, padding=1)

    @property
    def last_weight(self) -> Tensor:
        """The weight of the last convolution, see `Generator.last_weight`."""
        return self.readout.weight

    def forward(
        self, context: Tensor, noise: Tensor | None = None, actions: Tensor | None = None,
        states: Tensor | None = None, target: Tensor | None = None,
    ) -> list[Tensor]:  # fmt: skip
        """Predict from `(B, T, C, H, W)` in [0, 1]; for conditions and their errors see `conditions`.

        `target`, `(B, K, C, H, W)`: the true future frames, in training.

        Returns:
            A list of one, `(B, K, C, H, W)` in [0, 1].
        """
        noise = draw_noise(self, len(context)).to(context) if noise is None else noise
        found = self.conditions(context, noise, actions, states)
        given = [found[name] for name in ("actions", "states") if name in found]
        shape = (self.pred_frames, *context.shape[2:])
        self.extra_losses = {}
        if target is not None:
            start, time = torch.randn_like(target), torch.rand(len(target), device=target.device)
            share = time[:, None, None, None, None]
            true = target * 2 - 1
            frames = start + share * (true - start)
            found_velocity = self.velocity(frames, time, context, given)
            self.extra_losses = {"velocity": functional.mse_loss(found_velocity, true - start)}
            frames = frames + (1 - share) * found_velocity
        else:
            frames = noise_images(noise, shape).to(context)
            for number in range(self.euler_steps):
                time = context.new_full((len(context),), number / self.euler_steps)
                frames = frames + self.velocity(frames, time, context, given) / self.euler_steps
        return [clamp_straight_through((frames + 1) / 2)]

    def velocity(self, frames: Tensor, time: Tensor, context: Tensor, given: list[Tensor]) -> Tensor:
        """Return the velocity of noisy frames, both `(B, K, C, H, W)` in [-1, 1].

        Args:
            frames: The noisy frames.
            time: `(B,)` from 0 (noise) to 1 (frames).
            context: `(B, T, C, H, W)` in [0, 1].
            given: Normalized actions and states `(B, n)` each, those that the model takes.
        """
        height, width = frames.shape[-2:]
        multiple = self.cell_size * 2 ** (len(self.down) - 1)
        linear, rest, scale = (factor[:, None, None, None, None] for factor in factors(time))
        known, noisy = (pad_to_multiple(x, multiple).flatten(1, 2) for x in (context * 2 - 1, frames / scale))
        condition = self.condition(torch.cat([encode_time(time), *given], 1))
        output = crop(self.network(torch.cat([known, noisy], 1), condition), height, width)
        return linear * frames + rest * torch.unflatten(output, 1, frames.shape[1:3])

    def network(self, images: Tensor, condition: Tensor) -> Tensor:
        """Return the scaled rest of the velocity, `(B, K * C, H, W)`.

        Args:
            images: Context and scaled noisy frames, `(B, (T + K) * C, H, W)`, padded.
            condition: Encoding of time and conditions, `(B, HIDDEN)`.
        """
        level = functional.pixel_unshuffle(images, self.cell_size)
        level, skips = as_channels_last(level), list[Tensor]()
        for block in self.down:
            level = block(functional.avg_pool2d(level, 2) if skips else level, condition)
            skips.append(level)
        for block, finer in zip(self.up, skips[-2::-1], strict=True):
            level = block(torch.cat([functional.interpolate(level, scale_factor=2.0), finer], 1), condition)
        return functional.pixel_shuffle(self.readout(level).float(), self.cell_size)


def factors(time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best linear factor from x(s) to the velocity, and the deviations of what it leaves and of x(s).

    Args:
        time: Times s, `(B,)` in [0, 1].
    """
    variance = (time * DEVIATION) ** 2 + (1 - time) ** 2
    linear = (time * DEVIATION**2 - (1 - time)) / variance
    return linear, DEVIATION / variance.sqrt(), variance.sqrt()


def encode_time(time: Tensor) -> Tensor:
    """Return sines and cosines of times `(B,)` in [0, 1], from a quarter turn to many turns: `(B, 2 * FREQUENCIES)`."""
    angles = time[:, None] * (math.pi / 2) * 1.5 ** torch.arange(FREQUENCIES, device=time.device)
    return torch.cat([angles.sin(), angles.cos()], 1)


def noise_images(noise: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return standard normal images that are a function of noise vectors, and the negative ones for their negatives.

    Args:
        noise: `(B, noise_channels)`.
        shape: The shape of the images of one sample.

    Returns:
        `(B, *shape)` on the CPU; for noise without values (meta), without values.
    """
    if noise.is_meta:
        return noise.new_empty(len(noise), *shape)
    images = []
    for vector in noise.detach().float().cpu():
        seed = 0
        for bits in vector.abs().view(torch.int32).tolist():
            seed = (seed ^ bits) * MULTIPLIER % 2**64
        image = torch.randn(shape, generator=torch.Generator().manual_seed(seed >> 1))
        images.append(image if vector[0] >= 0 else -image)
    return torch.stack(images)
