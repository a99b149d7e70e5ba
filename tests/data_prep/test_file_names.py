"""Which files of a folder are read, and how their clips are named: no file is lost to another one of the same name."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep.base import DividedSet
from data_prep.frames import Frames
from data_prep.hdf5 import Hdf5
from data_prep.numpy import Numpy
from vidpred.data.prepared.pipeline import Summary, check, prepare
from vidpred.errors import DataError

CLIP = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype(np.uint8)


def prepared(preparation: DividedSet, tmp_path: Path) -> Summary:
    return prepare(preparation, tmp_path / "set", workers=1, progress=False)


def test_arrays_of_all_names(tmp_path: Path) -> None:
    source, store = tmp_path / "arrays", tmp_path / "store"
    (source / ".cache").mkdir(parents=True)
    store.mkdir()
    names = ["a.npy", "B.NPY", "-c.npy", "new\nline.npy", "x from 3.npy", "per%d:.npy", os.fsdecode(b"lat\xe9.npy")]
    np.save(store / "linked.npy", CLIP)
    for name in [*names, ".hidden.npy", ".cache/d.npy"]:
        shutil.copy(store / "linked.npy", source / name)
    np.savez(source / "a.npz", frames=CLIP)
    (source / "more").symlink_to(store)
    (source / "loop").symlink_to(source)
    summary = prepared(Numpy(source=source), tmp_path)
    others = {"B", "-c", "new\nline", "x from 3", "per%d:", os.fsdecode(b"lat\xe9"), "more/linked"}
    assert {clip.clip for clip in summary.clips} == {"a.npy", "a.npz", *others}
    assert sum(clip.frames for clip in summary.clips) == 9 * len(CLIP)


def test_keys_of_archives(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"obs/frames": CLIP, "b.c": CLIP})
    for key in ("obs/frames", "b.c"):
        shutil.rmtree(tmp_path / "set", ignore_errors=True)
        assert prepared(Numpy(source=tmp_path / "a.npz", frames_key=key), tmp_path).clips


def test_hdf5_files_of_one_name(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    source = tmp_path / "episodes"
    (source / "sub").mkdir(parents=True)
    for name in ("a.h5", "a.hdf5", "B.H5", "sub/a.h5", ".hidden.h5"):
        with h5py.File(source / name, "w") as file:
            file["images"] = CLIP
    (source / "loop").symlink_to(source)
    names = {clip.clip.split(" [")[0] for clip in prepared(Hdf5(source=source), tmp_path).clips}
    assert names == {"a.h5", "a.hdf5", "B", "sub/a"}


def test_frames_next_to_a_folder_of_the_same_name(tmp_path: Path) -> None:
    source = tmp_path / "clips"
    for folder in (source, source / "clips"):
        folder.mkdir()
        for number, image in enumerate(CLIP):
            cv2.imwrite(str(folder / f"{number}.png"), image)
    names = {clip.clip.split(" [")[0] for clip in prepared(Frames(source=source), tmp_path).clips}
    assert names == {".", "clips"}


def test_clips_that_a_list_leaves_out_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.stack([CLIP] * 4))
    listing = tmp_path / "splits.csv"
    listing.write_text("a/000000,train\na/000001,test\na/000003,validation\n")
    preparation = Numpy(source=tmp_path / "a.npy", splits=listing)
    assert prepared(preparation, tmp_path).skipped == [("a/000002", "not in any split")]
    assert [row["ok"] for row in check(preparation, workers=1, progress=False)] == [True]


@pytest.mark.parametrize("kind", ["npy", "h5"])
def test_a_dark_clip_of_float_bytes_stays_dark(tmp_path: Path, kind: str) -> None:
    """Values of at most 1 are bytes where those of the other clips are."""
    clips = np.stack([CLIP] * 6).astype(np.float32)
    clips[2] = CLIP > 250
    source = tmp_path / f"a.{kind}"
    if kind == "npy":
        np.save(source, clips)
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(source, "w") as file:
            for number, clip in enumerate(clips):
                file[f"data/demo_{number}/images"] = clip
    prepared((Numpy if kind == "npy" else Hdf5)(source=source), tmp_path)
    (file,) = (tmp_path / "set" / "frames").glob("*.u8")
    stored = np.fromfile(file, np.uint8).reshape(6, 8, 3, 16, 16)
    assert sorted(stored.reshape(6, -1).max(1)) == [1, 255, 255, 255, 255, 255]


def test_a_file_of_other_actions_costs_only_itself(tmp_path: Path) -> None:
    source = tmp_path / "arrays"
    source.mkdir()
    for number in range(8):
        np.savez(source / f"{number}.npz", frames=CLIP, actions=np.zeros((8, 3 if number == 5 else 2)))
    summary = prepared(Numpy(source=source), tmp_path)
    assert summary.skipped == [("5.npz", "has 3 values of actions per frame, most have 2")]
    assert (len(summary.clips), summary.manifest.action_size) == (7, 2)
    np.savez(source / "6.npz", frames=CLIP)
    with pytest.raises(DataError, match=r"2 of 8 parts are bad .*5.npz: has 3 .*6.npz: has 0 values of actions"):
        prepared(Numpy(source=source), tmp_path)
