"""Data that has to be prepared first is refused with the command that prepares it, and that command works."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.set_files import lerobot_set, prepare
from tests.video_files import numbered_frames, write_video
from vidpred.data.build import build_source, record_splits
from vidpred.data.settings import DataSettings
from vidpred.data.videos.containers import explain_bytes
from vidpred.errors import DataError


def npz(folder: Path) -> Path:
    np.savez(folder / "episodes.npz", frames=np.zeros((6, 9, 16, 16, 3), np.uint8), actions=np.zeros((6, 9, 2)))
    return folder / "episodes.npz"


def arrays(folder: Path) -> Path:
    (folder / "my arrays").mkdir()
    np.save(folder / "my arrays" / "a.npy", np.zeros((6, 9, 16, 16, 3), np.uint8))
    return folder / "my arrays"


def lerobot(folder: Path) -> Path:
    return lerobot_set(folder / "robot")


@pytest.mark.slow
@pytest.mark.parametrize("build", [npz, arrays, lerobot])
def test_the_message_has_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: Callable[[Path], Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = DataSettings(root=str(build(tmp_path)))
    for use in (lambda: record_splits(settings), lambda: build_source(settings, "train", range(5))):
        with pytest.raises(DataError, match="not videos or a prepared data set") as error:
            use()
    found = re.search(r"run (vidpred prepare .*), then set data.root=(\S+)$", str(error.value))
    assert found is not None
    prepare(*shlex.split(found[1])[2:], "--workers", 1)
    trained = DataSettings.model_validate(
        {"root": found[2], "context_frames": 2, "crop_size": None, "augment": {"horizontal_flip": False}}
    )
    assert len(build_source(trained, "train", range(3)))


def test_images_and_videos_are_not_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", images=np.zeros((40, 32, 32), np.uint8))
    images = DataSettings(root=str(tmp_path / "images.npz"), context_frames=0, channels=1)
    assert len(build_source(images, "train", range(1))) > 0
    for number in range(5):
        write_video(tmp_path / f"{number}.mp4", numbered_frames(12, 32, 32, number))
    assert len(build_source(DataSettings(root=str(tmp_path)), "train", range(5))) > 0, "arrays next to videos"


def test_arrays_as_videos_name_the_verb(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 16, 16)))
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    for file, name in ((npz(tmp_path), "numpy"), (tmp_path / "a.npy", "numpy"), (tmp_path / "a.h5", "hdf5")):
        with pytest.raises(DataError, match=f"not a video; see vidpred prepare {name} "):
            explain_bytes(file)
