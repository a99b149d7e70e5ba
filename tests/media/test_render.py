"""Composed images, checked pixel by pixel."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vidpred.errors import StorageError
from vidpred.media import render
from vidpred.media.render import Kind, Panel, compose, error_map, stack, to_uint8, training_image, write_png

BLUE, ORANGE, GREEN, GRAY = (0, 114, 178), (230, 159, 0), (0, 158, 115), (120, 120, 120)


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Return the first and last index of each run of True."""
    edges = np.flatnonzero(np.diff(np.r_[0, mask.astype(np.int8), 0]))
    return [(int(first), int(end) - 1) for first, end in zip(edges[::2], edges[1::2], strict=True)]


def interior(image: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """Return the interior of the one border of this color."""
    rows, columns = np.nonzero((image == color).all(-1))
    framed = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    border = runs((framed[framed.shape[0] // 2] == color).all(-1))[0][1] + 1
    assert (framed[:border] == color).all()
    assert (framed[-border:] == color).all()
    assert (framed[:, :border] == color).all()
    assert (framed[:, -border:] == color).all()
    return framed[border:-border, border:-border]


def test_to_uint8_rounds_and_repeats_gray() -> None:
    frames = torch.tensor([0.0, 0.4 / 255, 0.6 / 255, 100.4 / 255, 1.0]).reshape(1, 1, 1, 5)
    assert to_uint8(frames).tolist() == [[[[v] * 3 for v in (0, 0, 1, 100, 255)]]]
    assert to_uint8(torch.tensor([1.5, -1.0]).reshape(1, 1, 2))[0, :, 0].tolist() == [255, 0]
    color = torch.rand(2, 4, 3, 5, 6)
    assert to_uint8(color).shape == (2, 4, 5, 6, 3)
    assert to_uint8(color)[1, 2, 3, 4, 0] == round(float(color[1, 2, 0, 3, 4]) * 255)
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    assert (to_uint8(values.float() / 255)[..., 0] == values[0].numpy()).all()


def test_to_uint8_of_other_types_and_channels_raises() -> None:
    with pytest.raises(TypeError, match="uint8"):
        to_uint8(torch.zeros(3, 4, 4, dtype=torch.uint8))
    with pytest.raises(ValueError, match="channels"):
        to_uint8(torch.zeros(2, 4, 4))


def test_borders_have_the_color_of_their_kind() -> None:
    kinds: list[Kind] = ["context", "truth", "prediction", "error"]
    row = compose([Panel(kind, torch.zeros(3, 50, 40), kind) for kind in kinds], minimum_height=50)
    places = []
    for color in (BLUE, GREEN, ORANGE, GRAY):
        assert (interior(row, color) == 0).all()
        assert interior(row, color).shape == (50, 40, 3)
        places.append(int(np.nonzero((row == color).all(-1))[1].min()))
    assert places == sorted(places)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]), st.integers(1, 130), st.sampled_from(["", "t+3"])
)
def test_enlargement_is_exact_nearest_neighbor(
    height: int, width: int, channels: int, minimum: int, caption: str
) -> None:
    values = torch.randint(0, 100, (channels, height, width), generator=torch.Generator().manual_seed(1))
    row = compose([Panel("a", values / 255, "prediction"), Panel("b", None, "truth")], minimum, caption)
    assert row.shape[0] % 2 == row.shape[1] % 2 == 0
    inner = interior(row, ORANGE)
    factor = next(f for f in range(1, 200) if f * height >= minimum)
    assert inner.shape == (height * factor, width * factor, 3)
    rows, columns = np.arange(height * factor) // factor, np.arange(width * factor) // factor
    expected = values.movedim(0, -1).numpy()[rows[:, None], columns[None]]
    assert (inner == expected).all()
    assert interior(row, GREEN).shape == inner.shape


def test_an_unavailable_image_is_dark_with_text() -> None:
    row = compose([Panel("truth", None, "truth"), Panel("model", torch.ones(3, 64, 64), "prediction")])
    inner = interior(row, GREEN)
    assert (inner[:60] == inner[0, 0]).all()
    assert inner[0, 0].max() < 80
    assert inner[80:112].max() > 200  # the text
    with pytest.raises(ValueError, match="at least one"):
        compose([Panel("truth", None, "truth")])
    with pytest.raises(ValueError, match="one size"):
        compose([Panel("a", torch.ones(3, 8, 8), "truth"), Panel("b", torch.ones(3, 8, 9), "truth")])


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.one_of(st.text(max_size=40), st.integers(1, 400).map(lambda n: ("Wagjy_Äf/" * 50)[:n])),
    st.integers(8, 300),
    st.sampled_from([15, 24, 51]),
)
def test_labels_are_never_clipped(label: str, width: int, size: int) -> None:
    strip = render._text(label, width, size)
    assert strip.shape == (round(1.6 * size), width, 3)
    inked = (strip != render.BACKGROUND).any(-1)
    assert not inked[:, 0].any()
    assert not inked[:, -1].any()
    assert not inked[0].any()
    assert not inked[-1].any()
    if label.strip().isascii() and label.strip().isalnum() and width > 4 * size:
        assert inked.any()


def test_a_long_label_is_shrunk_then_cut() -> None:
    def inked_rows(label: str) -> int:
        return int((render._text(label, 120, 15) != render.BACKGROUND).any((1, 2)).sum())

    assert inked_rows("H" * 13) < inked_rows("HHH")
    assert (render._text("model" * 9 + "A", 120, 15) == render._text("model" * 9 + "B", 120, 15)).all()
    assert (render._text("x" * 500, 120, 15) != render.BACKGROUND).any((0, 2)).sum() > 80  # most of the width is used
    assert (render._text("one\ntwo", 120, 15) == render._text("one two", 120, 15)).all()


def test_text_grows_with_the_images() -> None:
    small, large = (compose([Panel("model", torch.zeros(3, h, h), "truth")], caption="t+3") for h in (200, 1200))
    assert large.shape[0] - 1200 > 3 * (small.shape[0] - 200)


def test_error_map_follows_the_difference() -> None:
    truth = torch.zeros(3, 1, 6)
    prediction = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.5, 1.0]).expand(3, 1, 6)
    image = error_map(prediction, truth)
    assert image.shape == (3, 1, 6)
    brightness = image.sum(0)[0]
    assert (brightness[:5].diff() > 0.1).all()
    assert torch.equal(image[:, :, 4], image[:, :, 5])  # 0.5 and above are equally bright
    assert image[:, 0, 0].max() < 0.05
    one_channel = error_map(torch.tensor([0.6, 0.0, 0.0]).reshape(3, 1, 1), torch.zeros(3, 1, 1))
    assert torch.equal(one_channel[:, 0, 0], image[:, 0, 2])  # the mean over channels
    assert torch.equal(error_map(truth, prediction), image)


def test_error_map_has_the_colors_of_magma() -> None:
    from matplotlib import colormaps

    ramp = torch.linspace(0, 0.5, 256).expand(3, 1, 256)
    expected = torch.from_numpy(colormaps["magma"](np.arange(256))[:, :3]).T.float()
    assert (error_map(ramp, torch.zeros_like(ramp))[:, 0] - expected).abs().max() < 0.02


def test_training_image_has_four_rows_in_order() -> None:
    context, truth = torch.full((6, 2, 3, 32, 32), 0.2), torch.full((6, 1, 3, 32, 32), 0.4)
    prediction = truth + torch.arange(6).reshape(6, 1, 1, 1, 1) * 0.1
    image = training_image(context, truth, prediction)
    rows = runs((image == ORANGE).all(-1).any(1))
    assert len(rows) == 4
    for sample, (first, last) in enumerate(rows):
        line = image[(first + last) // 2]
        starts = {color: runs((line == color).all(-1)) for color in (BLUE, GREEN, ORANGE, GRAY)}
        assert [len(found) for found in starts.values()] == [
            4,
            2,
            2,
            2,
        ]  # two frames of context, one of each other kind
        assert [found[0] for found in starts.values()] == sorted(found[0] for found in starts.values())
        inner = line[starts[ORANGE][0][1] + 1 : starts[ORANGE][1][0]]
        assert (inner == round((0.4 + sample * 0.1) * 255)).all()
        assert inner.shape == (96, 3)


def test_stack_pads_narrower_rows() -> None:
    wide, narrow = np.full((4, 30, 3), 200, np.uint8), np.full((6, 10, 3), 100, np.uint8)
    image = stack([wide, narrow])
    assert image.shape == (10, 30, 3)
    assert (image[:4] == 200).all()
    assert (image[4:, :10] == 100).all()
    assert (image[4:, 10:] == render.BACKGROUND).all()


def test_write_png_is_exact_and_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
    path = tmp_path / "new" / "a.png"
    write_png(path, image)
    write_png(path, image)
    assert (np.asarray(Image.open(path)) == image).all()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    before = path.read_bytes()
    with pytest.raises(StorageError, match=r"No space left.*|a\.png"):
        write_png(path, 255 - image)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["a.png"]
