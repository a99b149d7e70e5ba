"""The only place that makes uint8 images: panels with coloured frames and labels."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from vidpred.files import atomic_write

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

Kind = Literal["context", "prediction", "truth", "error"]
# Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS: dict[Kind, tuple[int, int, int]] = {
    "context": (0, 114, 178), "prediction": (230, 159, 0), "truth": (0, 158, 115), "error": (120, 120, 120),
}  # fmt: skip
BACKGROUND, INK, UNKNOWN = (24, 24, 27), (235, 235, 235), (48, 48, 52)
LEAST_WIDTH = 64  # of a panel, so that a narrow image's label can be read
SMALLEST_TEXT = 11
ERROR_RANGE = 0.5  # a mean absolute difference of half the range is drawn brightest
TRAINING_ROWS, TRAINING_GRID = 4, 64
TRAINING_HEIGHT = 96


@dataclass(frozen=True)
class Panel:
    """One framed image `(C, H, W)` in [0, 1] with its label; None is drawn as not known."""

    label: str
    image: Tensor | None
    kind: Kind


@dataclass(frozen=True)
class _Layout:
    """Sizes in pixels. They grow with the images, so that text can still be read when all is scaled to a screen."""

    border: int
    gap: int
    text: int

    @classmethod
    def of(cls, height: int) -> _Layout:
        """For panels whose images are drawn `height` pixels tall."""
        scale = max(1.0, height / 320)
        return cls(round(4 * scale), round(8 * scale), round(15 * scale))


def to_uint8(frames: Tensor) -> np.ndarray:
    """`(..., C, H, W)` in [0, 1], C = 1 or 3 -> `(..., H, W, 3)` uint8, rounded; one channel becomes gray.

    Raises TypeError unless frames are floating point, ValueError for another number of channels.
    """
    if not frames.is_floating_point():
        raise TypeError(f"frames must be float in [0, 1], not {frames.dtype}")
    if frames.dim() < 3 or frames.shape[-3] not in (1, 3):
        raise ValueError(f"frames must be (..., C, H, W) with 1 or 3 channels, not {tuple(frames.shape)}")
    images = (frames.detach().float().clamp(0, 1) * 255).round().to(torch.uint8).movedim(-3, -1).cpu().numpy()
    return np.repeat(images, 3, -1) if images.shape[-1] == 1 else images


def error_map(prediction: Tensor, truth: Tensor) -> Tensor:
    """How far two images `(C, H, W)` in [0, 1] lie apart, as an image `(3, H, W)` in [0, 1].

    The absolute difference, mean over channels, in the colours of magma: from black at 0 over violet and orange to
    pale yellow at 0.5 and above.
    """
    import cv2

    difference = (prediction.detach().float() - truth.detach().float()).abs().mean(0) / ERROR_RANGE
    levels = (difference.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    colored = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_MAGMA), cv2.COLOR_BGR2RGB)
    return torch.from_numpy(colored).movedim(-1, 0).float() / 255


def compose(panels: Sequence[Panel], minimum_height: int = 192, caption: str = "") -> np.ndarray:
    """Panels in a row, each below its label and in a frame of its kind's colour, the caption under all of them.

    Small images are enlarged by a whole factor (nearest neighbour) until they are minimum_height tall. Returns
    `(H, W, 3)` uint8 with even H and W. Raises ValueError unless one image at least is known and all are of one size.
    """
    sizes = {tuple(panel.image.shape[-2:]) for panel in panels if panel.image is not None}
    if len(sizes) != 1:
        raise ValueError(f"panels need images of one size, at least one of them known, not {sorted(sizes)}")
    height, width = sizes.pop()
    factor = max(1, -(-minimum_height // height))
    layout = _Layout.of(height * factor)
    framed = [_frame(panel, (height, width), factor, layout) for panel in panels]
    gap = _blank(framed[0].shape[0], layout.gap)
    row = np.concatenate([part for image in framed for part in (gap, image)] + [gap], 1)
    below = [_blank(layout.gap // 2, row.shape[1])]
    below.append(_text(caption, row.shape[1], layout.text) if caption else below[0])
    return _even(np.concatenate([row, *below]))


def stack(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Images one below the other; the narrower ones are filled up with background."""
    width = max(row.shape[1] for row in rows)
    filled = [np.concatenate([row, _blank(row.shape[0], width - row.shape[1])], 1) for row in rows]
    return np.concatenate(filled)


def image_grid(images: Tensor, columns: int | None = None, border: int = 2) -> np.ndarray:
    """Images `(N, C, H, W)` in [0, 1] row by row, `(rows * (H + border) + border, ..., 3)` uint8; columns: how many
    are side by side (None: as many as make a square)."""
    shown = to_uint8(images)
    columns = min(len(shown), columns or math.ceil(math.sqrt(len(shown))))
    rows = -(-len(shown) // columns)
    height, width = shown.shape[1] + border, shown.shape[2] + border
    grid = _blank(rows * height + border, columns * width + border)
    for number, image in enumerate(shown):
        top, left = number // columns * height + border, number % columns * width + border
        grid[top : top + image.shape[0], left : left + image.shape[1]] = image
    return grid


def shown_samples(context: Tensor) -> int:
    """How many samples `training_image` shows: more where there are no known frames `(B, 0, C, H, W)`."""
    return TRAINING_ROWS if context.shape[1] else TRAINING_GRID


def training_image(context: Tensor, truth: Tensor, prediction: Tensor) -> np.ndarray:
    """Samples in rows: context | truth | prediction | difference. `(B, T, C, H, W)`, `(B, K, C, H, W)` twice. Without
    known frames, true and generated images belong to no pairs: a grid of the ones beside a grid of the others."""
    if not context.shape[1]:
        grids = [image_grid(images.flatten(0, 1)) for images in (truth, prediction)]
        panels = [
            Panel("true", _as_image(grids[0]), "truth"),
            Panel("generated", _as_image(grids[1]), "prediction"),
        ]
        return compose(panels)
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
        rows.append(compose(panels, TRAINING_HEIGHT))
    return stack(rows)


def _as_image(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).movedim(-1, 0).float() / 255


def write_png(path: Path, image: np.ndarray) -> None:
    """Write `(H, W, 3)` uint8, whole or not at all, over what is there; makes the folder. Raises StorageError."""
    from PIL import Image

    with atomic_write(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")


def _frame(panel: Panel, size: tuple[int, int], factor: int, layout: _Layout) -> np.ndarray:
    height, width = size[0] * factor, size[1] * factor
    if panel.image is None:
        image = np.full((height, width, 3), UNKNOWN, np.uint8)
        note = _text("not known", width, layout.text, UNKNOWN)
        top = (height - note.shape[0]) // 2
        if top >= 0:
            image[top : top + note.shape[0]] = note
    else:
        image = to_uint8(panel.image).repeat(factor, 0).repeat(factor, 1)
    border = layout.border
    framed = np.full((height + 2 * border, width + 2 * border, 3), COLOURS[panel.kind], np.uint8)
    framed[border:-border, border:-border] = image
    missing = max(0, LEAST_WIDTH - framed.shape[1])
    left, right = _blank(framed.shape[0], missing // 2), _blank(framed.shape[0], missing - missing // 2)
    framed = np.concatenate([left, framed, right], 1)
    return np.concatenate([_text(panel.label, framed.shape[1], layout.text), framed])


def _blank(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), BACKGROUND, np.uint8)


@cache
def _font(size: int) -> FreeTypeFont | ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _text(text: str, width: int, size: int, background: tuple[int, int, int] = BACKGROUND) -> np.ndarray:
    """A line in the middle of a strip `(1.6 size, width, 3)`; what does not fit is set smaller, then cut with an
    ellipsis. Line breaks become spaces, characters that cannot be printed question marks."""
    from PIL import Image, ImageDraw

    strip = Image.new("RGB", (width, round(1.6 * size)), background)
    draw = ImageDraw.Draw(strip)
    text = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    smallest = max(SMALLEST_TEXT, size * 3 // 4)
    font = next((_font(s) for s in range(size, smallest, -1) if _fits(draw, text, _font(s), width)), _font(smallest))
    if not _fits(draw, text, font, width):
        longest = bisect_left(range(len(text)), True, key=lambda n: not _fits(draw, text[:n] + "…", font, width)) - 1
        text = text[:longest].rstrip() + "…" if longest > 0 else ""
    draw.text((width / 2, strip.height / 2), text, INK, font, anchor="mm")
    return np.asarray(strip)


def _fits(draw: ImageDraw, text: str, font: FreeTypeFont | ImageFont, width: int) -> bool:
    left, _, right, _ = draw.textbbox((width / 2, 0), text, font, anchor="mm")
    return left >= 2 and right <= width - 2


def _even(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
