"""A synthetic set for tests, in which every pixel, action and state is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidpred.data.prepared.frame_writer import Clip, Item
from vidpred.data.prepared.pipeline import read_through
from vidpred.data.splits import SPLITS
from vidpred.errors import DataError

HEIGHT, WIDTH = 12, 16


def numbered_clip(number: int, frames: int) -> np.ndarray:
    """Return `(frames, H, W, 3)` uint8, in which every value encodes clip, frame, row, column and channel (mod 256)."""
    axes = np.ogrid[:frames, :HEIGHT, :WIDTH, :3]
    return (number * 101 + axes[0] * 37 + axes[1] * 11 + axes[2] * 3 + axes[3] * 50).astype(np.uint8)


@dataclass(frozen=True)
class NumberedSet:
    """Items of two clips each, with 10 and 13 frames; action t of clip c is (c, t), state t is (t, c, -t)."""

    source: Path
    num_items: int = 6
    with_actions: bool = True
    bad: tuple[int, ...] = ()
    name: str = "numbered"
    channels: int = 3
    of_images: bool = False
    max_bad_fraction: float = 1.0

    def items(self) -> list[Item]:
        return [Item(f"folder/item {k}", (), SPLITS[k % 3], {"number": k}) for k in range(self.num_items)]

    def clips(self, item: Item, size: int | None) -> Iterator[Clip]:
        for part in range(2):
            number = 2 * int(item.detail["number"]) + part
            if number // 2 in self.bad and part == 1:
                raise DataError(f"broken on purpose [{item.name}]")
            count = 10 + 3 * part
            t = np.arange(count, dtype=np.float32)
            c = np.full(count, number, np.float32)
            yield Clip(
                f"{item.name}/{part}", "", iter(numbered_clip(number, count)), 10.0,
                np.stack([c, t], 1) if self.with_actions else None,
                np.stack([t, c, -t], 1) if self.with_actions else None,
                cuts=(),
            )  # fmt: skip

    def candidates(self) -> list[Item]:
        return self.items()

    def look(self, item: Item) -> dict[str, Any]:
        return read_through(self, item)

    def classes(self) -> list[str]:
        return []

    @property
    def num_cameras(self) -> int:
        return 1

    def action_names(self) -> list[str]:
        return ["clip", "time"] if self.with_actions else []

    def fingerprint_settings(self) -> dict[str, Any]:
        return {"num_items": self.num_items, "with_actions": self.with_actions}
