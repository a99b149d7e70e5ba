"""The splits of a run stay what they were: files that come or go never turn training data into test data."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_prep.numpy import Numpy
from tests.video_files import numbered_frames, write_video
from vidpred.config import load_config
from vidpred.data.build import build_source, record_splits
from vidpred.data.prepared.pipeline import prepare
from vidpred.data.recorded_splits import RecordedSplits, with_recorded_splits, with_root
from vidpred.data.settings import DataSettings
from vidpred.data.splits import Part
from vidpred.data.videos.windows import VideoWindows
from vidpred.errors import ConfigError, DataError
from vidpred.evaluation.evaluate import EvaluationRequest, check_request
from vidpred.inference.load_models import as_predictors
from vidpred.inference.predictor import Predictor
from vidpred.run import train

TINY = {
    "data.crop_size": None, "data.context_frames": 2, "data.augment.horizontal_flip": False, "model.scales": 1,
    "model.feature_maps": [[4]], "model.kernel_sizes": [[3, 3]], "training.steps": 2, "training.batch_size": 2,
    "training.device": "cpu", "checkpoint.every": 1, "data.num_workers": 0,
}  # fmt: skip


@pytest.mark.parametrize("name", ["a\rb.mp4", "a\nb.mp4", 'a"b,c.mp4', "a\u2028b.mp4", " a.mp4", "lat\udce9.mp4"])
def test_names_of_any_kind(tmp_path: Path, name: str) -> None:
    splits = RecordedSplits([Part(name, "train", 0, 5), Part("b.mp4", "test", 2, 9)], {name: 3}, {name: "ab"})
    splits.write(tmp_path / "splits.csv")
    found = RecordedSplits.read(tmp_path / "splits.csv")
    assert found is not None
    assert sorted(found.parts, key=lambda part: part.split) == splits.parts[::-1]
    assert (found.sizes[name], found.fingerprints[name]) == (3, "ab")


def used(run: Path, split: str) -> set[tuple[str, int]]:
    """Return (file, frame) of everything in a split, as `evaluate` finds it."""
    data = Predictor.load(run).data
    source = build_source(data, split, range(3))
    assert isinstance(source, VideoWindows)
    return {(segment.video.path, number) for segment in source.segments for number in range(segment.first, segment.end)}


def trained(folder: Path, count: int = 6) -> Path:
    """Train on videos of different content; return the run."""
    for number in range(count):
        write_video(folder / "clips" / f"{number}.mp4", numbered_frames(60, 32, 32, first=60 * number))
    train(load_config(None, {**TINY, "data.root": str(folder / "clips"), "run": str(folder / "run")}))
    return folder / "run"


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
def test_changed_files_are_not_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They could hold what is tested."""
    run, clips = start(tmp_path, 6)
    changed = {split: min(path for path, _ in used(run, split)) for split in ("train", "test")}
    for place, name in enumerate(changed.values(), 1):
        write_video(clips / name, numbered_frames(30, 32, 32, first=60 * place))
    assert changed["train"] not in {path for path, _ in used(run, "train")}
    assert changed["test"] in {path for path, _ in used(run, "test")}
    build_source(Predictor.load(run).data, "train", range(3), progress=True)
    errors = capsys.readouterr().err
    what = "are not trained on, nor tested on its training data"
    assert f"files that are changed since the run began {what} [{clips}]: {changed['train']}\n" in errors
    assert f"files that are changed since the run began keep their split [{clips}]: {changed['test']}\n" in errors


@pytest.mark.slow
@pytest.mark.parametrize("count", [4, 7])
def test_files_that_are_numbered_anew_are_not_mixed_up(tmp_path: Path, count: int) -> None:
    """Without its first file, every file has the name of another one."""
    run, clips = trained(tmp_path, count), tmp_path / "clips"

    def content(split: str) -> set[tuple[bytes, int]]:
        return {((clips / path).read_bytes(), number) for path, number in used(run, split)}

    held_out = content("test") | content("validation")
    (clips / "0.mp4").unlink()
    write_video(clips / "1.mp4", numbered_frames(90, 32, 32, first=60))
    for number in range(1, count):
        (clips / f"{number}.mp4").rename(clips / f"{number - 1}.mp4")
    write_video(clips / f"{count}.mp4", numbered_frames(60, 32, 32))
    with pytest.raises(DataError, match=r"all files of the train split of the run are gone, or changed since it began"):
        content("train")
    for number in range(count - 1, 1, -1):
        (clips / f"{number - 1}.mp4").rename(clips / f"{number}.mp4")
    assert content("train").isdisjoint(held_out)
    assert len(content("train"))


@pytest.mark.slow
def test_a_run_without_its_splits_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(tmp_path, 4)
    (run / "splits.csv").unlink()
    message = r"run stores no splits (splits.csv), so its data are divided anew"
    capsys.readouterr()
    check_request([Predictor.load(run)], EvaluationRequest())
    assert message in capsys.readouterr().err
    check_request([Predictor.load(run)], EvaluationRequest(root=str(tmp_path / "clips")))
    assert message not in capsys.readouterr().err
    check_request([Predictor.load("pretrained"), Predictor.load(run)], EvaluationRequest(size=32))
    assert "run stores" not in capsys.readouterr().err, "the data of the first are measured"
    check_request(as_predictors(run, str(tmp_path / "other")), EvaluationRequest())
    assert message not in capsys.readouterr().err, "other data than the run's"
    words = {**TINY, "data.root": str(tmp_path / "clips"), "run": str(run), "training.steps": 3}
    train(load_config(None, words))
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_frame_rate_of_stored_splits_cannot_change(tmp_path: Path) -> None:
    """The ranges of a video that is divided by time would be other frames, some of them trained on."""
    clips, run = tmp_path / "clips", tmp_path / "run"
    write_video(clips / "a.mp4", numbered_frames(60, 32, 32))
    train(load_config(None, {**TINY, "data.root": str(clips), "run": str(run), "data.video.fps": 12.5}))
    with pytest.raises(ConfigError, match=r"count frames at another rate \[data.video.fps=None, the run's is 12.5\]"):
        as_predictors(run, {"video": {"fps": None}})
    assert as_predictors(run, {"video": {"fps": 12.5}})[0].data.video_settings.fps == 12.5
    other = as_predictors(run, {"root": str(tmp_path), "video": {"fps": None}})
    assert other[0].data.split_file is None


@pytest.mark.slow
def test_test_data_that_the_first_weights_were_trained_on_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(tmp_path, 4)
    write_video(tmp_path / "clips" / "4.mp4", numbered_frames(60, 32, 32, first=240))
    words = {**TINY, "data.root": str(tmp_path / "clips"), "run": str(tmp_path / "other")}
    capsys.readouterr()
    train(load_config(None, {**words, "training.init_from": str(run)}))
    assert f"files that are in validation or test (1) and in the training data of {run} [" in capsys.readouterr().err


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_what_was_trained_on_is_never_tested_by_another_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A test file that was overwritten by a training file, and a copy of the folder, where no splits are stored."""
    run = trained(tmp_path, 12)
    clips = tmp_path / "clips"
    files = {split: sorted({path for path, _ in used(run, split)}) for split in ("train", "validation", "test")}
    train_name, test_name, hidden = files["train"][0], files["test"][0], [*files["validation"], *files["test"]]
    shutil.copytree(clips, tmp_path / "copy", ignore=lambda *_: [*hidden, *files["train"][4:], ".vidpred"])
    predictor, request = Predictor.load(run), EvaluationRequest(root=str(tmp_path / "copy"))
    with pytest.raises(ConfigError, match=r"run was trained on \d clips? of the test split \[.*copy\]: .*.mp4"):
        check_request([predictor], request)
    check_request([predictor], replace(request, split="train"))
    check_request([predictor], replace(request, root=str(clips)))
    shutil.copy(clips / train_name, clips / test_name)
    capsys.readouterr()
    build_source(predictor.data, "train", range(3), progress=True)
    assert f"nor tested on its training data [{clips}]: {test_name}" in capsys.readouterr().err
    assert {path for path, _ in used(run, "test")} == {*files["test"]} - {test_name}


@pytest.mark.slow
def test_a_set_that_is_prepared_again_keeps_the_splits_of_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """More clips move others to another split: what was trained on would be tested on."""
    random = np.random.default_rng(0)
    clips = random.integers(0, 256, (24, 12, 16, 16, 3)).astype(np.uint8)
    source, target, run = tmp_path / "clips", tmp_path / "set", tmp_path / "run"
    source.mkdir()

    def prepared(numbers: range) -> dict[str, str]:
        for number in numbers:
            np.save(source / f"{number}.npy", clips[number])
        found = prepare(Numpy(source=source), target, workers=1, progress=False).clips
        return {clip.clip: clip.split for clip in found}

    def tested() -> set[str]:
        windows = build_source(Predictor.load(run).data, "test", range(3))
        return {windows.clip_name(number) for number in range(len(windows))}

    before = prepared(range(8, 18))
    train(load_config(None, {**TINY, "data.root": str(target), "run": str(run)}))
    after = prepared(range(24))
    of_test = {name for name, split in before.items() if split == "test"}
    assert {name for name, split in before.items() if split == "train"} & {
        name for name, split in after.items() if split == "test"
    }
    assert tested() == of_test
    build_source(Predictor.load(run).data, "test", range(3), progress=True)
    assert f"new and belong to no split of the run are not used [{target}]: 0, 1, 18 and 11 more" in (
        capsys.readouterr().err
    )
    changed = min(of_test)
    np.save(source / f"{changed}.npy", clips[0])
    prepared(range(0))
    assert tested() == of_test - {changed}
    np.save(source / f"{max(of_test)}.npy", clips[1])
    prepared(range(0))
    with pytest.raises(DataError, match="all files of the test split of the run are gone, or changed since it began"):
        tested()
    train(load_config(None, {**TINY, "data.root": str(target), "run": str(run), "training.steps": 3}))
    trained_on = min(name for name, split in before.items() if split == "train")
    np.save(source / f"{trained_on}.npy", clips[int(changed)])
    prepared(range(0))
    windows = build_source(Predictor.load(run).data, "train", range(3))
    assert trained_on not in {windows.clip_name(number) for number in range(len(windows))}


def test_an_image_that_moved_in_an_array_is_not_tested(tmp_path: Path) -> None:
    """The names of images in arrays are their numbers."""
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)
    np.save(tmp_path / "a.npy", images)
    settings = DataSettings(root=str(tmp_path / "a.npy"), context_frames=0, crop_size=None)
    recorded = record_splits(settings)
    assert recorded is not None
    recorded.write(tmp_path / "splits.csv")
    of_run = settings.model_copy(update={"split_file": str(tmp_path / "splits.csv")})
    numbers = {split: {part.clip for part in recorded.parts if part.split == split} for split in ("train", "test")}

    def tested() -> set[int]:
        windows = build_source(of_run, "test", range(1))
        return {int(windows.clip_name(number)) for number in range(len(windows))}

    assert tested() == set(map(int, numbers["test"]))
    np.save(tmp_path / "a.npy", np.concatenate([images[:1], images]))
    assert tested() == {number for number in map(int, numbers["test"]) if f"{number - 1:08}" not in numbers["train"]}


def test_copies_of_training_data_in_other_splits_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    parts = [Part("a", "train", 0, 40), Part("a", "test", 50, 60), Part("b", "test", 0, 60), Part("c", "test", 0, 60)]
    RecordedSplits(parts, {}, {"a": "01", "b": "01", "c": "02"}).warn_of_duplicates(Path("clips"))
    expected = "files that are in validation or test (1) and, by another name, in training [clips]: b\n"
    assert capsys.readouterr().err == f"vidpred: warning: {expected}"


def test_the_splits_of_earlier_runs_are_read(tmp_path: Path) -> None:
    (tmp_path / "splits.csv").write_text("path,split,first,end,bytes\na.mp4,train,0,9,123\nb.mp4,test,0,9,45\n")
    recorded = RecordedSplits.read(tmp_path / "splits.csv")
    assert recorded is not None
    assert recorded.sizes == {"a.mp4": 123, "b.mp4": 45}
    assert len(recorded.present({"a.mp4": 9, "b.mp4": 9}, {"a.mp4": "01", "b.mp4": "01"})) == 2
