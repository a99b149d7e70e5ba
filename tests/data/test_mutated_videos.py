"""Videos with random damage: no crash, no hang, and what is called good equals FFmpeg's own decoding."""

from __future__ import annotations

import resource
import time
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

from tests.data.odd_videos import FASTSTART, FLV, GIF, H264, MPEG2, MPEG4, VP9, whole
from vidpred.data.videos.limits import Limits
from vidpred.data.videos.probe import probe
from vidpred.data.videos.reader import Reader, read_frames, stream_frames
from vidpred.errors import VidpredError

MUTATIONS = 304
LIMITS = Limits(pixels=2**20)  # a flipped bit may make frames of any size, and decoders keep up to 16 of them
SECONDS, MEMORY_KB = 20, 400_000
TS = H264 | {"container_options": {"pat_period": "1000", "sdt_period": "1000"}}  # not by the clock
FILES = {
    "a.mp4": FASTSTART, "a.mkv": H264, "a.ts": TS, "a.avi": MPEG4, "a.mpg": MPEG2, "a.webm": VP9, "a.gif": GIF,
    "a.flv": FLV,
}  # fmt: skip


def flipped(content: bytearray, random: np.random.Generator, end: int | None = None, count: int = 30) -> bytes:
    """Flip single bits before `end`."""
    for place in random.integers(0, min(len(content), end or len(content)), count):
        content[place] ^= 1 << int(random.integers(8))
    return bytes(content)


def mutated(kind: int, content: bytearray, random: np.random.Generator) -> bytes:
    """Flip bits, cut off the end, overwrite the header, or splice one part into another."""
    if kind == 0:
        return flipped(content, random)
    if kind == 1:
        return bytes(content[: int(random.integers(1, len(content)))])
    if kind == 2:
        return flipped(content, random, end=600, count=12)
    place, part = (int(random.integers(len(content))) for _ in range(2))
    return bytes(content[:place] + content[part : part + 2000] + content[place:])


def ffmpeg_frames(path: Path) -> list[np.ndarray]:
    """Decode in order with FFmpeg alone, going on after errors as a player does."""
    frames = []
    with av.open(str(path), metadata_errors="ignore") as container:
        for packet in container.demux(container.streams.best("video")):
            try:
                frames += [frame.to_ndarray(format="rgb24") for frame in packet.decode()]
            except av.FFmpegError:
                continue
    return frames


def differing(path: Path, random: np.random.Generator) -> str:
    """Return "bad", "usable" or "good", or what differs between scan, ordered and random access, and FFmpeg."""
    try:
        info = probe(path, limits=LIMITS)
    except VidpredError:
        return "bad"
    frames = list(stream_frames(path))
    if len(frames) != info.frames:
        return f"{info.frames} frames in the scan, {len(frames)} in order"
    for number in random.permutation(info.frames)[:4]:
        if not np.array_equal(read_frames(path, info, [int(number)])[0], frames[number]):
            return f"frame {number} differs when read alone"
    if info.notes:
        return "usable"
    expected = ffmpeg_frames(path)
    if len(expected) != len(frames):
        return f"FFmpeg decodes {len(expected)} frames, not {len(frames)}"
    if (info.rotation, info.mirrored) == (0, False):  # and frames of another size are scaled to that of the first
        same_size = [number for number in range(len(frames)) if expected[number].shape == frames[0].shape]
        unequal = [number for number in same_size if not np.array_equal(expected[number], frames[number])]
        if unequal:
            return f"FFmpeg's frames {unequal[:5]} differ"
    return "good"


@pytest.mark.slow
def test_mutated_videos(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    originals = {name: whole(tmp_path / name, **how) for name, how in FILES.items()}
    outcomes: Counter[str] = Counter()
    found = {}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for index in range(MUTATIONS):
        name = list(FILES)[index % len(FILES)]
        path = tmp_path / f"m{index}{name[1:]}"
        path.write_bytes(mutated(index // len(FILES) % 4, bytearray(originals[name]), random))
        start = time.process_time()
        outcome = differing(path, random)
        assert time.process_time() - start < SECONDS, path
        path.unlink()
        outcomes[outcome] += 1
        if outcome not in ("good", "usable", "bad"):
            found[path.name] = outcome
    assert not found
    assert min(outcomes[outcome] for outcome in ("good", "usable", "bad")) > MUTATIONS / 40, outcomes
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < MEMORY_KB


@pytest.mark.slow
def test_every_keyframe_of_a_damaged_video_is_tried_by_a_seek(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also near the start, where a reader would rather decode on: what a seek there yields may differ."""
    path = tmp_path / "a.mp4"
    content = whole(path, options={"g": "1"}, container_options={"movflags": "faststart"})
    path.write_bytes(content[: len(content) * 2 // 3])
    tried = []
    seek = Reader._seek
    monkeypatch.setattr(Reader, "_seek", lambda reader, start: (tried.append(start), seek(reader, start))[1])
    info = probe(path)
    assert info.notes
    assert set(tried) == set(info.keyframes[1:]) == set(range(1, info.frames))
