"""The order in which windows of video files are read fast: frames are decoded once for many windows.

A window alone costs the decoding of everything from the keyframe before it. So windows are taken in stretches, runs of
windows that mostly begin in the same group of images, and an epoch's order keeps the windows of a stretch near
enough to one another that its frames can be kept until the last of them is read, and far enough that a batch sees
hundreds of places.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

POOL_BYTES = 512 * 2**20  # decoded frames whose windows are mixed with one another; part of what a run's order is
LEAST_WINDOWS = 32  # in a stretch, where the video has as many
LEAST_LENGTHS = 4  # and so many times the length of a window: all but the first windows share most of their frames
POOL_PARTS = 32  # a stretch is no larger than such a part of the pool


def group_ends(numbers: np.ndarray, keyframes: Sequence[int], length: int, most: int) -> list[int]:
    """Where the stretches of one segment end, in windows.

    numbers: the frame that each window begins with. length: windows between the first frame of a window and its last.
    most: windows in a stretch at most.
    """
    least = max(LEAST_WINDOWS, LEAST_LENGTHS * length)
    groups = np.searchsorted(np.asarray(keyframes), numbers, side="right")
    ends: list[int] = []
    begin = 0
    for change in [*(np.flatnonzero(np.diff(groups)) + 1).tolist(), len(numbers)]:
        if change - begin >= least:
            ends.append(change)
            begin = change
    if begin < len(numbers):
        ends[-1:] = [len(numbers)]
    pieces: list[int] = []
    begin = 0
    for end in ends:
        parts = -(-(end - begin) // most)
        pieces += [begin + (end - begin) * part // parts for part in range(1, parts + 1)]
        begin = end
    return pieces


class DecodeGroups:
    """All windows of a source, divided in stretches. ends: in windows, ascending; costs: the bytes of their frames."""

    def __init__(self, ends: Sequence[int], costs: Sequence[int]) -> None:
        self.ends, self.costs = np.asarray(ends), np.asarray(costs, dtype=np.float64)

    def number(self, window: int) -> int:
        return int(np.searchsorted(self.ends, window, side="right"))

    def windows(self, number: int) -> range:
        return range(int(self.ends[number - 1]) if number else 0, int(self.ends[number]))

    def shuffle(self, random: np.random.Generator) -> np.ndarray:
        """A permutation of all windows, a function of `random`.

        Any permutation where everything fits into the pool. Otherwise stretches are laid out one after another in
        random order, as long as they have bytes, and each window is read at a random place within a span after its
        stretch begins. So at any time the stretches that began within the last span are being read, and there is
        always one that begins: the decoding is spread evenly.
        """
        count = int(self.ends[-1]) if len(self.ends) else 0
        if self.costs.sum() <= POOL_BYTES:
            return random.permutation(count)
        order = random.permutation(len(self.costs))
        begins = np.empty(len(order))
        begins[order] = np.cumsum(self.costs[order]) - self.costs[order]
        # A third of the pool is for stretches that are through, which a reader cannot tell from the others.
        span = POOL_BYTES / 1.5
        sizes = np.diff(self.ends, prepend=0)
        return np.argsort(np.repeat(begins, sizes) + random.random(count) * span, kind="stable")


class DecodeCache:
    """The stretches used last, as (places, frames): `(n,)` int and `(n, H, W, C)` uint8; bounded in bytes."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.bytes = most_bytes, 0
        self._held: OrderedDict[int, tuple[np.ndarray, np.ndarray]] = OrderedDict()

    def get(self, number: int) -> tuple[np.ndarray, np.ndarray] | None:
        if number in self._held:
            self._held.move_to_end(number)
        return self._held.get(number)

    def put(self, number: int, places: np.ndarray, frames: np.ndarray) -> None:
        self._held[number] = (places, frames)
        self.bytes += frames.nbytes
        while self.bytes > self.most_bytes and len(self._held) > 1:
            self.bytes -= self._held.popitem(last=False)[1][1].nbytes
