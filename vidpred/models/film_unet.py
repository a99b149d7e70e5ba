"""Small U-Net that predicts how actions change the last context frame; they modulate every level."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import gcd
from typing import Literal, Self

import torch
import torch.nn.functional as functional
from einops import rearrange
from pydantic import Field, model_validator
from torch import Tensor, nn

from vidpred.data.settings import DataSettings
from vidpred.models.conditioned import ConditionedPredictor
from vidpred.models.film_unet_inference import Layer, upsampled_rows
from vidpred.models.inference import has_fast_bfloat16
from vidpred.models.multiscale import as_channels_last
from vidpred.models.optical_flow import warp_backward
from vidpred.models.pyramid import clamp_straight_through, crop, pad_to_multiple, upsample
from vidpred.models.settings import ModelSettings

GROUPS = 8  # maximum number of channel groups in group normalization
DISPLACED = 4.0  # displacement in pixels of a network output of 1


class FilmUnetSettings(ModelSettings):
    """Settings of the modulated U-Net, for worlds of small things that actions move."""

    name: Literal["film_unet"] = Field("film_unet", description="U-Net conditioned on actions (FiLM), for planning.")
    widths: tuple[int, ...] = Field(
        (24, 32, 48),
        min_length=1,
        max_length=6,
        description="Channels of each level, fine to coarse, at half the resolution of the one before; "
        "the finest has cells of cell_size pixels.",
    )
    cell_size: Literal[1, 2, 4] = Field(
        2, description="Side in pixels of a cell of the finest level, whose pixels become channels."
    )
    positions: bool = Field(True, description="Give the network the position of every cell (walls do not move).")
    spatial_actions: tuple[float, float] | None = Field(
        None,
        description="Values of an action component at the image's left or upper edge and at its right or "
        "lower edge, for actions that are positions in the image (x and y in turn); the "
        "network then also receives a map of each position (Wu et al. 2020, spatial action "
        "maps). null: actions are plain values.",
    )
    normalize: bool = Field(
        False, description="Normalize the output of every convolution in groups of channels (Wu & He 2018)."
    )
    warp: bool = Field(
        False,
        description="Move the last context frame first, every pixel by its own predicted displacement, "
        "then correct it: objects that move rigidly stay whole (compare Finn et al. 2016, "
        "section 3.1).",
    )

    @model_validator(mode="after")
    def _spatial_actions_are_pairs(self) -> Self:
        if self.spatial_actions is not None and (
            self.action_size % 2 or not self.action_size or self.spatial_actions[0] == self.spatial_actions[1]
        ):
            raise ValueError(
                "spatial_actions needs actions of x and y in turn (an even action_size) and two different edges"
            )
        return self

    def build(self, data: DataSettings) -> FilmUnet:
        return FilmUnet(self, data.context_frames, data.pred_frames, data.lead, data.channels)


class Block(nn.Module):
    """Two convolutions; between them the condition scales and shifts every channel.

    FiLM (Perez et al. 2018, "FiLM: visual reasoning with a general conditioning layer", eq. 1 and 2).
    """

    def __init__(self, channels: int, width: int, condition: int, normalize: bool) -> None:
        super().__init__()
        self.first = convolution(channels, width, normalize)
        self.film = nn.Linear(condition, 2 * width) if condition else None
        self.second = convolution(width, width, normalize)

    def forward(self, features: Tensor, condition: Tensor | None) -> Tensor:
        inner = self.first(features)
        if self.film is not None and condition is not None:
            scale, shift = self.film(condition)[:, :, None, None].to(inner).chunk(2, 1)
            inner = inner * (1 + scale) + shift
        return functional.relu(self.second(functional.relu(inner)))


def convolution(channels: int, width: int, normalize: bool) -> nn.Module:
    """Return a 3x3 convolution of stride 1 that keeps the size, optionally followed by group normalization."""
    plain = nn.Conv2d(channels, width, 3, padding=1)
    return nn.Sequential(plain, nn.GroupNorm(gcd(width, GROUPS), width)) if normalize else plain


class FilmUnet(ConditionedPredictor):
    """Modulated U-Net: Y = X_T + Net(X_1..T, actions, noise, states).

    It predicts pred_frames frames at once, the first of them `lead` frames after the last context frame. With `warp`,
    X_T is first moved by displacements that Net also outputs. One scale; images of any height and width are padded
    internally and cropped back.
    """

    def __init__(
        self, settings: FilmUnetSettings, context_frames: int, pred_frames: int = 1, lead: int = 1, channels: int = 3
    ) -> None:
        super().__init__(settings, context_frames, pred_frames, lead, channels)
        self.cell_size, self.positions, self.spatial_actions = (
            settings.cell_size,
            settings.positions,
            settings.spatial_actions,
        )
        self.output_maps = channels + 2 * settings.warp  # per future frame: correction, displacement in x and y
        hidden = 64 if self.condition_size else 0
        self.condition = None
        if hidden:
            self.condition = nn.Sequential(
                nn.Linear(self.condition_size, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
            )
        widths, cells = settings.widths, settings.cell_size**2
        maps = context_frames * channels + (self.moves * settings.action_size // 2 if settings.spatial_actions else 0)
        inputs = [maps * cells + 2 * settings.positions, *widths[:-1]]
        normalize = settings.normalize
        self.down = nn.ModuleList(
            Block(count, width, hidden, normalize) for count, width in zip(inputs, widths, strict=True)
        )
        pairs = list(pairwise(widths))[::-1]
        self.up = nn.ModuleList(Block(fine + coarse, fine, hidden, normalize) for fine, coarse in pairs)
        self.paint = nn.Conv2d(widths[0], pred_frames * self.output_maps * cells, 3, padding=1)
        nn.init.zeros_(self.paint.weight)  # starts as copy-last
        assert self.paint.bias is not None
        nn.init.zeros_(self.paint.bias)

    @property
    def last_weight(self) -> Tensor:
        """The weight of the last convolution, see `Generator.last_weight`."""
        return self.paint.weight

    def forward(
        self, context: Tensor, noise: Tensor | None = None, actions: Tensor | None = None,
        states: Tensor | None = None,
    ) -> list[Tensor]:  # fmt: skip
        """Predict from `(B, T, C, H, W)` in [0, 1]; for conditions and their errors see `conditions`.

        Returns:
            A list of one, `(B, K, C, H, W)` in [0, 1].
        """
        condition = self.encode_conditions(context, noise, actions, states)
        level, padded = self.network_input(context, actions)
        level = as_channels_last(level)
        skips: list[Tensor] = []
        for block in self.down:
            level = block(functional.avg_pool2d(level, 2) if skips else level, condition)
            skips.append(level)
        for block, finer in zip(self.up, skips[-2::-1], strict=True):
            level = block(torch.cat([upsample(level), finer], 1), condition)
        return [self.frames(self.paint(level), padded, context.shape[-2:])]

    def fast_forward(self, dtype: torch.dtype) -> FastFilmUnet | None:
        """Return a forward pass for bfloat16 on CPUs that compute it natively; None otherwise, or in a subclass."""
        device = self.paint.weight.device
        if type(self) is not FilmUnet or dtype != torch.bfloat16 or device.type != "cpu":
            return None
        return FastFilmUnet(self) if has_fast_bfloat16(device) else None

    def network_input(self, context: Tensor, actions: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the input of the first convolution.

        Args:
            context: `(B, T, C, H, W)` in [0, 1].
            actions: `(B, N-1, A)` in the data's units, as in `forward`; None without actions.

        Returns:
            `(B, M, h, w)` in cells, and the context padded to a multiple of the coarsest cells, `(B, T, C, H', W')`.
        """
        padded = pad_to_multiple(context, self.cell_size * 2 ** (len(self.down) - 1))
        level = rearrange(padded, "b t c h w -> b (t c) h w")
        if self.spatial_actions is not None and actions is not None:
            first, last = self.spatial_actions
            places = (rearrange(actions.to(level), "b n (a xy) -> b (n a) xy", xy=2) - first) / (last - first)
            level = torch.cat([level, spatial_actions(places, context.shape[-2:], level.shape[-2:])], 1)
        level = (functional.pixel_unshuffle(level, self.cell_size) if self.cell_size > 1 else level) * 2 - 1
        return (torch.cat([level, _places(level)], 1) if self.positions else level), padded

    def frames(self, output: Tensor, padded: Tensor, size: Sequence[int]) -> Tensor:
        """Return frames `(B, K, C, H, W)` in [0, 1] from the output of the last convolution.

        Args:
            output: `(B, channels, h, w)` in cells.
            padded: The padded context of `network_input`, which the output corrects.
            size: (H, W).
        """
        change = functional.pixel_shuffle(output.float(), self.cell_size) if self.cell_size > 1 else output.float()
        change = rearrange(change, "b (k c) h w -> b k c h w", c=self.output_maps)
        added, displacement = change.split([self.channels, self.output_maps - self.channels], 2)
        frames = moved(padded[:, -1:].float(), displacement * DISPLACED) + added
        return clamp_straight_through(crop(frames, size[0], size[1]))

    def encode_conditions(
        self, context: Tensor, noise: Tensor | None, actions: Tensor | None, states: Tensor | None
    ) -> Tensor | None:
        """Return the encoding of all conditions, `(B, 64)`, that modulates every level; None without any."""
        found = self.conditions(context, noise, actions, states)
        inputs = [found[name] for name in ("actions", "noise", "states") if name in found]  # the order of checkpoints
        return None if self.condition is None else self.condition(torch.cat(inputs, 1))


class FastFilmUnet:
    """A `FilmUnet`'s forward pass in a given precision, with the weights that it has when this is built."""

    def __init__(self, generator: FilmUnet, dtype: torch.dtype = torch.bfloat16) -> None:
        self.generator, self.dtype = generator, dtype
        blocks = [block for part in (generator.down, generator.up) for block in part if isinstance(block, Block)]
        self.layers = [(Layer.of(block.first, dtype), Layer.of(block.second, dtype)) for block in blocks]
        self.paint = Layer.of(generator.paint, dtype)
        films = [block.film for block in blocks if block.film is not None]
        self.sizes = [len(film.weight) for film in films]
        self.film_weight = torch.cat([film.weight.detach() for film in films]) if films else None
        ones = [torch.arange(size) < size // 2 for size in self.sizes]  # FiLM multiplies by 1 + scale
        biases = [film.bias.detach() + one for film, one in zip(films, ones, strict=True)]
        self.film_bias = torch.cat(biases) if films else None

    def __call__(
        self, context: Tensor, noise: Tensor | None = None, actions: Tensor | None = None,
        states: Tensor | None = None,
    ) -> list[Tensor]:  # fmt: skip
        """Predict future frames, see `FilmUnet.forward`."""
        condition = self.generator.encode_conditions(context, noise, actions, states)
        films: list[Tensor | None] = [None] * len(self.layers)
        if condition is not None and self.film_weight is not None:
            films = list(functional.linear(condition, self.film_weight, self.film_bias).split(self.sizes, 1))
        level, padded = self.generator.network_input(context, actions)
        rows, down = level.to(self.dtype).permute(0, 2, 3, 1).contiguous(), len(self.generator.down)
        skips: list[Tensor] = []
        for (first, second), film in zip(self.layers[:down], films[:down], strict=True):
            if skips:
                rows = functional.avg_pool2d(rows.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1).contiguous()
            rows = second(first(rows, film), None)
            skips.append(rows)
        for (first, second), film, finer in zip(self.layers[down:], films[down:], skips[-2::-1], strict=True):
            rows = second(first(upsampled_rows(rows, finer), film), None)
        output = self.paint.convolve(rows).permute(0, 3, 1, 2)
        return [self.generator.frames(output, padded, context.shape[-2:])]


def moved(frame: Tensor, displacement: Tensor) -> Tensor:
    """Move every pixel of a frame by its displacements.

    Args:
        frame: `(B, 1, C, H, W)`.
        displacement: `(B, K, 2, H, W)`, offset (x, y) in pixels of the place that each pixel is read from; or `(B, K,
            0, H, W)`.

    Returns:
        `(B, K, C, H, W)`; without displacements the frame unchanged.
    """
    if not displacement.shape[2]:
        return frame
    count = displacement.shape[1]
    copies = frame.expand(-1, count, -1, -1, -1).flatten(0, 1)
    return torch.unflatten(warp_backward(copies, displacement.flatten(0, 1)), 0, (-1, count))


def spatial_actions(places: Tensor, image: Sequence[int], canvas: Sequence[int]) -> Tensor:
    """Return maps `(B, N, *canvas)` that are 1 at a place and decay within two pixels: exp(-squared distance / 2).

    Args:
        places: `(B, N, 2)`, x and y from 0 to 1 over the image.
        image: Height and width of the image, which lies at the upper left of the canvas.
        canvas: Height and width of the maps.
    """
    rows, columns = (torch.arange(side, device=places.device, dtype=places.dtype) + 0.5 for side in canvas)
    across = columns - places[..., :1] * image[1]
    down = rows - places[..., 1:] * image[0]
    return torch.exp(-0.5 * down[..., :, None] ** 2) * torch.exp(-0.5 * across[..., None, :] ** 2)


def _places(level: Tensor) -> Tensor:
    """Return y and x of every cell, from -1 to 1: `(B, 2, h, w)`."""
    sides = level.shape[-2:]
    if torch.compiler.is_exporting():  # linspace takes no symbols
        rows, columns = (torch.arange(side, device=level.device).to(level) * (2 / (side - 1)) - 1 for side in sides)
    else:
        rows, columns = (torch.linspace(-1, 1, side, device=level.device, dtype=level.dtype) for side in sides)
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    return grid.expand(level.shape[0], -1, -1, -1)
