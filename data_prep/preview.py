"""A preview image of a prepared data set: evenly spaced clips with their motion, and histograms of all motion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from vidpred.data.prepared.format import ClipEntry, Manifest, PreparedFrames
from vidpred.data.sources import evenly_spaced
from vidpred.data.splits import SPLITS
from vidpred.data.videos.reader import VideoInfo, read_frames, scaled_size
from vidpred.errors import DataError, counted, printable
from vidpred.files import atomic_write

from .base import DataSet
from .videos import VideoSet

ROWS, COLUMNS = 12, 8  # number of clips, frames of each
SAMPLED_CLIPS, SAMPLED_PAIRS = 300, 16  # for the histogram
MOVING = 8  # a pixel counts as moving if its gray value (of 255) changes by more than this
SIDE = 96  # short side of the images of videos that are not prepared


@dataclass(frozen=True)
class PreviewClip:
    """A clip of the preview; `read` returns the frames with the given numbers, `(n, H, W, C)` uint8."""

    name: str
    split: str
    frames: int
    rate: float
    read: Callable[[Sequence[int]], np.ndarray]


@dataclass(frozen=True)
class Motion:
    """The motion of a clip, averaged over pairs of consecutive frames.

    Attributes:
        difference: Mean absolute difference of gray values (of 255).
        moving: Share of pixels that change by more than MOVING.
    """

    difference: float
    moving: float


def write_preview(preparation: DataSet, target: Path) -> Path:
    """Draw target/preview.png and return its path.

    Raises:
        DataError: A clip cannot be read, or there are none.
        StorageError: The image cannot be written.
    """
    manifest = Manifest.load(target)
    if manifest is not None and manifest.videos is None:
        clips = _prepared(target, manifest)
    else:
        assert isinstance(preparation, VideoSet)
        clips = _videos(preparation)
    if not clips:
        raise DataError(f"no clips to preview [{target}]")
    rows, sampled = evenly_spaced(len(clips), ROWS), evenly_spaced(len(clips), SAMPLED_CLIPS)
    if preparation.of_images:  # which do not move
        motions: dict[int, Motion] = {}
        drawn = [(clips[index], _image_label(clips[index])) for index in rows]
    else:
        motions = {index: motion(clips[index]) for index in {*rows, *sampled}}
        drawn = [(clips[index], _label(clips[index], motions[index])) for index in rows]
    what = "groups of images, one per class and split" if preparation.of_images else "clips"
    title = f"{printable(preparation.name)}: {len(rows)} of {len(clips):,} {what}"
    output = target / "preview.png"
    with atomic_write(output, "free space or choose another target") as temporary:
        _draw(temporary, title, drawn, list(motions.values()))
    return output


def motion(clip: PreviewClip) -> Motion:
    """Measure the motion of a clip over evenly spaced pairs of frames."""
    firsts = evenly_spaced(clip.frames - 1, SAMPLED_PAIRS)
    if not firsts:
        return Motion(0.0, 0.0)
    numbers = sorted({number for first in firsts for number in (first, first + 1)})
    gray = dict(zip(numbers, clip.read(numbers).astype(np.float32).mean(-1), strict=True))
    changes = np.stack([np.abs(gray[first + 1] - gray[first]) for first in firsts])
    return Motion(float(changes.mean()), float((changes > MOVING).mean()))


def _prepared(target: Path, manifest: Manifest) -> list[PreviewClip]:
    clips = []
    for split in SPLITS:
        source = PreparedFrames(target, manifest, split)
        for clip in source.clips:
            read = partial(_read_prepared, source, clip)
            clips.append(PreviewClip(clip.clip, clip.split, clip.frames, clip.rate, read))
    return clips


def _read_prepared(source: PreparedFrames, clip: ClipEntry, numbers: Sequence[int]) -> np.ndarray:
    frames = source.frames(clip)[list(numbers)]
    cameras = np.split(frames, max(1, clip.channels // 3), 1)
    return np.concatenate(cameras, -1).transpose(0, 2, 3, 1)  # next to each other


def _videos(preparation: VideoSet) -> list[PreviewClip]:
    videos, parts, _ = preparation.found()
    parts = sorted(parts, key=lambda part: (SPLITS.index(part.split), part.clip))
    clips = []
    for part in parts:
        video = videos[part.clip]
        read = partial(_read_video, preparation.file(part.clip), video, part.first)
        clips.append(PreviewClip(part.clip, part.split, part.end - part.first, video.rate, read))
    return clips


def _read_video(path: Path, video: VideoInfo, first: int, numbers: Sequence[int]) -> np.ndarray:
    size = scaled_size(video.height, video.width, min(SIDE, video.height, video.width))
    return read_frames(path, video, [first + number for number in numbers], size)


def _draw(path: Path, title: str, rows: list[tuple[PreviewClip, str]], motions: list[Motion]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    below = [0.25, 1.2] if motions else [0.01, 0.01]
    figure = Figure(figsize=(12.5, len(rows) * 1.2 + 2 * below[1] + 0.6), dpi=100)
    FigureCanvasAgg(figure)
    heights = [1.0] * len(rows) + below
    grid = figure.add_gridspec(
        len(rows) + 2,
        11,
        height_ratios=heights,
        left=0.01,
        right=0.985,
        top=0.95,
        bottom=0.06,
        wspace=0.04,
        hspace=0.08,
    )
    figure.suptitle(title, fontsize=11)
    for row, (clip, text) in enumerate(rows):
        label = figure.add_subplot(grid[row, :3])
        label.axis("off")
        label.text(0, 0.5, text, transform=label.transAxes, fontsize=7.5, va="center", family="monospace")
        axes = figure.add_subplot(grid[row, 3:])
        axes.axis("off")
        numbers = evenly_spaced(clip.frames, COLUMNS)
        strip, lefts = _strip(clip.read(numbers))
        axes.imshow(strip, vmin=0, vmax=255)
        for number, left in zip(numbers, lefts, strict=True):
            axes.text(left + 1, strip.shape[0] - 1, str(number), fontsize=6, color="yellow", va="bottom")
    differences = "mean |difference| of consecutive frames (of 255)", [moves.difference for moves in motions]
    shares = f"pixels that change by more than {MOVING} of 255 (%)", [100 * moves.moving for moves in motions]
    for columns, (quantity, values) in ((grid[-1, 1:5], differences), (grid[-1, 6:], shares)):
        if not values:
            break
        axes = figure.add_subplot(columns)
        axes.hist(values, bins=min(40, max(5, len(values) // 3)), color="#1f77b4")
        axes.set_xlabel(quantity, fontsize=8)
        axes.set_ylabel("clips", fontsize=8)
        axes.tick_params(labelsize=7)
    figure.savefig(path, format="png")


def _strip(frames: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Place the frames `(n, H, W, C)` side by side; return an image `(H, W', 3)` uint8 and the frames' left edges."""
    height, width = frames.shape[1:3]
    gap = max(1, width // 24)
    lefts = [index * (width + gap) for index in range(len(frames))]
    strip = np.full((height, COLUMNS * (width + gap), 3), 255, np.uint8)
    for left, frame in zip(lefts, frames, strict=True):
        strip[:, left : left + width] = frame
    return strip, lefts


def _label(clip: PreviewClip, moves: Motion) -> str:
    return (
        f"{_name(clip)}\n{clip.split}, {counted(clip.frames, 'frame')}, {clip.rate:g}/s\n"
        f"difference {moves.difference:.2f}\nmoving {100 * moves.moving:.1f} %"
    )


def _image_label(clip: PreviewClip) -> str:
    return f"{_name(clip)}\n{counted(clip.frames, 'image')}"


def _name(clip: PreviewClip) -> str:
    name = printable(clip.name)
    name = name if len(name) <= 34 else f"...{name[-31:]}"
    return name.replace("$", r"\$")  # matplotlib would typeset text between dollar signs as a formula
