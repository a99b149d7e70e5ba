"""The only place that makes uint8 pictures: panels with coloured frames and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vidpred.inference.writer import replaced

Kind = Literal["context", "prediction", "truth", "error"]
# Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS: dict[Kind, tuple[int, int, int]] = {
    "context": (0, 114, 178), "prediction": (230, 159, 0), "truth": (0, 158, 115), "error": (120, 120, 120),
}  # fmt: skip
BACKGROUND, INK, UNKNOWN = (24, 24, 27), (235, 235, 235), (48, 48, 52)
BORDER, GAP, LABEL_HEIGHT, TEXT_SIZE = 4, 8, 24, 15
ERROR_RANGE = 0.5  # a mean absolute difference of half the range is drawn brightest
TRAINING_ROWS = 4


@dataclass(frozen=True)
class Panel:
    """One framed picture `(C, H, W)` in [0, 1] with its label; None is drawn as not known."""

    label: str
    picture: Tensor | None
    kind: Kind


def to_uint8(frames: Tensor) -> np.ndarray:
    """`(..., C, H, W)` in [0, 1], C = 1 or 3 -> `(..., H, W, 3)` uint8, rounded."""
    pictures = (frames.detach().float().clamp(0, 1) * 255).round().to(torch.uint8).movedim(-3, -1).cpu().numpy()
    return np.repeat(pictures, 3, -1) if pictures.shape[-1] == 1 else pictures


def error_map(prediction: Tensor, truth: Tensor) -> Tensor:
    """How far two pictures `(C, H, W)` lie apart, as a picture `(3, H, W)`: from black at 0 over violet and orange to
    pale yellow at a mean absolute difference of 0.5 or more."""
    import cv2

    difference = (prediction.float() - truth.float()).abs().mean(0) / ERROR_RANGE
    levels = (difference.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    coloured = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    return torch.from_numpy(coloured).movedim(-1, 0).float() / 255


def compose(panels: Sequence[Panel], minimum_height: int = 192, caption: str = "") -> np.ndarray:
    """Panels in a row, `(H, W, 3)` uint8 with even H and W.

    Small pictures are enlarged by a whole factor (nearest neighbour) until they are minimum_height tall.
    Raises ValueError unless all known pictures are of one size.
    """
    sizes = {tuple(panel.picture.shape[-2:]) for panel in panels if panel.picture is not None}
    if len(sizes) != 1:
        raise ValueError(f"panels need pictures of one size, not {sorted(sizes)}")
    size = sizes.pop()
    framed = [_frame(panel, size, max(1, -(-minimum_height // size[0]))) for panel in panels]
    gap = _blank(framed[0].shape[0], GAP)
    row = np.concatenate([part for picture in framed for part in (gap, picture)] + [gap], 1)
    parts = [row, _text(caption, row.shape[1])] if caption else [row, _blank(GAP, row.shape[1])]
    return _even(np.concatenate(parts))


def stack(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures one below the other; the narrower ones are filled up with background."""
    width = max(row.shape[1] for row in rows)
    filled = [np.concatenate([row, _blank(row.shape[0], width - row.shape[1])], 1) for row in rows]
    return np.concatenate(filled)


def training_picture(context: Tensor, truth: Tensor, prediction: Tensor) -> np.ndarray:
    """Samples in rows: context | truth | prediction | difference. `(B, T, C, H, W)`, `(B, K, C, H, W)` twice."""
    rows = []
    for known, true, predicted in list(zip(context, truth, prediction, strict=True))[:TRAINING_ROWS]:
        ago = range(len(known) - 1, -1, -1)
        panels = [Panel(f"t-{k}" if k else "t", frame, "context") for k, frame in zip(ago, known, strict=True)]
        panels += [Panel(f"truth {k}", frame, "truth") for k, frame in enumerate(true, 1)]
        panels += [Panel(f"predicted {k}", frame, "prediction") for k, frame in enumerate(predicted, 1)]
        panels += [
            Panel(f"difference {k}", error_map(*pair), "error")
            for k, pair in enumerate(zip(predicted, true, strict=True), 1)
        ]
        rows.append(compose(panels, minimum_height=96))
    return stack(rows)


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write `(H, W, 3)` uint8, whole or not at all. Raises StorageError."""
    from PIL import Image

    with replaced(path) as temporary:
        Image.fromarray(picture).save(temporary)


def _frame(panel: Panel, size: tuple[int, int], factor: int) -> np.ndarray:
    height, width = size[0] * factor, size[1] * factor
    if panel.picture is None:
        picture = np.full((height, width, 3), UNKNOWN, np.uint8)
        note = _text("not known", width, UNKNOWN)
        top = (height - note.shape[0]) // 2
        picture[top : top + note.shape[0]] = note
    else:
        picture = to_uint8(panel.picture).repeat(factor, 0).repeat(factor, 1)
    framed = np.full((height + 2 * BORDER, width + 2 * BORDER, 3), COLOURS[panel.kind], np.uint8)
    framed[BORDER:-BORDER, BORDER:-BORDER] = picture
    return np.concatenate([_text(panel.label, framed.shape[1]), framed])


def _blank(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), BACKGROUND, np.uint8)


@lru_cache(maxsize=256)
def _text(text: str, width: int, background: tuple[int, int, int] = BACKGROUND) -> np.ndarray:
    """A line of text in the middle of a strip; what does not fit is set smaller, then cut with an ellipsis."""
    from PIL import Image, ImageDraw, ImageFont

    strip = Image.new("RGB", (width, LABEL_HEIGHT), background)
    draw = ImageDraw.Draw(strip)
    for size in (TEXT_SIZE, TEXT_SIZE - 2, TEXT_SIZE - 4):
        font = ImageFont.load_default(size)
        if draw.textlength(text, font) <= width - 2:
            break
    while text and draw.textlength(text, font) > width - 2:
        text = text.rstrip("…")[:-1] + "…" if len(text) > 1 else ""
    draw.text((width / 2, LABEL_HEIGHT / 2), text, INK, font, anchor="mm")
    return np.asarray(strip)


def _even(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
