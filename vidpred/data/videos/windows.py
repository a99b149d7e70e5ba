"""Windows of consecutive frames of video files, and random crops of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from vidpred.data.settings import DataSettings
from vidpred.data.sources import Runs, Source
from vidpred.data.videos import decode_order
from vidpred.data.videos.augment import augment
from vidpred.data.videos.decode_order import DecodeCache, DecodeGroups, group_ends
from vidpred.data.videos.frame_rate import kept_frames
from vidpred.data.videos.reader import VideoInfo, read_frames, scaled_size
from vidpred.errors import DataError

Candidate = TypeVar("Candidate")

PATCH_TRIES = 8  # crops of a window that are tried for enough motion
WINDOW_TRIES = 4  # windows that are tried before the crop with the most motion is used


@dataclass(frozen=True)
class Segment:
    """The resampled frames (`data.video.fps`) of one video with places first <= place < end, of one shot and split."""

    video: VideoInfo
    first: int
    end: int


class VideoWindows(Source):
    """All windows of segments of videos. Consecutive windows start `data.frame_skip` resampled frames apart."""

    def __init__(self, root: Path, segments: Sequence[Segment], settings: DataSettings, offsets: Sequence[int]) -> None:
        self.name, self.context_frames = str(root), settings.context_frames
        self.root, self.settings = root, settings
        self.offsets = [offset * settings.frame_skip for offset in offsets]
        length = self.offsets[-1] + 1
        self.segments = [segment for segment in segments if segment.end - segment.first >= length]
        counts = [(segment.end - segment.first - length) // settings.frame_skip + 1 for segment in self.segments]
        self._runs = Runs(counts)
        videos = {segment.video.path: segment.video for segment in self.segments}
        self._kept_frames = {path: kept_frames(video, settings.video_settings.fps) for path, video in videos.items()}
        total = sum(len(self._kept_frames[path]) * self._frame_bytes(video) for path, video in videos.items())
        self._keep = total <= settings.video_settings.cache_mb * 2**20
        self._kept: dict[str, np.ndarray] = {}
        self._groups: DecodeGroups | None = None
        self._cache: DecodeCache | None = None

    def __len__(self) -> int:
        return len(self._runs)

    def _size(self, video: VideoInfo) -> tuple[int, int]:
        return scaled_size(video.height, video.width, self.settings.size)

    def _frame_bytes(self, video: VideoInfo) -> int:
        height, width = self._size(video)
        return height * width * self.settings.channels

    def locate(self, index: int) -> tuple[VideoInfo, int]:
        """Return the video of a window, and the place of its first frame among the video's resampled frames."""
        run, place = self._runs.locate(index)
        segment = self.segments[run]
        return segment.video, segment.first + place * self.settings.frame_skip

    def clip_name(self, index: int) -> str:
        return self.locate(index)[0].path

    def window(self, index: int, stray: bool = False, speed: int = 1) -> np.ndarray:
        """Return the frames of a window, scaled to data.size but not cropped, `(n, H, W, C)` uint8.

        Args:
            index: The window.
            stray: Whether the window is read outside the order that `order` returned; the other frames of its group
                (see `DecodeGroups`) are then neither decoded nor cached.
            speed: Factor on the distance between frames; reduced to the largest that fits if the shot is too short.
        """
        video, _ = self.locate(index)
        if self._keep:
            return self._all_frames(video)[self._places(index, speed)]
        if speed == 1 and self._cache is not None and self._groups is not None:
            number = self._groups.number(index)
            held = self._cache.get(number)
            if held is None and not stray:
                places = self._group_places(self._groups.windows(number))
                held = (places, self._read(video, places.tolist()))
                self._cache.put(number, *held)
            if held is not None:
                places, frames = held
                return frames[np.searchsorted(places, self._places(index))]
        return self._read(video, self._places(index, speed))

    def time_warped_window(self, index: int, random: np.random.Generator) -> np.ndarray:
        """Return as many frames as `window`, played at changing speeds and in both directions (see `time_warp`).

        The path starts near the window's first frame. If the shot is too short, return the window unchanged.
        """
        video, first = self.locate(index)
        segment = self.segments[self._runs.locate(index)[0]]
        path = time_warp(len(self.offsets), self.settings.augment_settings.max_speed, random) * self.settings.frame_skip
        if path.max() - path.min() >= segment.end - segment.first:
            return self.window(index, stray=True)
        first = int(np.clip(first, segment.first - path.min(), segment.end - 1 - path.max()))
        places, back = np.unique(first + path, return_inverse=True)
        frames = self._all_frames(video)[places] if self._keep else self._read(video, places.tolist())
        return frames[back]

    def _all_frames(self, video: VideoInfo) -> np.ndarray:
        """Return all resampled frames of a video, and keep them in memory."""
        if video.path not in self._kept:
            self._kept[video.path] = self._read(video, range(len(self._kept_frames[video.path])))
        return self._kept[video.path]

    def _read(self, video: VideoInfo, places: Sequence[int]) -> np.ndarray:
        path = self.root / video.path if self.root.is_dir() else self.root
        kept = self._kept_frames[video.path]
        return read_frames(path, video, [kept[place] for place in places], self._size(video), self.settings.channels)

    def _places(self, index: int, speed: int = 1) -> list[int]:
        first = self.locate(index)[1]
        end = self.segments[self._runs.locate(index)[0]].end
        speed = max(1, min(speed, (end - 1 - first) // max(self.offsets[-1], 1)))
        return [first + offset * speed for offset in self.offsets]

    def _group_places(self, windows: range) -> np.ndarray:
        """Return the places of all frames of a group's windows, ascending."""
        firsts = self.locate(windows[0])[1] + np.arange(len(windows)) * self.settings.frame_skip
        return np.unique(firsts[:, None] + np.array(self.offsets))

    def order(self, random: np.random.Generator) -> np.ndarray:
        """Return a permutation of all windows in which frames are decoded once for neighboring windows.

        See `DecodeGroups`. Frames are cached on the assumption that the windows are read in this order.
        """
        if self._groups is None:
            self._groups = self._divide()
            # With less memory than the pool, frames would be evicted before the next window needs them.
            memory = self.settings.video_settings.cache_mb * 2**20
            if not self._keep and memory >= decode_order.POOL_BYTES:
                self._cache = DecodeCache(memory)
        return self._groups.shuffle(random)

    def _divide(self) -> DecodeGroups:
        skip, span = self.settings.frame_skip, self.offsets[-1] + 1
        ends: list[int] = []
        costs: list[int] = []
        before = 0
        for segment, count in zip(self.segments, self._runs.counts, strict=True):
            places = segment.first + np.arange(count) * skip
            numbers = np.asarray(self._kept_frames[segment.video.path])[places]
            size = self._frame_bytes(segment.video)
            most = max(1, (decode_order.POOL_BYTES // decode_order.POOL_PARTS // size - span) // skip)
            begin = 0
            for end in group_ends(numbers, segment.video.keyframes, -(-span // skip), most):
                windows = end - begin
                costs.append(size * min(windows * len(self.offsets), (windows - 1) * skip + span))
                ends.append(before + end)
                begin = end
            before += count
        return DecodeGroups(ends, costs)

    def sample(self, window: int, random: np.random.Generator) -> np.ndarray:
        settings, context = self.settings, self.settings.context_frames
        crop = first_moving(
            self._crops(window, random),
            lambda frames: movement(frames[context - 1], frames[context]),
            least_motion(settings),
        )
        return augment(crop, settings, random)

    def _crops(self, window: int, random: np.random.Generator) -> Iterator[np.ndarray]:
        """Yield random crops of a window, then of other random windows."""
        settings, changes = self.settings, self.settings.augment_settings
        for attempt in range(WINDOW_TRIES):
            speed = int(random.integers(1, changes.max_speed + 1)) if changes.max_speed > 1 else 1
            if changes.time_warp and random.random() < changes.time_warp:
                frames = self.time_warped_window(window, random)
            else:
                frames = self.window(window, stray=attempt > 0, speed=speed)
            for _ in range(1 if settings.crop_size is None else PATCH_TRIES):
                yield self._crop(frames, random, self.locate(window)[0])
            window = int(random.integers(len(self)))

    def _crop(self, frames: np.ndarray, random: np.random.Generator, video: VideoInfo) -> np.ndarray:
        side = self.settings.crop_size
        if side is None:
            return frames
        height, width = frames.shape[1:3]
        if min(height, width) < side:
            raise DataError(f"frames of {width}x{height} are smaller than data.crop_size={side} [{video.path}]")
        top, left = random.integers(height - side + 1), random.integers(width - side + 1)
        return frames[:, top : top + side, left : left + side]


def time_warp(count: int, fastest: int, random: np.random.Generator) -> np.ndarray:
    """Return a random path in time, the places of frames relative to the first: integers `(count,)`, the first 0.

    The velocity is between 1 and `fastest` frames in either direction. After each frame, it changes to a neighboring
    value with a probability that is drawn once per path, at most 0.25.

    Args:
        count: Number of frames.
        fastest: Largest distance between consecutive frames.
        random: Generator of random numbers.
    """
    velocities = [*range(-fastest, 0), *range(1, fastest + 1)]
    chance = random.uniform(0, 0.25)
    place = int(random.integers(len(velocities)))
    path = [0]
    for _ in range(count - 1):
        if random.random() < chance:
            place = int(np.clip(place + random.choice((-1, 1)), 0, len(velocities) - 1))
        path.append(path[-1] + velocities[place])
    return np.array(path)


def first_moving(candidates: Iterable[Candidate], moves: Callable[[Candidate], float], threshold: float) -> Candidate:
    """Return the first candidate with at least `threshold` motion, else the one with the most motion.

    If `threshold` is 0, return the first candidate without measuring its motion.
    """
    best, most = None, -1.0
    for candidate in candidates:
        if threshold == 0:
            return candidate
        moved = moves(candidate)
        if moved >= threshold:
            return candidate
        if moved > most:
            best, most = candidate, moved
    assert best is not None
    return best


def least_motion(settings: DataSettings) -> float:
    """Return `data.min_motion`, which is measured from the last context frame on; 0 without context frames."""
    return settings.min_motion if settings.context_frames else 0.0


def movement(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean squared difference of two uint8 images, with values scaled to [0, 1]."""
    return float(np.mean((first.astype(np.float32) - second.astype(np.float32)) ** 2)) / 255**2
