"""One image that cannot be read costs only itself; too many are an error, and a second start decodes nothing again."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from vidpred.data.build import build_source, record_splits
from vidpred.data.images import index
from vidpred.data.settings import DataSettings
from vidpred.errors import DataError


def faces(folder: Path, bad: int = 1, count: int = 40) -> Path:
    """Write images of two classes, of which the first `bad` are half of a file."""
    random = np.random.default_rng(0)
    for number in range(count):
        file = folder / ("cat", "dog")[number % 2] / f"{number:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), cv2.resize(random.integers(0, 256, (4, 4, 3)).astype(np.uint8), (32, 32)))
        if number < bad:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return folder


def settings_for(root: Path, **video: object) -> DataSettings:
    return DataSettings.model_validate(
        {"root": str(root), "context_frames": 0, "crop_size": 32, "video": video or None}
    )


def test_a_bad_image_costs_only_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = faces(tmp_path / "faces")
    chosen = settings_for(root)
    sources = {split: build_source(chosen, split, [0], progress=True) for split in ("train", "validation", "test")}
    assert sum(map(len, sources.values())) == 39
    assert all(source.classes == ["cat", "dog"] for source in sources.values())
    for source in sources.values():
        assert source.draw(range(len(source)), range(len(source)), 0).future.shape[0] == len(source)
    warning = capsys.readouterr().err
    assert "1 of 40 images cannot be read and are skipped: cat/000.png: cannot decode the image" in warning
    with (root / ".vidpred" / "bad_images.csv").open() as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows] == ["path", "cat/000.png"]
    assert "truncated" in rows[1][1]
    recorded = record_splits(chosen)
    assert recorded is not None
    assert len(recorded.parts) == 39


def test_the_labels_belong_to_the_images_that_are_left(tmp_path: Path) -> None:
    source = build_source(settings_for(faces(tmp_path / "faces", bad=3)), "train", [0])
    labels = source.draw(range(len(source)), range(len(source)), 0).labels
    assert labels is not None
    assert [source.clip_name(i).split("/")[0] for i in range(len(source))] == [("cat", "dog")[n] for n in labels]


def test_files_that_are_not_read_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A part of the photographs of a phone is often in another format."""
    root = faces(tmp_path / "faces", bad=0)
    for name in ("a.heic", "b.HEIC", "c.mp4", "Thumbs.db", "notes.txt", ".hidden.heic"):
        (root / "cat" / name).write_bytes(b"x")
    build_source(settings_for(root), "train", [0], progress=True)
    expected = f"files that are no images by their suffix are not read: 2 .heic, 1 .mp4 [{root}]\n"
    assert expected in capsys.readouterr().err


def test_bad_images_can_be_errors(tmp_path: Path) -> None:
    root = faces(tmp_path / "faces")
    with pytest.raises(DataError, match=r"1 of 40 images cannot be read .*cat/000.png: .*on_bad_video=skip"):
        build_source(settings_for(root, on_bad_video="error"), "train", [0])


def test_too_many_bad_images_are_an_error(tmp_path: Path) -> None:
    root = faces(tmp_path / "faces", bad=9)
    with pytest.raises(DataError, match=r"9 of 40 images cannot be read .*; and 6 more; .*data.max_bad_fraction"):
        build_source(settings_for(root), "train", [0])
    more = settings_for(root).model_copy(update={"max_bad_fraction": 0.25})
    assert len(build_source(more, "train", [0])) > 15


def test_only_new_and_changed_images_are_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = faces(tmp_path / "faces")
    build_source(settings_for(root), "train", [0])
    decoded: list[str] = []
    original = index.check_image
    monkeypatch.setattr(
        index, "check_image", lambda path, *a, **k: (decoded.append(path.name), original(path, *a, **k))[1]
    )
    build_source(settings_for(root), "train", [0])
    assert decoded == [], "not even the bad one"
    good = (root / "cat" / "002.png").read_bytes()
    (root / "cat" / "000.png").write_bytes(good)
    (root / "cat" / "new.png").write_bytes(good)
    build_source(settings_for(root), "train", [0])
    assert sorted(decoded) == ["000.png", "new.png"]
    assert not (root / ".vidpred" / "bad_images.csv").exists()
    decoded.clear()
    build_source(settings_for(root, white_level=255), "train", [0])
    assert len(decoded) == 41, "another white level decodes other values"


def test_images_of_twelve_bits_need_a_white_level(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 4080, 32).astype(np.uint16), (32, 1))
    for number in range(10):
        cv2.imwrite(str(tmp_path / f"{number}.png"), ramp)
    with pytest.raises(DataError, match=r"16-bit samples, none above 4080 .*white_level .* to 4095"):
        build_source(settings_for(tmp_path), "train", [0])
    image = build_source(settings_for(tmp_path, white_level=4095), "train", [0]).draw([0], [0], 0).future
    assert image.max() == 254
    cv2.imwrite(str(tmp_path / "bright.png"), ramp * 16)  # one bright image shows that the others are dark
    dark = build_source(settings_for(tmp_path), "train", [0])
    assert dark.draw(range(len(dark)), range(len(dark)), 0).future.amin((1, 2, 3, 4)).max() == 0


def test_a_folder_of_frames_points_to_prepare(tmp_path: Path) -> None:
    root = faces(tmp_path / "faces", bad=0)
    with pytest.raises(DataError, match=r"a folder of images, not videos .*; run vidpred prepare frames .*faces data/"):
        build_source(DataSettings(root=str(root)), "train", [0, 1])
