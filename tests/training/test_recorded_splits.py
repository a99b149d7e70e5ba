"""The splits of a run stay what they were: files that come or go never turn training data into test data."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.video_files import numbered_frames, write_video
from vidpred.config import load_config
from vidpred.data.build import build_source
from vidpred.data.recorded_splits import RecordedSplits, with_recorded_splits, with_root
from vidpred.data.settings import DataSettings
from vidpred.data.videos.windows import VideoWindows
from vidpred.errors import DataError
from vidpred.inference.predictor import Predictor
from vidpred.run import train

TINY = {
    "data.crop_size": None, "data.context_frames": 2, "data.augment.horizontal_flip": False, "model.scales": 1,
    "model.feature_maps": [[4]], "model.kernel_sizes": [[3, 3]], "training.steps": 2, "training.batch_size": 2,
    "training.device": "cpu", "checkpoint.every": 1, "data.num_workers": 0,
}  # fmt: skip


def used(run: Path, split: str) -> set[tuple[str, int]]:
    """Return (file, frame) of everything in a split, as `evaluate` finds it."""
    data = Predictor.load(run).data
    source = build_source(data, split, range(3))
    assert isinstance(source, VideoWindows)
    return {(segment.video.path, number) for segment in source.segments for number in range(segment.first, segment.end)}


def start(folder: Path, count: int) -> tuple[Path, Path]:
    """Train on a folder of `count` videos; return the run and the folder."""
    for number in range(count):
        write_video(folder / "clips" / f"{number}.mp4", numbered_frames(60, 32, 32))
    config = load_config(None, {**TINY, "data.root": str(folder / "clips"), "run": str(folder / "run")})
    train(config)
    return folder / "run", folder / "clips"


@pytest.mark.slow
@pytest.mark.parametrize("count", [4, 8])
def test_new_files_belong_to_no_split(tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int) -> None:
    """With a fifth video, four would be divided by file instead of by time: what was trained on would be tested on."""
    run, clips = start(tmp_path, count)
    before = {split: used(run, split) for split in ("train", "validation", "test")}
    assert before["train"].isdisjoint(before["test"] | before["validation"])
    for number in range(count, count + 12):
        shutil.copy(clips / "0.mp4", clips / f"{number}.mp4")
    assert {split: used(run, split) for split in before} == before
    capsys.readouterr()
    source = build_source(Predictor.load(run).data, "test", range(3), progress=True)
    assert "files that are new and belong to no split of the run are not used" in capsys.readouterr().err
    assert len(source)


@pytest.mark.slow
def test_resuming_trains_on_the_same_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, clips = start(tmp_path, 6)
    tested = used(run, "test")
    gone = next(iter(tested))[0]
    (clips / gone).unlink()
    write_video(clips / "new.mp4", numbered_frames(60, 32, 32))
    capsys.readouterr()
    train(load_config(None, {**TINY, "data.root": str(clips), "run": str(run), "training.steps": 4}))
    errors = capsys.readouterr().err
    assert f"files that are gone or unreadable since the run began [{clips}]: {gone}" in errors
    assert f"files that are new and belong to no split of the run are not used [{clips}]: new.mp4" in errors
    recorded = RecordedSplits.read(run / "splits.csv")
    assert recorded is not None
    assert "new.mp4" not in recorded.sizes
    assert gone in recorded.sizes


@pytest.mark.slow
def test_changed_files_keep_their_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, clips = start(tmp_path, 6)
    name = next(iter(used(run, "train")))[0]
    write_video(clips / name, numbered_frames(30, 32, 32))
    assert name in {path for path, _ in used(run, "train")}
    build_source(Predictor.load(run).data, "train", range(3), progress=True)
    assert f"files that are changed since the run began keep their split [{clips}]: {name}" in capsys.readouterr().err


@pytest.mark.slow
def test_other_data_does_not_use_the_splits_of_the_run(tmp_path: Path) -> None:
    run, clips = start(tmp_path, 6)
    data = Predictor.load(run).data
    assert with_root(data, str(clips)).split_file == data.split_file == str(run / "splits.csv")
    assert with_root(data, str(tmp_path)).split_file is None


@pytest.mark.slow
def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    run, _ = start(tmp_path, 4)
    text = (run / "splits.csv").read_text()
    (run / "splits.csv").write_text(text.replace(",train,", ",trian,"))
    with pytest.raises(DataError, match=r"a split is none of train, validation, test \[.*splits.csv\]"):
        used(run, "test")
    (run / "splits.csv").write_text(text + "only,three,columns\n")
    with pytest.raises(DataError, match="cannot read the splits of the run"):
        used(run, "test")


def test_the_same_command_resumes(tmp_path: Path) -> None:
    """Settings that the splits were made by count as used, also when the splits are read back."""
    for number in range(4):
        write_video(tmp_path / "clips" / f"{number}.mp4", numbered_frames(60, 32, 32))
    words = [f"{key}={'null' if value is None else str(value).lower()}" for key, value in TINY.items()]
    words += [
        f"data.root={tmp_path}/clips",
        f"run={tmp_path}/run",
        "data.split=time",
        "data.split_fractions=[0.6,0.2,0.2]",
    ]
    train(load_config(None, words))
    assert train(load_config(None, [*words, "training.steps=3"])).first_step == 2


def test_a_list_that_a_user_wrote_is_none_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "splits.csv").write_text("path,split\na.mp4,train\n")
    assert with_recorded_splits(DataSettings(), tmp_path).split_file is None
    assert RecordedSplits.read(tmp_path / "splits.csv") is None
