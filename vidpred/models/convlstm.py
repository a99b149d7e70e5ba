"""Convolutional LSTM of Shi et al. 2015, "Convolutional LSTM network: a machine learning approach for ...".

A stack of layers that maps each frame to the next, as it is compared in the literature. The peephole terms of equation
3 are left out: their weights, one per position, fit one frame size only.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vidpred.data.settings import DataSettings
from vidpred.models.multiscale import as_channels_last
from vidpred.models.recurrent import Rates, RecurrentPredictor, RecurrentSettings


class ConvLSTMSettings(RecurrentSettings):
    """Settings of the convolutional LSTM."""

    not_taken: ClassVar[tuple[str, ...]] = ("noise_channels", "noise", "action_size", "state_size")

    name: Literal["convlstm"] = Field("convlstm", description="Convolutional LSTM (Shi et al. 2015).")
    scheduled_sampling: float = Field(
        0.4,
        ge=0,
        le=1,
        description="Share of the training over which the chance of true instead of predicted future frames as inputs "
        "falls from 1 to 0 (Bengio et al. 2015). 0: predicted frames only.",
    )

    def build(self, data: DataSettings) -> ConvLSTM:
        return ConvLSTM(self, data)


class ConvLSTMCell(nn.Module):
    """One layer (equation 3 without peepholes): gates i, f, g, o = W * [x, h] + b, where * is a convolution."""

    def __init__(self, channels: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(channels + hidden, 4 * hidden, kernel, padding=kernel // 2)

    def forward(self, inputs: Tensor, hidden: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next hidden state and memory, `(B, hidden, h, w)` each, for an input `(B, channels, h, w)`."""
        gates = self.gates(as_channels_last(torch.cat([inputs.to(hidden), hidden], 1)))
        i, f, g, o = gates.chunk(4, 1)
        memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
        return o.sigmoid() * memory.tanh(), memory


class ConvLSTM(RecurrentPredictor):
    """Stack of convolutional LSTM layers whose last hidden state is mapped to the next frame."""

    def __init__(self, settings: ConvLSTMSettings, data: DataSettings) -> None:
        super().__init__(settings, data)
        self.hidden, self.scheduled_sampling = settings.hidden, settings.scheduled_sampling
        inputs = [self.cell_channels, *settings.hidden[:-1]]
        self.layers = nn.ModuleList(
            ConvLSTMCell(before, width, settings.kernel) for before, width in zip(inputs, settings.hidden, strict=True)
        )
        self.readout = nn.Conv2d(settings.hidden[-1], self.cell_channels, 1, bias=False)

    @property
    def last_weight(self) -> Tensor:
        """The weight of the last convolution, see `Generator.last_weight`."""
        return self.readout.weight

    def grow(self, share: float) -> None:
        """Lower the chance of true future frames as inputs."""
        self.rates = Rates(1.0, max(0.0, 1 - share / self.scheduled_sampling) if self.scheduled_sampling else 0.0)

    def begin(self, frame: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return zeros per layer, hidden state and memory `(B, hidden, h, w)`, for a frame `(B, C', h, w)`."""
        zeros = [frame.new_zeros(frame.shape[0], width, *frame.shape[-2:]) for width in self.hidden]
        return [(zero, zero) for zero in zeros]

    def step(
        self, frame: Tensor, state: list[tuple[Tensor, Tensor]], action: Tensor | None
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Predict the next frame, see `RecurrentPredictor.step`; `state` is a pair (hidden state, memory) per layer."""
        after, level = [], frame
        for layer, (hidden, memory) in zip(self.layers, state, strict=True):
            level, memory = layer(level, hidden, memory)
            after.append((level, memory))
        return self.readout(level), after
