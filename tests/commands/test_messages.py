"""Errors and warnings name the fix that works, and nothing that does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.command_line import run_vidpred
from tests.image_files import write_digits
from tests.video_files import numbered_frames, write_video
from vidpred.config import load_config
from vidpred.config.load import split_words
from vidpred.data.build import build_source
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError, DataError
from vidpred.evaluation import images

TINY = (
    "training.steps=2",
    "training.batch_size=2",
    "training.validate_every=0",
    "training.image_every=0",
    "data.size=32",
)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with clips and a trained run."""
    folder = tmp_path_factory.mktemp("work")
    for number in range(5):
        write_video(folder / "clips" / f"{number}.mp4", numbered_frames(24, 40, 48, first=number * 24))
    assert run_vidpred("train", "tiny.yaml", f"data.root={folder}/clips", f"run={folder}/run", *TINY) == 0
    return folder


def error(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run a command that fails; return its only error line."""
    capsys.readouterr()
    assert run_vidpred(*words) > 0
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize("config", [("tiny.yaml",), ("tiny",), ("--config", "tiny.yaml")])
def test_train_takes_a_config_as_its_first_word(work: Path, tmp_path: Path, config: tuple[str, ...]) -> None:
    assert run_vidpred("train", *config, f"data.root={work}/clips", f"run={tmp_path}/run", *TINY, "--dry-run") == 0


def test_train_takes_the_folder_of_a_run(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It resumes the run; a failure before its training begins leaves the record of the finished one."""
    assert run_vidpred("train", work / "run") == 0
    assert "nothing left to do" in capsys.readouterr().out
    assert json.loads((work / "run" / "exit.json").read_text())["code"] == 0
    (work / "clips").rename(work / "moved")
    try:
        assert run_vidpred("train", work / "run") == DataError.exit_code
    finally:
        (work / "moved").rename(work / "clips")
    assert json.loads((work / "run" / "exit.json").read_text())["code"] == 0


def test_a_run_that_was_moved_is_resumed_where_it_is(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its config.yaml has the folder where it began, which may be relative to another place."""
    run = Path(shutil.copytree(work / "run", tmp_path / "moved"))
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace(f"run: {work}/run", "run: runs/old"))
    monkeypatch.chdir(tmp_path)
    assert run_vidpred("train", "moved") == 0
    assert "nothing left to do: moved" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists(), "no second run appears"


def test_words_of_train(work: Path) -> None:
    assert split_words(["a=1", "mine.yaml", "b=c.yaml"], None) == ("mine.yaml", ["a=1", "b=c.yaml"])
    assert split_words(["a=1"], "mine.yaml") == ("mine.yaml", ["a=1"])
    run, checkpoint = str(work / "run"), str(work / "run" / "checkpoints" / "step-2")
    assert split_words(["a=1", run], None) == (f"{run}/config.yaml", [f"run={run}", "a=1"])
    assert split_words([run, "run=other"], None)[1][-1] == "run=other", "the last one counts"
    assert split_words(["runs/lr=1/mine.yaml", "run=runs/lr=1"], None) == ("runs/lr=1/mine.yaml", ["run=runs/lr=1"])
    assert split_words([checkpoint], None) == (f"{checkpoint}/config.yaml", []), "a checkpoint is no run folder"
    with pytest.raises(ConfigError, match=r"two configs are named \[x.yaml and tiny\]"):
        split_words(["tiny"], "x.yaml")
    with pytest.raises(ConfigError, match="not an override"):
        load_config(*reversed([split_words(["training.steps"], None)[1], None]))  # type: ignore[arg-type]


@pytest.mark.slow
def test_an_existing_run_with_other_settings_names_both_ways_on(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(work)  # for a message of less than 200 characters with both
    run = Path("run")
    line = error(capsys, "train", f"run={run}", f"data.root={work}/clips")
    assert f"to resume it, add --config {run}/config.yaml" in line
    assert run_vidpred("train", "--config", run / "config.yaml", f"run={run}") == 0, "the advice works"
    rate = "training.generator.learning_rate=0.01"
    line = error(capsys, "train", "tiny.yaml", f"data.root={work}/clips", f"run={run}", *TINY, rate)
    assert "learning_rate was 0.001, now 0.01" in line
    advice = f"training.init_from={run}"
    assert advice in line
    words = ("tiny.yaml", f"data.root={work}/clips", f"run={tmp_path}/other", *TINY, rate, advice)
    assert run_vidpred("train", *words) == 0, "the advice works"
    line = error(capsys, "train", "tiny.yaml", f"data.root={work}/clips", f"run={work}/run", *TINY, rate)
    assert len(line) + len(f", or to resume it, add --config {work}/run/config.yaml") > 200, "no room for both"
    assert f"training.init_from={work}/run" in line
    words = ("tiny.yaml", f"data.root={work}/clips", f"run={work}/run", *TINY)
    assert "the run has other settings" in error(capsys, "train", *words, rate, "--dry-run")
    assert run_vidpred("train", *words, "--dry-run") == 0


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("training.optimizer=adam", "no key is similar; `vidpred config` lists the keys"),
        ("foo=3", "no key is similar"),
        ("traning.steps=3", "did you mean training.steps?"),
        ("data.stpes=3", "did you mean training.steps?"),
        ("data.learning_rate=3", "did you mean training.generator.learning_rate?"),
        ("data.sise=3", "did you mean data.size?"),
    ],
)
def test_only_similar_keys_are_suggested(capsys: pytest.CaptureFixture[str], word: str, hint: str) -> None:
    assert hint in error(capsys, "train", word)


def test_only_similar_presets_are_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean" not in error(capsys, "train", "--config", "nosuch.yaml")
    assert "did you mean tiny.yaml?" in error(capsys, "train", "tny.yaml")


def test_a_frame_predictor_on_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    for number in range(3):
        (tmp_path / "photos" / "cats" / f"{number}.jpg").touch()
    line = error(capsys, "train", "tiny.yaml", f"data.root={tmp_path}/photos", f"run={tmp_path}/run")
    assert "a folder of images, not videos" in line
    assert "a model of images needs data.context_frames=0 (dcgan_faces.yaml)" in line
    assert f"vidpred prepare frames {tmp_path}/photos" in line
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").touch()
    line = error(capsys, "train", "tiny.yaml", f"data.root={tmp_path}/notes", f"run={tmp_path}/run")
    assert "no video files, but 1 .txt" in line
    assert ".264" not in line, "a list of suffixes is no remedy"


def test_an_image_preset_without_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = error(capsys, "train", "dcgan_mnist.yaml")
    assert "no such folder or file of images [data/mnist]" in line
    assert "video" not in line


def test_few_images_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_digits(tmp_path / "digits.npz")
    data = DataSettings(
        root=str(tmp_path / "digits.npz"), context_frames=0, channels=1, crop_size=None,
        augment={"horizontal_flip": False},
    )  # fmt: skip
    held_out = build_source(data, "test", [0])
    images._warn_of_few(len(held_out), "test")
    assert f"{len(held_out)} images of the test split are measured" in capsys.readouterr().err
    images._warn_of_few(images.FEW_IMAGES, "test")
    assert not capsys.readouterr().err
