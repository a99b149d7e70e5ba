"""Outputs that are also inputs, each other, devices or pipes; several processes that fill one folder."""

from __future__ import annotations

import json
import os
import resource
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.command_line import run_vidpred
from vidpred.data.settings import DataSettings
from vidpred.errors import InUseError, StorageError
from vidpred.files import atomic_write, check_output, write_file
from vidpred.inference import load_models
from vidpred.inference.predictor import Predictor
from vidpred.media.prediction_files import Output, write_prediction
from vidpred.media.prediction_images import Step
from vidpred.processes.folder_lock import folder_lock

FRAMES = torch.rand(3, 3, 16, 16)
NONE = torch.empty(0, 3, 16, 16)


class Same(torch.nn.Module):
    """A generator that repeats the last frame."""

    context_frames, pred_frames, lead, channels = 2, 1, 1, 3

    def forward(self, context: Tensor) -> Tensor:
        return context[:, -1:]


@pytest.fixture(autouse=True)
def devices_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no fault replace a device of this machine."""

    def guarded(function: Callable[..., None]) -> Callable[..., None]:
        def call(source: object, target: object) -> None:
            assert not str(target).startswith("/dev/"), target
            function(source, target)

        return call

    for name in ("replace", "rename", "link"):
        monkeypatch.setattr(os, name, guarded(getattr(os, name)))


@pytest.fixture
def clip(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy a clip to an empty current folder, with a symbolic and a hard link, and let a simple model predict."""
    monkeypatch.chdir(tmp_path)
    model = Predictor(Same(), DataSettings(context_frames=2, crop_size=None), "mine")
    monkeypatch.setattr(load_models, "load_predictors", lambda *_, **__: [model])
    shutil.copy(clips / "0.mp4", "a.mp4")
    os.link("a.mp4", "hard.mp4")
    os.symlink("a.mp4", "link.mp4")
    return tmp_path / "a.mp4"


def predict(*words: str) -> int:
    return run_vidpred("predict", *words, "--frames", 2)


REFUSED = [
    ["predict", "a.mp4", "-o", "a.mp4", "--overwrite"],
    ["predict", "a.mp4", "-o", "./a.mp4", "--overwrite"],
    ["predict", "a.mp4", "-o", "hard.mp4", "--overwrite"],
    ["predict", "a.mp4", "-o", "link.mp4", "--overwrite"],
    ["predict", "link.mp4", "-o", "a.mp4", "--overwrite"],
    ["predict", "a.mp4", "-o", "b.mp4", "--json", "a.mp4"],
    ["predict", "a.mp4", "-o", "b.mp4", "--json", "b.mp4"],
    ["predict", "a.mp4", "-o", "b.mp4", "--json", "./b.mp4"],
    ["predict", ".", "-o", ".", "--format", "mp4", "--overwrite"],
    ["predict", "a.mp4", "-o", ""],
    ["predict", "a.mp4", "--output="],
    ["predict", "", "-o", "b.mp4"],
    ["evaluate", "--run", "run", "--json", "run/config.yaml"],
    ["evaluate", "--run", "run", "--json", "run/checkpoints/step-1/state.json"],
    ["evaluate", "--run", "run/checkpoints/step-1", "--json", "run/checkpoints/step-1/state.json"],
    ["evaluate", "--run", "run", "--json", "e.json", "--plot", "e.json"],
    ["evaluate", "--run", "run", "--data", ".", "--plot", "a.mp4"],
    ["plan", "--run", "run", "--json", "p.mp4", "--video", "p.mp4"],
    ["complete", "--run", "run", "link.mp4", "-o", "a.mp4", "--overwrite"],
    ["export", "--run", "run", "-o", "run/config.yaml", "--overwrite"],
    ["prepare", "folder", ".", "--check", "--json", "a.mp4"],
    ["prepare", "folder", "a.mp4", "--check", "--json", "hard.mp4"],
    ["demo", "--output", ".", "--clip", "a.mp4"],
    ["record", "", "--env", "block_push"],
]


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_what_is_refused_before_any_work(clip: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = Path("run/checkpoints/step-1")
    checkpoint.mkdir(parents=True)
    for file in (Path("run/config.yaml"), checkpoint / "state.json", checkpoint / "manifest.json"):
        file.write_text("{}")
    before = {path: path.read_bytes() for path in clip.parent.rglob("*") if path.is_file()}
    assert run_vidpred(*words) == 2
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1
    assert "choose another" in captured.err or "is empty" in captured.err
    assert {path: path.read_bytes() for path in clip.parent.rglob("*") if path.is_file()} == before


def test_folders_and_earlier_reports_are_not_refused(clip: Path) -> None:
    for _ in range(2):
        assert predict("a.mp4", "-o", ".", "--json", "numbers.json", "--overwrite") == 0
    assert {"0001.png", "0002.png", "a.mp4", "numbers.json"} <= set(os.listdir())
    assert not Path(".lock").exists()


@pytest.mark.parametrize("kind", [None, "mp4", "png"])
def test_null_stays_a_device(clip: Path, kind: str | None) -> None:
    words = [] if kind is None else ["--format", kind]
    assert predict("a.mp4", "-o", os.devnull, "--json", os.devnull, *words) == 0
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    write_file(Path(os.devnull), "text")  # also where nobody checked it
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_json_into_a_pipe_and_into_descriptors(clip: Path) -> None:
    os.mkfifo("pipe")
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(Path("pipe").read_text()))
    reader.start()
    assert predict("a.mp4", "-o", "a.npy", "--json", "pipe") == 0
    reader.join(10)
    assert json.loads(found[0])["clips"]
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)
    with open("file", "wb+", buffering=0) as file:
        file.write(b"before\n")
        assert predict("a.mp4", "-o", "b.npy", "--json", f"/dev/fd/{file.fileno()}") == 0
        file.write(b"after\n")
    lines = Path("file").read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert json.loads("\n".join(lines[1:-1]))["clips"]


def test_a_full_device_and_a_lost_reader(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot write \[/dev/full\]: No space left on device"):
        write_file(Path("/dev/full"), "text")
    reader, writer = os.pipe()
    os.close(reader)
    write_file(Path(f"/dev/fd/{writer}"), "text")
    os.close(writer)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("output", ["pipe", "/dev/stdout", "/dev/full"])
def test_frames_are_not_written_into_devices(clip: Path, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo("pipe")
    assert predict("a.mp4", "-o", output) == 4
    assert len(capsys.readouterr().err.splitlines()) == 1
    with pytest.raises(StorageError, match="is a device or a pipe"):
        check_output(Path(output), True)
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)


def test_a_pipe_of_a_hostile_folder_is_replaced(tmp_path: Path) -> None:
    """Nobody may read it, so writing into it would wait for ever."""
    os.mkfifo(tmp_path / "exit.json")
    write_file(tmp_path / "exit.json", "{}")
    assert (tmp_path / "exit.json").read_text() == "{}"


def steps(count: int, at_end: object = None) -> Iterator[Step]:
    for frame in FRAMES[:count]:
        yield Step(None, {"model": frame[None]})
    if callable(at_end):
        at_end()


def test_every_file_of_a_folder_is_guarded(tmp_path: Path) -> None:
    def appear() -> None:
        (tmp_path / "0003.png").write_text("precious")

    with pytest.raises(StorageError, match="appeared meanwhile"):
        write_prediction(Output.of(tmp_path), NONE, steps(3, appear), 3)
    assert (tmp_path / "0003.png").read_text() == "precious"


@pytest.mark.parametrize("overwrite", [False, True])
def test_two_predictions_into_one_folder(tmp_path: Path, overwrite: bool) -> None:
    output = Output.of(tmp_path, overwrite=overwrite)
    with folder_lock(tmp_path, ""), pytest.raises(InUseError, match="another process writes this folder"):
        write_prediction(output, NONE, steps(3), 3)
    assert not list(tmp_path.iterdir())
    write_prediction(output, NONE, steps(3), 3)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("exists", [False, True])
def test_a_full_disk_names_the_folder(tmp_path: Path, exists: bool) -> None:
    if exists:
        (tmp_path / "out").mkdir()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))
    try:
        with pytest.raises(StorageError) as caught:
            write_prediction(Output.of(f"{tmp_path}/out/"), NONE, steps(2), 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value).startswith(f"cannot write [{tmp_path}/out/0001.png]: File too large; ")
    assert not list((tmp_path / "out").iterdir() if exists else tmp_path.iterdir())


def test_no_temporary_name_in_messages(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match=rf"^cannot write \[{tmp_path}/out/inner\]: full"),
        atomic_write(tmp_path / "out") as temporary,
    ):
        raise StorageError(f"cannot write [{temporary}/inner]: full; free space")
