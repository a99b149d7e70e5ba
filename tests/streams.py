"""Models of streams, and what fills a pipe."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor, nn

from tests.video_files import read_number
from vidpred.data.settings import DataSettings
from vidpred.inference.predictor import Predictor

RATE = 50


FRAME = 1 / RATE


class Copies(nn.Module):
    """A generator that copies the last frame, after the seconds that `takes` yields, and stores the numbers it saw."""

    def __init__(self, takes: Iterator[float] | None = None, context_frames: int = 3) -> None:
        super().__init__()
        self.context_frames, self.pred_frames, self.lead, self.channels = context_frames, 1, 1, 3
        self.takes = takes or iter(lambda: 0.0, 1.0)
        self.contexts: list[list[int]] = []

    def forward(self, context: Tensor) -> Tensor:
        time.sleep(next(self.takes))
        self.contexts.append([read_number(255 * frame.permute(1, 2, 0).numpy()) for frame in context[0]])
        return context[:, -1:]


class Last(Copies):
    """A generator that copies the last frame and stores nothing."""

    def forward(self, context: Tensor) -> Tensor:
        return context[:, -1:]


def predictor(model: Copies, **data: object) -> Predictor:
    settings = DataSettings.model_validate({"context_frames": model.context_frames, "crop_size": None, **data})
    return Predictor(model, settings, "copies")


def feed(fifo: Path, content: bytes, then: object = None) -> threading.Thread:
    """Write to a pipe from a thread, then call a function before closing it."""

    def write() -> None:
        with open(fifo, "wb", buffering=0) as file:
            file.write(content)
            if callable(then):
                then()

    thread = threading.Thread(target=write)
    thread.start()
    return thread
