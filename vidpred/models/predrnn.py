"""PredRNN-V2 of Wang et al. 2022, "PredRNN: a recurrent neural network for spatiotemporal predictive learning".

Spatiotemporal LSTM (equation 3), memory decoupling (equation 5), reverse scheduled sampling (section 3.4) and, with
actions, their fusion with the hidden state (section 3.5).
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal, NamedTuple, Self

import torch
import torch.nn.functional as functional
from pydantic import Field, model_validator
from torch import Tensor, nn

from vidpred.data.settings import DataSettings
from vidpred.models.multiscale import as_channels_last
from vidpred.models.recurrent import Rates, RecurrentPredictor, RecurrentSettings

FORGET_BIAS = 1.0


class PredRNNSettings(RecurrentSettings):
    """Settings of PredRNN-V2."""

    not_taken: ClassVar[tuple[str, ...]] = ("noise_channels", "noise", "state_size")

    name: Literal["predrnn_v2"] = Field("predrnn_v2", description="PredRNN-V2 (Wang et al. 2022).")
    decoupling_weight: float = Field(
        0.4,
        ge=0,
        description="Weight of the decoupling loss: the absolute cosine similarity of what a layer adds "
        "to its two memories, temporal and spatiotemporal, in a step. The default is "
        "OpenSTL's 0.1 times 4, because the objective's squared errors are those of values in "
        "[-1, 1], not [0, 1].",
    )
    sampling_start: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Share of the training after which reverse scheduled sampling begins; before, every input after "
        "the first frame, of context and future, is the true frame with a chance of one half.",
    )
    sampling_end: float = Field(
        0.4,
        ge=0,
        le=1,
        description="Share of the training after which inputs are the true frames in the context and predicted frames "
        "in the future, as in predictions. Not before sampling_start.",
    )
    sampling_decay: float = Field(
        0.04,
        gt=0,
        description="Share of the training over which the chance of predicted context frames falls to 1/e.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.sampling_end < self.sampling_start:
            raise ValueError(f"sampling_end: it must not be below sampling_start={self.sampling_start}")
        if len(set(self.hidden)) > 1:
            raise ValueError(f"hidden: the layers share one memory and need equal widths, not {self.hidden}")
        return self

    def build(self, data: DataSettings) -> PredRNN:
        return PredRNN(self, data)


class SpatiotemporalLSTMCell(nn.Module):
    """One layer: a memory along time and one that zigzags through the layers of all steps (equation 3)."""

    def __init__(self, channels: int, hidden: int, kernel: int, actions: int = 0) -> None:
        super().__init__()

        def convolution(before: int, after: int, side: int = kernel, bias: bool = False) -> nn.Conv2d:
            return nn.Conv2d(before, after, side, padding=side // 2, bias=bias)

        self.of_input = convolution(channels, 7 * hidden)
        # Actions multiply what follows from the hidden state: without a bias, 0 in the first step whatever the action.
        self.of_hidden = convolution(hidden, 4 * hidden, bias=actions > 0)
        self.of_zigzag, self.of_both = convolution(hidden, 3 * hidden), convolution(2 * hidden, hidden)
        self.mix = convolution(2 * hidden, hidden, 1)
        self.of_action = nn.Linear(actions, 4 * hidden) if actions else None
        if self.of_action is not None:
            nn.init.ones_(self.of_action.bias)  # starts near the cell without actions

    def forward(
        self, inputs: Tensor, hidden: Tensor, memory: Tensor, zigzag: Tensor, action: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Compute one step of the layer.

        Args:
            inputs: `(B, channels, h, w)`.
            hidden: Hidden state `(B, hidden, h, w)`, as the memories.
            memory: The memory along time.
            zigzag: The memory that passes through the layers.
            action: `(B, actions)`, normalized; None: none.

        Returns:
            The next hidden state, memory and zigzag memory, and what was added to memory and to zigzag memory, all `(B,
                hidden, h, w)`.
        """
        x, m = self.of_input(as_channels_last(inputs)), self.of_zigzag(as_channels_last(zigzag))
        h = self.of_hidden(as_channels_last(hidden))
        if self.of_action is not None and action is not None:
            h = h * self.of_action(action)[:, :, None, None]
        i_x, f_x, g_x, i_z, f_z, g_z, o_x = x.chunk(7, 1)
        i_h, f_h, g_h, o_h = h.chunk(4, 1)
        i_m, f_m, g_m = m.chunk(3, 1)
        added = (i_x + i_h).sigmoid() * (g_x + g_h).tanh()
        memory = (f_x + f_h + FORGET_BIAS).sigmoid() * memory + added
        added_zigzag = (i_z + i_m).sigmoid() * (g_z + g_m).tanh()
        zigzag = (f_z + f_m + FORGET_BIAS).sigmoid() * zigzag + added_zigzag
        both = as_channels_last(torch.cat([memory, zigzag], 1))
        output = (o_x + o_h + self.of_both(both)).sigmoid()
        return output * self.mix(both).tanh(), memory, zigzag, (added, added_zigzag)


class PredRNNState(NamedTuple):
    """What one step passes to the next: hidden state and memory of each layer, the zigzag memory, decoupling losses."""

    layers: list[tuple[Tensor, Tensor]]
    zigzag: Tensor
    overlaps: list[Tensor]


class PredRNN(RecurrentPredictor):
    """Stack of spatiotemporal LSTM layers whose last hidden state is mapped to the next frame."""

    def __init__(self, settings: PredRNNSettings, data: DataSettings) -> None:
        super().__init__(settings, data)
        self.hidden, self.decoupling_weight = settings.hidden, settings.decoupling_weight
        self.schedule = settings.sampling_start, settings.sampling_end, settings.sampling_decay
        inputs = [self.cell_channels, *settings.hidden[:-1]]
        self.layers = nn.ModuleList(
            SpatiotemporalLSTMCell(before, width, settings.kernel, settings.action_size)
            for before, width in zip(inputs, settings.hidden, strict=True)
        )
        self.readout = nn.Conv2d(settings.hidden[-1], self.cell_channels, 1, bias=False)
        self.adapter = (
            nn.Conv2d(settings.hidden[0], settings.hidden[0], 1, bias=False) if settings.decoupling_weight else None
        )

    @property
    def last_weight(self) -> Tensor:
        """The weight of the last convolution, see `Generator.last_weight`."""
        return self.readout.weight

    def grow(self, share: float) -> None:
        """Set the chances of true frames as inputs: both one half at first, at last those of a prediction."""
        start, end, decay = self.schedule
        if share < start:
            self.rates = Rates(0.5, 0.5)
        elif share < end:
            self.rates = Rates(
                1 - 0.5 * math.exp(-(share - start) / decay), 0.5 * (1 - (share - start) / (end - start))
            )
        else:
            self.rates = Rates(1.0, 0.0)

    def begin(self, frame: Tensor) -> PredRNNState:
        """Return a state of zeros for a frame `(B, C', h, w)` as cells."""
        zero = frame.new_zeros(frame.shape[0], self.hidden[0], *frame.shape[-2:])
        return PredRNNState([(zero, zero) for _ in self.hidden], zero, [])

    def step(self, frame: Tensor, state: PredRNNState, action: Tensor | None) -> tuple[Tensor, PredRNNState]:
        """Predict the next frame as cells, `(B, C', h, w)`, and the state; see `RecurrentPredictor.step`."""
        after, level, zigzag, overlaps = [], frame, state.zigzag, list(state.overlaps)
        for layer, (hidden, memory) in zip(self.layers, state.layers, strict=True):
            level, memory, zigzag, added = layer(level, hidden, memory, zigzag, action)
            after.append((level, memory))
            if self.adapter is not None and torch.is_grad_enabled():
                overlaps.append(overlap(*(self.adapter(change) for change in added)))
        return self.readout(level), PredRNNState(after, zigzag, overlaps)

    def losses(self, predicted: Tensor, context: Tensor, state: PredRNNState) -> dict[str, Tensor]:
        """Return the losses of `RecurrentPredictor.losses` and the weighted "decoupling" loss, scalars by name."""
        losses = super().losses(predicted, context, state)
        if state.overlaps:
            share = (predicted.shape[1] + self.pred_frames) / self.pred_frames  # as for the frames' errors
            losses["decoupling"] = self.decoupling_weight * share * torch.stack(state.overlaps).mean()
        return losses


def overlap(one: Tensor, other: Tensor) -> Tensor:
    """Return the mean absolute cosine similarity of two changes `(B, N, h, w)`, in [0, 1], a scalar.

    The cosine is over positions; its absolute value is averaged over batch and channels.
    """
    return functional.cosine_similarity(one.flatten(2).float(), other.flatten(2).float(), dim=2).abs().mean()
