"""Images as windows of one future frame, without context frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vidpred.data.batch import Batch
from vidpred.data.counter_random import uniform
from vidpred.data.files_unchanged import look_once
from vidpred.data.images.files import ImageFiles, center_square
from vidpred.data.images.index import usable_images
from vidpred.data.recorded_splits import RecordedSplits
from vidpred.data.resize import with_channels
from vidpred.data.settings import DataSettings
from vidpred.data.sources import Source, evenly_spaced, stack_frames
from vidpred.data.splits import Part
from vidpred.errors import DataError
from vidpred.processes.memory import without_collection

BLOCK = 512  # images read at once


class ImageWindows(Source):
    """The images of one split as windows of one frame; training samples may be cropped and flipped."""

    context_frames = 0

    def __init__(self, images: ImageFiles, numbers: np.ndarray, settings: DataSettings) -> None:
        self.name, self.classes = str(settings.root), images.classes
        self.labels = None if images.labels is None else images.labels[numbers]
        self.images, self.numbers, self.settings = images, numbers, settings
        self._kept: dict[int, np.ndarray] = {}
        self._left = settings.video_settings.cache_mb << 20

    def __len__(self) -> int:
        return len(self.numbers)

    def clip_name(self, index: int) -> str:
        return self.images.names[int(self.numbers[index])]

    def window(self, index: int) -> np.ndarray:
        """Return the image as `(1, H, W, C)` uint8."""
        return self._image(int(self.numbers[index]))[None]

    def draw(self, windows: Sequence[int], positions: Sequence[int], seed: int) -> Batch:
        chances = uniform(seed, np.asarray(positions), 3)
        pairs = zip(windows, chances, strict=True)
        future = stack_frames([self._crop(int(self.numbers[window]), row)[None] for window, row in pairs]).contiguous()
        labels = None if self.labels is None else torch.from_numpy(self.labels[np.asarray(windows)])
        return Batch(future[:, :0], future, torch.tensor(positions), labels=labels)

    def _image(self, number: int) -> np.ndarray:
        """Return an image as `(H, W, C)` uint8, converted as set; cached up to `data.video.cache_mb`."""
        if number not in self._kept:
            image = with_channels(self.images.read(number), self.settings.channels)
            image = center_square(image, self.settings.size) if self.settings.size else image
            if image.nbytes > self._left:
                return image
            self._left -= image.nbytes
            self._kept[number] = image
        return self._kept[number]

    def _crop(self, number: int, chances: np.ndarray) -> np.ndarray:
        image, side = self._image(number), self.settings.crop_size
        if side is not None:
            height, width = image.shape[:2]
            if min(height, width) < side:
                raise DataError(
                    f"an image of {width}x{height} is smaller than data.crop_size={side} "
                    f"[{self.images.place(number)}]; set data.size={side}, or a smaller data.crop_size"
                )
            top, left = int(chances[1] * (height - side + 1)), int(chances[2] * (width - side + 1))
            image = image[top : top + side, left : left + side]
        return image[:, ::-1] if self.settings.augment_settings.horizontal_flip and chances[0] < 0.5 else image


def images_of(source: Source, most: int, seed: int = 0) -> Tensor:
    """Return different images, evenly spread over the source, `(N, C, H, W)` float32 in [0, 1].

    Args:
        source: Source of single images.
        most: Maximum number of images; all if the source has no more.
        seed: Seed of random crops and flips.
    """
    places = evenly_spaced(len(source), most, middle=False)
    blocks = [range(first, min(first + BLOCK, len(places))) for first in range(0, len(places), BLOCK)]
    batches = (source.draw([places[place] for place in block], block, seed) for block in blocks)
    return torch.cat([batch.to(torch.device("cpu")).future[:, 0] for batch in batches])


def image_source(settings: DataSettings, split: str, offsets: Sequence[int], progress: bool = False) -> Source | None:
    """Build the windows of an image model; return None for other models, or if `data.root` contains no images.

    Raises:
        DataError: The split has no images.
    """
    root = Path(str(settings.root))
    if settings.context_frames == 0 and not root.exists():
        raise DataError(
            f"no such folder or file of images [{root}]; set data.root (or --data) to a folder, an .npz or IDX files"
        )
    images = usable_images(settings, progress) if settings.context_frames == 0 else None
    if images is None:
        return None
    recorded = RecordedSplits.read(Path(settings.split_file)) if settings.split_file else None
    if progress and recorded is not None:
        recorded.warn_of_changes(dict.fromkeys(images.names, 0), images.contents(), root)
    source = ImageWindows(images, _divided(images, settings)[split], settings)
    if not len(source) and recorded is not None:
        raise recorded.nothing_left(split, root)
    if not len(source):
        raise DataError(
            f"none of the {len(images):,} images is in the {split} split [{root}]; add some, or "
            "change data.split_fractions"
        )
    return source


def record_image_splits(settings: DataSettings) -> RecordedSplits | None:
    """Divide a set of images, and return the splits for `RecordedSplits.write`; None for data without images."""
    images = usable_images(settings) if settings.context_frames == 0 else None
    if images is None:
        return None
    divided = _divided(images, settings)
    with without_collection():
        parts = [Part(images.names[i], split, 0, 1) for split, found in divided.items() for i in found]
    return RecordedSplits(parts, {}, images.contents())


def _divided(images: ImageFiles, settings: DataSettings) -> dict[str, np.ndarray]:
    """Return the indices of the images of each split."""
    listing = Path(settings.split_file) if settings.split_file else None
    key = ("divided", settings.model_dump_json())
    return look_once(key, lambda: images.divided(settings.split_fractions, listing))
