"""Pictures as windows of one frame, without known frames before it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vidpred.data.batch import Batch
from vidpred.data.counter_random import uniform
from vidpred.data.images.files import Pictures, find_pictures, squared
from vidpred.data.resize import with_channels
from vidpred.data.settings import DataSettings
from vidpred.data.sources import Source, spread, stack_frames
from vidpred.data.videos.containers import printable
from vidpred.errors import DataError

BLOCK = 512  # pictures read at once


class ImageWindows(Source):
    """The pictures of one split as windows of one frame: the whole ones, or in training patches, mirrored or not."""

    context_frames = 0

    def __init__(self, pictures: Pictures, numbers: np.ndarray, settings: DataSettings) -> None:
        self.name, self.classes = str(settings.root), pictures.classes
        self.labels = None if pictures.labels is None else pictures.labels[numbers]
        self.pictures, self.numbers, self.settings = pictures, numbers, settings
        self._kept: dict[int, np.ndarray] = {}
        self._left = settings.video_settings.cache_mb << 20

    def __len__(self) -> int:
        return len(self.numbers)

    def clip_name(self, index: int) -> str:
        return self.pictures.names[int(self.numbers[index])]

    def window(self, index: int) -> np.ndarray:
        """`(1, H, W, C)` uint8."""
        return self._picture(int(self.numbers[index]))[None]

    def draw(self, windows: Sequence[int], positions: Sequence[int], seed: int) -> Batch:
        chances = uniform(seed, np.asarray(positions), 3)
        pairs = zip(windows, chances, strict=True)
        future = stack_frames([self._patch(int(self.numbers[window]), row)[None] for window, row in pairs]).contiguous()
        labels = None if self.labels is None else torch.from_numpy(self.labels[np.asarray(windows)])
        return Batch(future[:, :0], future, torch.tensor(positions), labels=labels)

    def _picture(self, number: int) -> np.ndarray:
        """`(H, W, C)` uint8 with the channels and size of the settings; kept as long as cache_mb allows."""
        if number not in self._kept:
            picture = with_channels(self.pictures.read(number), self.settings.channels)
            picture = squared(picture, self.settings.size) if self.settings.size else picture
            if picture.nbytes > self._left:
                return picture
            self._left -= picture.nbytes
            self._kept[number] = picture
        return self._kept[number]

    def _patch(self, number: int, chances: np.ndarray) -> np.ndarray:
        picture, side = self._picture(number), self.settings.crop_size
        if side is not None:
            height, width = picture.shape[:2]
            if min(height, width) < side:
                raise DataError(
                    f"a picture of {width}x{height} is smaller than data.crop_size={side} "
                    f"[{printable(self.pictures.names[number])}]; set data.size={side}, or a smaller data.crop_size"
                )
            top, left = int(chances[1] * (height - side + 1)), int(chances[2] * (width - side + 1))
            picture = picture[top : top + side, left : left + side]
        return picture[:, ::-1] if self.settings.augment_settings.horizontal_flip and chances[0] < 0.5 else picture


def pictures_of(source: Source, most: int, seed: int = 0) -> Tensor:
    """At most so many pictures, evenly spread over the source, each once, `(N, C, H, W)` float32 in [0, 1]."""
    places = spread(len(source), most, middle=False)
    blocks = [range(first, min(first + BLOCK, len(places))) for first in range(0, len(places), BLOCK)]
    batches = (source.draw([places[place] for place in block], block, seed) for block in blocks)
    return torch.cat([batch.to(torch.device("cpu")).future[:, 0] for batch in batches])


def image_source(settings: DataSettings, split: str, offsets: Sequence[int], progress: bool = False) -> Source | None:
    """Build the windows of an image model's pictures; None for other models, or where `data.root` holds no pictures.

    Raises DataError where the split has none.
    """
    root = Path(str(settings.root))
    pictures = find_pictures(root) if settings.context_frames == 0 else None
    if pictures is None:
        return None
    listing = Path(settings.split_file) if settings.split_file else None
    source = ImageWindows(pictures, pictures.divided(settings.split_fractions, listing)[split], settings)
    if not len(source):
        raise DataError(f"none of the {len(pictures):,} pictures is in the {split} split [{root}]; add some")
    return source
