"""Videos whose frames lack references, repeat times, or end within a live stream: what is used, and what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.data.odd_videos import FRAMES, H264, remux
from tests.video_files import read_number, write_video
from vidpred.data.videos.probe import probe
from vidpred.data.videos.reader import VideoInfo, read_frames, stream_frames

COUNT = 30
RGB: dict[str, Any] = {"pixel_format": "rgb24", "options": {"g": "10"}}
X265: dict[str, Any] = {
    "codec": "libx265", "options": {"x265-params": "keyint=10:bframes=0:log-level=none:pools=1:frame-threads=1"},
}  # fmt: skip
CUT = {  # files that begin between two keyframes, in codecs that decode such frames to garbage
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "10"}},
    "flv.flv": {"codec": "flv", "options": {"g": "10"}},
    "wmv2.wmv": {"codec": "wmv2", "options": {"g": "10"}},
    "qtrle.mov": {"codec": "qtrle", **RGB},
}
DROPPED = {"h264.ts": H264, "h264.mp4": H264, "mpeg2.mpg": {"codec": "mpeg2video", "options": {"g": "10"}}}


def numbers(path: Path, info: VideoInfo) -> list[int]:
    """Return the numbers drawn into the frames, after checking that random access equals sequential decoding."""
    frames = list(stream_frames(path))
    assert len(frames) == info.frames
    for number in np.random.default_rng(0).permutation(info.frames):
        assert np.array_equal(read_frames(path, info, [int(number)])[0], frames[number]), number
    return [read_number(frame) for frame in frames]


def without(tmp_path: Path, name: str, lost: int, how: dict[str, Any]) -> Path:
    source = tmp_path / f"whole-{name}"
    write_video(source, FRAMES[:COUNT], **how)
    remux(source, tmp_path / name, lambda number, packet: None if number == lost else packet)
    return tmp_path / name


@pytest.mark.parametrize("name", CUT)
def test_frames_before_the_first_keyframe_are_lost(tmp_path: Path, name: str) -> None:
    path = without(tmp_path, name, 0, CUT[name])
    info = probe(path)
    assert numbers(path, info) == list(range(10, COUNT))
    assert info.notes == [
        "9 frames damaged or without a reference frame, first after frame 0 (no keyframe at the start)"
    ]


@pytest.mark.parametrize("name", DROPPED)
def test_frames_that_players_drop_at_the_start_are_no_damage(tmp_path: Path, name: str) -> None:
    """A broadcast that was cut anywhere."""
    path = without(tmp_path, name, 0, DROPPED[name])
    info = probe(path)
    found = numbers(path, info)
    assert found == list(range(COUNT - len(found), COUNT))
    assert len(found) >= COUNT // 3
    assert info.notes == []


def test_frames_that_a_decoder_drops_silently_are_a_gap(tmp_path: Path) -> None:
    """HEVC: frames whose reference is missing never appear, and no error tells."""
    path = without(tmp_path, "a.mp4", 14, X265)
    info = probe(path)
    assert numbers(path, info) == [*range(14), *range(20, COUNT)]
    assert info.gaps == [14]
    assert "5 frames damaged or without a reference frame, first after frame 14" in info.notes[0]


def test_repeated_times_never_lead_to_other_frames(tmp_path: Path) -> None:
    """Two joined files whose times begin anew: seeking to the first keyframe finds the second."""
    content = b""
    for part in (FRAMES[:15], FRAMES[15:COUNT]):
        content += write_video(tmp_path / "part.mkv", part).read_bytes()
    path = tmp_path / "joined.mkv"
    path.write_bytes(content)
    info = probe(path)
    assert numbers(path, info) == list(range(COUNT))
    assert (info.pts, info.notes) == ([], [])


def test_keyframes_that_only_packets_flag_serve_seeking(tmp_path: Path) -> None:
    """CineForm, in which every frame is one."""
    try:
        path = write_video(tmp_path / "a.mov", np.pad(FRAMES[:6], ((0, 0), (0, 64), (0, 64), (0, 0))), codec="cfhd",
                           pixel_format="yuv422p10le")  # fmt: skip
    except (av.FFmpegError, ValueError) as error:
        pytest.skip(str(error))
    info = probe(path)
    assert info.keyframes == list(range(6))
    numbers(path, info)


def test_a_damaged_video_of_packed_pixels(tmp_path: Path) -> None:
    """Its frames have padded rows."""
    path = write_video(tmp_path / "a.mov", FRAMES[:COUNT, :, :90], codec="png", **RGB)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    info = probe(path)
    assert info.frames == COUNT - 1
    assert info.notes
    numbers(path, info)


def test_data_next_to_frames_that_pyav_does_not_know(tmp_path: Path) -> None:
    """TIFF frames have EXIF data."""
    path = write_video(tmp_path / "a.mov", FRAMES[:4], codec="tiff", pixel_format="rgb24")
    assert numbers(path, probe(path)) == [0, 1, 2, 3]


@pytest.mark.parametrize("cut", [0, 300])
def test_live_matroska(tmp_path: Path, cut: int) -> None:
    """Its clusters have no length, as browsers and capture programs write them."""
    how: dict[str, Any] = {"options": {"g": "6"}, "container_options": {"live": "1"}}
    path = write_video(tmp_path / "a.mkv", FRAMES[:COUNT], **how)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - cut])
    info = probe(path)
    assert (info.frames == COUNT) == (cut == 0)
    assert [" bytes early" in note for note in info.notes] == [True] * (cut > 0)
    path.write_bytes(content[:2000] + bytes(300) + content[2300:])
    assert "invalid data at byte" in probe(path).notes[0]


def test_a_fragmented_file_without_its_last_frames(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "a.mp4", FRAMES[:COUNT], options={"g": "6"},
        container_options={"movflags": "frag_keyframe+empty_moov+default_base_moof"},
    )  # fmt: skip
    content = path.read_bytes()
    last = content.rindex(b"moof") - 4
    path.write_bytes(content[: last + int.from_bytes(content[last : last + 4], "big") + 3])
    info = probe(path)
    assert info.frames == COUNT - 6
    assert info.notes == ["the file ends 5 bytes early"]
