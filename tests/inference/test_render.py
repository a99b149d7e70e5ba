"""Pictures and videos: frames in their colours, labels that fit, files whole or not at all."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vidpred.errors import ConfigError, StorageError
from vidpred.inference.render import (
    BACKGROUND, BORDER, COLOURS, GAP, LABEL_HEIGHT, Panel, _text, compose, error_map, stack, to_uint8, training_picture,
)  # fmt: skip
from vidpred.inference.writer import STRIP_PICTURES, write_video


def test_bytes_are_rounded() -> None:
    values = torch.tensor([0.0, 0.5, 1.0, 1.5, -1.0, 0.499 / 255]).view(1, 1, 6)
    assert to_uint8(values)[0, :, 0].tolist() == [0, 128, 255, 255, 0, 0]
    assert to_uint8(torch.rand(2, 5, 3, 4, 6)).shape == (2, 5, 4, 6, 3)


def test_borders_have_their_kinds_colour_and_pictures_are_enlarged_exactly() -> None:
    pictures = torch.rand(4, 3, 8, 10)
    kinds = ["context", "truth", "prediction", "error"]
    row = compose([Panel("x", p, k) for p, k in zip(pictures, kinds, strict=True)], minimum_height=20)
    width = 30 + 2 * BORDER
    for index, kind in enumerate(kinds):
        left = GAP + index * (width + GAP)
        panel = row[LABEL_HEIGHT : LABEL_HEIGHT + 24 + 2 * BORDER, left : left + width]
        for edge in (panel[0], panel[-1], panel[:, 0], panel[:, -1], panel[BORDER - 1]):
            assert (edge == COLOURS[kind]).all(), kind  # type: ignore[index]
        inner = panel[BORDER:-BORDER, BORDER:-BORDER]
        assert np.array_equal(inner[::3, ::3], to_uint8(pictures[index]))
        assert np.array_equal(inner[1::3, 2::3], to_uint8(pictures[index]))


def test_colours_differ() -> None:
    assert len(set(COLOURS.values())) == 4


def test_sizes_are_even_and_must_agree() -> None:
    for caption in ("", "below"):
        assert [side % 2 for side in compose([Panel("x", torch.rand(1, 33, 35), "truth")], 1, caption).shape[:2]] == [0, 0]
    with pytest.raises(ValueError, match="one size"):
        compose([Panel("a", torch.rand(3, 4, 4), "truth"), Panel("b", torch.rand(3, 5, 4), "truth")])


def test_the_unknown_is_said_to_be_so() -> None:
    known = Panel("a", torch.ones(3, 40, 100), "prediction")
    row = compose([known, Panel("b", None, "truth")], minimum_height=1)
    right = row[:, row.shape[1] // 2 :]
    assert (right == 235).any(), "no words on the unknown panel"
    assert not (right[LABEL_HEIGHT + BORDER + 2] == 255).any()


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60), st.integers(8, 200))
def test_labels_never_touch_the_edges(text: str, width: int) -> None:
    strip = _text(text, width)
    assert strip.shape == (LABEL_HEIGHT, width, 3)
    for edge in (strip[0], strip[-1]):
        assert (edge == BACKGROUND).all()


def test_error_map_is_monotonous() -> None:
    levels = torch.linspace(0, 0.5, 20).view(1, 1, 20).expand(3, 2, 20)
    brightness = error_map(levels, torch.zeros_like(levels)).mean(0)[0]
    assert bool((brightness.diff() > 0).all())
    assert float(error_map(levels, levels).max()) < 0.05
    assert torch.equal(error_map(levels, levels * 0), error_map(levels * 0, levels))


def test_training_picture_has_a_row_a_sample() -> None:
    batch = torch.rand(6, 2, 3, 16, 16), torch.rand(6, 1, 3, 16, 16), torch.rand(6, 1, 3, 16, 16)
    one = training_picture(*(part[:1] for part in batch))
    assert training_picture(*batch).shape == (4 * one.shape[0], one.shape[1], 3)
    assert stack([one, one[:, :50]]).shape == (2 * one.shape[0], one.shape[1], 3)


def smooth(count: int, height: int = 64, width: int = 96) -> list[np.ndarray]:
    rows, columns = np.mgrid[:height, :width]
    return [
        np.stack([(rows * 2 + k) % 200, columns + k, 100 + 0 * rows], -1).clip(0, 255).astype(np.uint8)
        for k in range(count)
    ]


def test_mp4_plays_in_a_browser_and_looks_like_its_pictures(tmp_path: Path) -> None:
    pictures = smooth(9)
    assert write_video(tmp_path / "a.mp4", pictures, 7.5) == 9
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate) == 7.5
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) == 9
    assert np.abs(np.stack(frames).astype(float) - np.stack(pictures)).mean() < 4
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat"), "a browser should not have to load all of it first"


def test_odd_pictures_are_padded(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", smooth(2, 33, 47), 5)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert (container.streams.video[0].height, container.streams.video[0].width) == (34, 48)


def test_gif_and_strip(tmp_path: Path) -> None:
    pictures = smooth(30)
    write_video(tmp_path / "a.gif", pictures, 5)
    with Image.open(tmp_path / "a.gif") as gif:
        assert (gif.n_frames, gif.info["duration"], gif.info["loop"]) == (30, 200, 0)
    assert write_video(tmp_path / "a.png", pictures, 5) == 30
    with Image.open(tmp_path / "a.png") as strip:
        shown = np.asarray(strip).reshape(-1, 64, 96, 3)
    assert len(shown) <= STRIP_PICTURES
    assert np.array_equal(shown, np.stack(pictures[::4]))


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".png"])
def test_whole_or_not_at_all(tmp_path: Path, suffix: str) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from smooth(3)
        raise RuntimeError("in the middle")

    output = tmp_path / f"a{suffix}"
    with pytest.raises(RuntimeError, match="in the middle"):
        write_video(output, broken(), 5)
    with pytest.raises(ValueError, match="no picture"):
        write_video(output, [], 5)
    assert list(tmp_path.iterdir()) == []
    output.write_text("precious")
    with pytest.raises(StorageError, match="add --overwrite"):
        write_video(output, broken(), 5)
    with pytest.raises(RuntimeError):
        write_video(output, broken(), 5, overwrite=True)
    assert output.read_text() == "precious"


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write here"):
        write_video(tmp_path / "file" / "a.mp4", smooth(1), 5)
    with pytest.raises(ConfigError, match=r"ends in none of \.mp4, \.gif, \.png"):
        write_video(tmp_path / "a.avi", smooth(1), 5)


def test_pictures_are_not_kept(tmp_path: Path) -> None:
    """Streaming: whatever the length, few pictures are alive at a time."""
    alive: list[weakref.ref] = []
    most = 0

    def pictures() -> Iterator[np.ndarray]:
        nonlocal most
        for _ in range(200):
            picture = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
            alive.append(weakref.ref(picture))
            gc.collect(0)
            most = max(most, sum(reference() is not None for reference in alive))
            yield picture
            del picture

    write_video(tmp_path / "a.mp4", pictures(), 5)
    assert most <= 4
