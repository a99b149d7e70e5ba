"""The only module that renders uint8 images: panels with colored borders and labels."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from vidpred.data.batch import side_by_side
from vidpred.files import atomic_write

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

Kind = Literal["context", "prediction", "truth", "error"]
# Okabe and Ito's colors, which are distinct also with color blindness.
COLORS: dict[Kind, tuple[int, int, int]] = {
    "context": (0, 114, 178), "prediction": (230, 159, 0), "truth": (0, 158, 115), "error": (120, 120, 120),
}  # fmt: skip
BACKGROUND, INK, UNKNOWN = (24, 24, 27), (235, 235, 235), (48, 48, 52)
LEAST_WIDTH = 64  # of a panel, so that the label of a narrow image is legible
SMALLEST_TEXT = 11
ERROR_RANGE = 0.5  # mean absolute difference that is drawn brightest
TRAINING_ROWS, TRAINING_GRID = 4, 64
TRAINING_HEIGHT = 96
ROW_COLUMNS, ROW_HEIGHT, TITLE_SIZE, LONGEST_TITLE = 20, 48, 15, 220  # of titled rows; columns, then pixels


@dataclass(frozen=True)
class Panel:
    """One framed image `(C, H, W)` in [0, 1], of cameras side by side, with its label; None: unavailable."""

    label: str
    image: Tensor | None
    kind: Kind

    def __post_init__(self) -> None:
        if self.image is not None:
            object.__setattr__(self, "image", side_by_side(self.image))


@dataclass(frozen=True)
class _Layout:
    """Sizes in pixels, which grow with the images so that text stays legible when scaled to a screen."""

    border: int
    gap: int
    text: int

    @classmethod
    def of(cls, height: int) -> _Layout:
        """Return the layout of panels whose images are drawn `height` pixels tall."""
        scale = max(1.0, height / 320)
        return cls(round(4 * scale), round(8 * scale), round(15 * scale))


def to_uint8(frames: Tensor) -> np.ndarray:
    """Convert frames to `(..., H, W, 3)` uint8, rounded; one channel becomes gray, cameras are placed side by side.

    Args:
        frames: `(..., C, H, W)` float in [0, 1], C = 1 or 3, or 3n for n cameras.

    Raises:
        TypeError: The frames are not floating point.
        ValueError: The number of channels is another.
    """
    if not frames.is_floating_point():
        raise TypeError(f"frames must be float in [0, 1], not {frames.dtype}")
    frames = side_by_side(frames)
    if frames.dim() < 3 or frames.shape[-3] not in (1, 3):
        raise ValueError(f"frames must be (..., C, H, W) with 1 or 3 channels, not {tuple(frames.shape)}")
    images = (frames.detach().float().clamp(0, 1) * 255).round().to(torch.uint8).movedim(-3, -1).cpu().numpy()
    return np.repeat(images, 3, -1) if images.shape[-1] == 1 else images


def error_map(prediction: Tensor, truth: Tensor) -> Tensor:
    """Map the absolute difference of two images, averaged over channels, to the colors of magma.

    They go from black at 0 over violet and orange to pale yellow at 0.5 and above.

    Args:
        prediction: `(C, H, W)` in [0, 1].
        truth: Image of the same shape.

    Returns:
        `(3, H, W)` in [0, 1].
    """
    import cv2

    difference = side_by_side(prediction.detach().float() - truth.detach().float()).abs().mean(0) / ERROR_RANGE
    levels = (difference.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    colored = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_MAGMA), cv2.COLOR_BGR2RGB)
    return torch.from_numpy(colored).movedim(-1, 0).float() / 255


def compose(panels: Sequence[Panel], minimum_height: int = 192, caption: str = "") -> np.ndarray:
    """Compose panels in a row, each below its label and in a border of its kind's color, above a caption.

    Args:
        panels: The panels; at least one has an image, and all images have the same size.
        minimum_height: Small images are enlarged by a whole factor (nearest neighbor) to at least this height.
        caption: Text below all panels.

    Returns:
        `(H, W, 3)` uint8 with even H and W.

    Raises:
        ValueError: No panel has an image, or the sizes differ.
    """
    sizes = {tuple(panel.image.shape[-2:]) for panel in panels if panel.image is not None}
    if len(sizes) != 1:
        raise ValueError(f"panels need at least one image, and images of one size, not {sorted(sizes)}")
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
    """Stack images `(h, w, 3)` uint8 vertically; narrower ones are padded with background on the right."""
    width = max(row.shape[1] for row in rows)
    filled = [np.concatenate([row, _blank(row.shape[0], width - row.shape[1])], 1) for row in rows]
    return np.concatenate(filled)


def image_grid(images: Tensor, columns: int | None = None, border: int = 2) -> np.ndarray:
    """Arrange images in a grid, row by row.

    Args:
        images: `(N, C, H, W)` in [0, 1].
        columns: Number of columns; None: as for a square grid.
        border: Pixels between images.

    Returns:
        `(rows * (H + border) + border, columns * (W + border) + border, 3)` uint8.
    """
    pixels = to_uint8(images)
    columns = min(len(pixels), columns or math.ceil(math.sqrt(len(pixels))))
    rows = -(-len(pixels) // columns)
    height, width = pixels.shape[1] + border, pixels.shape[2] + border
    grid = _blank(rows * height + border, columns * width + border)
    for number, image in enumerate(pixels):
        top, left = number // columns * height + border, number % columns * width + border
        grid[top : top + image.shape[0], left : left + image.shape[1]] = image
    return grid


def titled_rows(rows: Mapping[str, Tensor], columns: int = ROW_COLUMNS) -> np.ndarray:
    """Arrange groups of images of one size below each other, each with its title on the left.

    Args:
        rows: Title -> images `(N, C, H, W)` in [0, 1].
        columns: Number of images side by side; longer groups are wrapped.

    Returns:
        `(H, W, 3)` uint8.
    """
    factor = max(1, -(-ROW_HEIGHT // next(iter(rows.values())).shape[-2]))
    font = _font(TITLE_SIZE)
    width = min(LONGEST_TITLE, max(round(font.getlength(title)) for title in rows) + TITLE_SIZE)
    drawn = []
    for title, images in rows.items():
        block = image_grid(images, min(columns, len(images)), 1).repeat(factor, 0).repeat(factor, 1)
        side, text = _blank(block.shape[0], width), _text(title, width, TITLE_SIZE)
        top = (block.shape[0] - text.shape[0]) // 2
        side[top : top + text.shape[0]] = text
        drawn.append(np.concatenate([side, block], 1))
    return stack(drawn)


def shown_samples(context: Tensor) -> int:
    """Return the number of samples in `training_image`, which is larger without context frames `(B, 0, C, H, W)`."""
    return TRAINING_ROWS if context.shape[1] else TRAINING_GRID


def training_image(context: Tensor, truth: Tensor, prediction: Tensor) -> np.ndarray:
    """Render samples in rows: context | truth | prediction | difference.

    Without context frames, true and generated images are not pairs and are rendered as two grids.

    Args:
        context: `(B, T, C, H, W)` in [0, 1].
        truth: `(B, K, C, H, W)` in [0, 1].
        prediction: `(B, K, C, H, W)` in [0, 1].

    Returns:
        `(H, W, 3)` uint8.
    """
    if not context.shape[1]:
        grids = [image_grid(images.flatten(0, 1)) for images in (truth, prediction)]
        panels = [
            Panel("true", _as_image(grids[0]), "truth"),
            Panel("generated", _as_image(grids[1]), "prediction"),
        ]
        return compose(panels)
    rows = []
    for past, true, predicted in list(zip(context, truth, prediction, strict=True))[:TRAINING_ROWS]:
        ago = range(len(past) - 1, -1, -1)
        panels = [Panel(f"t-{k}" if k else "t", frame, "context") for k, frame in zip(ago, past, strict=True)]
        panels += [Panel(f"truth {k}", frame, "truth") for k, frame in enumerate(true, 1)]
        panels += [Panel(f"predicted {k}", frame, "prediction") for k, frame in enumerate(predicted, 1)]
        panels += [
            Panel(f"difference {k}", error_map(*pair), "error")
            for k, pair in enumerate(zip(predicted, true, strict=True), 1)
        ]
        rows.append(compose(panels, TRAINING_HEIGHT))
    return stack(rows)


def prediction_video(context: Tensor, truth: Tensor, prediction: Tensor) -> np.ndarray:
    """Render samples in rows, true frames on the left, predicted ones on the right, after their common context.

    Args:
        context: `(B, T, C, H, W)` in [0, 1].
        truth: `(B, K, C, H, W)` in [0, 1].
        prediction: `(B, K, C, H, W)` in [0, 1].

    Returns:
        `(T + K, height, width, 3)` uint8, at least `TRAINING_HEIGHT` pixels a sample.
    """
    clips = [torch.cat([context, frames.to(context)], 1).float().cpu() for frames in (truth, prediction)]
    factor = -(-TRAINING_HEIGHT // context.shape[-2])
    pairs = torch.stack(clips, 1).flatten(0, 1).repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    return np.stack([image_grid(images, columns=2) for images in pairs.unbind(1)])


def _as_image(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).movedim(-1, 0).float() / 255


def write_png(path: Path, image: np.ndarray) -> None:
    """Write an image `(H, W, 3)` uint8 atomically, over an existing file; make its folder. Raises StorageError."""
    from PIL import Image

    with atomic_write(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")


def _frame(panel: Panel, size: tuple[int, int], factor: int, layout: _Layout) -> np.ndarray:
    height, width = size[0] * factor, size[1] * factor
    if panel.image is None:
        image = np.full((height, width, 3), UNKNOWN, np.uint8)
        note = _text("unavailable", width, layout.text, UNKNOWN)
        top = (height - note.shape[0]) // 2
        if top >= 0:
            image[top : top + note.shape[0]] = note
    else:
        image = to_uint8(panel.image).repeat(factor, 0).repeat(factor, 1)
    border = layout.border
    framed = np.full((height + 2 * border, width + 2 * border, 3), COLORS[panel.kind], np.uint8)
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
    """Render a centered line of text in a strip `(1.6 size, width, 3)`.

    Text that does not fit is set smaller, then cut with an ellipsis. Line breaks become spaces, and unprintable
    characters question marks.
    """
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
