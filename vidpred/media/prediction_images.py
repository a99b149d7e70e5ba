"""Images of a prediction: composites for videos, a strip with every predicted frame, and bare frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vidpred.media.render import Kind, Panel, compose, error_map, stack, to_uint8

PANELS_A_ROW = 5  # of a composite with samples
STRIP_PANEL = (112, 320)  # minimum and maximum height of a strip's panels in pixels
STRIP_WIDTH, STRIP_COLUMNS = 3600, 12  # pixels and panels; longer rows are wrapped
STRIP_PIXELS = 60_000_000  # at most; then only every n-th frame is drawn


@dataclass(frozen=True)
class Step:
    """One predicted frame.

    Attributes:
        target: The true frame, `(C, H, W)` in [0, 1]; None beyond the end of the clip.
        predictions: Model name -> its samples, `(N, C, H, W)`.
    """

    target: Tensor | None
    predictions: dict[str, Tensor]

    def labeled(self) -> list[tuple[str, Tensor]]:
        """Return (label, `(C, H, W)`) of all predictions; labels are names of models, with the sample if several."""
        return [
            (name if len(samples) == 1 else f"{name} #{number}", frame)
            for name, samples in self.predictions.items()
            for number, frame in enumerate(samples, 1)
        ]

    def maps(self, compared: bool) -> list[Panel]:
        """Return each model's map: the standard deviation of its samples or, if `compared`, the error of its only one.

        The error's panel is empty without a true frame.
        """
        panels = []
        for name, samples in self.predictions.items():
            if len(samples) > 1:
                std = samples.std(0, correction=0)
                panels.append(Panel(f"spread {name}", error_map(std, torch.zeros_like(std)), "error"))
            elif compared:
                image = None if self.target is None else error_map(samples[0], self.target)
                panels.append(Panel(f"error {name}", image, "error"))
        return panels


def composites(context: Tensor, steps: Iterable[Step]) -> Iterator[np.ndarray]:
    """Render the frames of a video: the context, then ground truth, predictions and maps side by side.

    Without ground truth of the first predicted frame there are no panels for it and for errors.

    Args:
        context: `(T, C, H, W)` in [0, 1]; T may be 0.
        steps: The predicted frames, rendered one at a time.

    Yields:
        `(H, W, 3)` uint8, all of one size.
    """
    steps = iter(steps)
    first = next(steps)
    compared = first.target is not None
    wrapped = any(len(samples) > 1 for samples in first.predictions.values())
    maps = [panel.label for panel in first.maps(compared)]
    for index, frame in enumerate(context):
        panels = [Panel("context", frame, "context")] if compared else []
        panels += [Panel(label, frame, "context") for label, _ in first.labeled()]
        panels += [Panel(label, torch.zeros(3, *frame.shape[-2:]), "error") for label in maps]
        yield _compose(panels, f"context, frame {_ago(index, len(context))}", wrapped)
    for ahead, step in enumerate(chain([first], steps), 1):
        panels = [Panel("truth", step.target, "truth")] if compared else []
        panels += [Panel(label, frame, "prediction") for label, frame in step.labeled()]
        yield _compose([*panels, *step.maps(compared)], f"predicted, frame t+{ahead}", wrapped)


def _compose(panels: Sequence[Panel], caption: str, wrapped: bool) -> np.ndarray:
    """Compose panels in one row, or in several rows of which the last has the caption."""
    rows = [panels] if not wrapped else [panels[at : at + PANELS_A_ROW] for at in range(0, len(panels), PANELS_A_ROW)]
    return stack([*(compose(row) for row in rows[:-1]), compose(rows[-1], caption=caption)])


def _ago(index: int, count: int) -> str:
    ago = count - 1 - index
    return f"t-{ago}" if ago else "t"


def strip(context: Tensor, steps: Iterable[Step], num_frames: int) -> tuple[np.ndarray, str]:
    """Render a prediction as one image: a row of context frames, one of ground truth, and one for each model or sample.

    Long rows are wrapped. Predictions beyond the end of the clip have no ground truth above them.

    Args:
        context: `(T, C, H, W)` in [0, 1]; T may be 0.
        steps: The predicted frames.
        num_frames: Their number.

    Returns:
        `(H, W, 3)` uint8, and a phrase about what the image leaves out; empty if that is nothing.
    """
    steps = iter(steps)
    first = next(steps)
    height, width = next(iter(first.predictions.values())).shape[-2:]
    scale = min(1.0, STRIP_PANEL[1] / height)
    shown = (max(1, round(height * scale)), max(1, round(width * scale)))
    factor = max(1, -(-STRIP_PANEL[0] // shown[0]))
    panel_height, panel_width = shown[0] * factor + 40, max(64, shown[1] * factor + 8) + 8
    most = max(1, min(STRIP_COLUMNS, STRIP_WIDTH // panel_width))
    rows_of = len(_rows(first, 1, shown))
    every = -(-num_frames * rows_of * panel_height * panel_width // STRIP_PIXELS)
    past = [
        Panel(f"{_ago(index, len(context))} context", _fit(frame, shown), "context")
        for index, frame in enumerate(context)
    ]
    wide = _columns(len(past), most)
    images = [_draw(past[at : at + wide]) for at in range(0, len(past), wide)]
    wide = _columns(-(-num_frames // every), most)
    block: dict[tuple[Kind, str], list[Panel]] = {}
    last = (num_frames - 1) // every * every
    for number, step in enumerate(chain([first], steps)):
        if number % every:
            continue
        for row, panel in _rows(step, number + 1, shown).items():
            block.setdefault(row, []).append(panel)
        if len(max(block.values(), key=len)) == wide or number == last:
            images += [_draw(panels) for panels in block.values()]
            block = {}
    notes = [] if every == 1 else [f"1 in {every} of the {num_frames} predicted frames"]
    notes += [] if shown == (height, width) else [f"scaled from {width}x{height} to {shown[1]}x{shown[0]}"]
    return stack(images), ", ".join(notes)


def _columns(count: int, most: int) -> int:
    """Return the length of rows of about equal length for `count` panels, at most `most` in each."""
    return -(-count // max(1, -(-count // most))) or 1


def _rows(step: Step, ahead: int, size: tuple[int, int]) -> dict[tuple[Kind, str], Panel]:
    """Return the panels of one column of the strip by the name of their row."""
    rows: list[tuple[str, Tensor, Kind]] = [] if step.target is None else [("truth", step.target, "truth")]
    rows += [(label, frame, "prediction") for label, frame in step.labeled()]
    rows += [(panel.label, panel.image, panel.kind) for panel in step.maps(False) if panel.image is not None]
    return {(kind, name): Panel(f"t+{ahead} {name}", _fit(image, size), kind) for name, image, kind in rows}


def _draw(panels: Sequence[Panel]) -> np.ndarray:
    return compose(panels, STRIP_PANEL[0])


def _fit(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Return an image scaled down to `size` by area averaging, or unchanged."""
    if tuple(image.shape[-2:]) == size:
        return image
    return functional.interpolate(image[None].float(), size, mode="area")[0]


def bare_frames(steps: Iterable[Step]) -> Iterator[np.ndarray]:
    """Yield the frames of the only prediction, `(H, W, 3)` uint8, without context, borders and labels."""
    for step in steps:
        ((_, frame),) = step.labeled()
        yield to_uint8(frame)
