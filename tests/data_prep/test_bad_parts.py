"""One bad image, clip or episode costs only itself; too many are an error."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep.frames import Frames
from data_prep.images import Images
from data_prep.numpy import Numpy
from vidpred.data.prepared.format import FRAMES, ClipEntry
from vidpred.data.prepared.pipeline import check, prepare
from vidpred.errors import DataError


def faces(folder: Path, count: int = 40) -> Path:
    """Write images, one of which is half of a file."""
    random = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        small = random.integers(0, 256, (4, 4, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number:03}.png"), cv2.resize(small, (32, 32)))
    half = folder / "013.png"
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    return folder


@pytest.mark.parametrize("kind", [Images, Frames])
def test_files_that_are_not_read_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: type[Images | Frames]
) -> None:
    root = faces(tmp_path / "faces")
    (root / "photo.heic").write_bytes(b"x")
    kind(source=root).items()
    assert f"files that are no images by their suffix are not read: 1 .heic [{root}]\n" in capsys.readouterr().err


def listed(target: Path) -> list[list[str]]:
    with (target / "left_out.csv").open() as file:
        return list(csv.reader(file))[1:]


def clips_with_nan(file: Path, bad: int = 1) -> Path:
    """Write ten clips of which some have one value that is not a number."""
    frames = np.random.default_rng(0).random((10, 6, 16, 16, 3)).astype(np.float32)
    frames[4 : 4 + bad, 3, 2, 1, 0] = np.nan
    np.save(file, frames)
    return file


def test_a_bad_image_costs_only_itself(tmp_path: Path) -> None:
    source, target = faces(tmp_path / "faces"), tmp_path / "set"
    for written in (3, 0):  # the second time, everything is there
        summary = prepare(Images(source=source), target, workers=1, progress=False)
        assert summary.written == written
        assert sum(clip.frames for clip in summary.clips) == 39
        assert [name for name, _ in listed(target)] == ["013.png"]
    assert "cannot decode the image" in listed(target)[0][1]
    rows = check(Images(source=source), workers=1, progress=False)
    assert all(row["ok"] for row in rows)
    notes = [note for row in rows for note in row.get("notes", [])]
    assert len(notes) == 1
    assert notes[0].startswith("013.png: cannot decode the image")


def test_a_bad_clip_costs_only_itself(tmp_path: Path) -> None:
    source = clips_with_nan(tmp_path / "a.npy")
    summary = prepare(Numpy(source=source), tmp_path / "set", workers=1, progress=False)
    assert len(summary.clips) == 9
    assert [name for name, _ in listed(tmp_path / "set")] == ["a/000004"]
    good = prepare(Numpy(source=clips_with_nan(tmp_path / "b.npy", 0)), tmp_path / "good", workers=1, progress=False)
    kept = [clip for clip in good.clips if not clip.clip.endswith("000004")]
    stored = {clip.clip.split("/")[1]: read(tmp_path / "set", clip) for clip in summary.clips}
    expected = {clip.clip.split("/")[1]: read(tmp_path / "good", clip) for clip in kept}
    assert stored == expected, "what was written of the bad clip is gone"


def read(target: Path, clip: ClipEntry) -> bytes:
    """Return the bytes of a clip."""
    content = (target / FRAMES / f"{clip.file}.u8").read_bytes()
    return content[clip.offset : clip.offset + clip.bytes]


def test_too_many_bad_parts_are_an_error(tmp_path: Path) -> None:
    source = clips_with_nan(tmp_path / "a.npy", 3)
    with pytest.raises(DataError, match=r"3 of 10 parts are bad .*a/000004: .*raise max_bad_fraction"):
        prepare(Numpy(source=source), tmp_path / "set", workers=1, progress=False)
    summary = prepare(Numpy(source=source, max_bad_fraction=0.3), tmp_path / "set", workers=1, progress=False)
    assert len(summary.clips) == 7


def test_a_training_part_that_ends_up_empty_is_an_error(tmp_path: Path) -> None:
    source = faces(tmp_path / "faces", 14)
    for number in range(14):
        (source / f"{number:03}.png").write_bytes(b"broken")
    splits = tmp_path / "splits.csv"
    cv2.imwrite(str(source / "000.png"), np.zeros((32, 32, 3), np.uint8))
    splits.write_text("000.png,test\n" + "".join(f"{number:03}.png,train\n" for number in range(1, 14)))
    with pytest.raises(DataError, match="no training image is left"):
        prepare(Images(source=source, splits=splits, max_bad_fraction=1), tmp_path / "set", workers=1, progress=False)
