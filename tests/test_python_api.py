"""The public functions: read, predict, render, evaluate and compare, with runs and with the user's own generators."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import vidpred
from tests.command_line import run_vidpred
from tests.video_files import numbered_frames, read_number, turn, write_video
from vidpred.errors import ConfigError, DataError, StorageError
from vidpred.evaluation.metrics import psnr

OWN = """
import torch

class Copy(torch.nn.Module):
    context_frames = 2
    def forward(self, context):
        return context[:, -1:]

class Untold(torch.nn.Module):
    def forward(self, context):
        return context[:, -1:] * 0.5

copy = Copy()

def make():
    return Copy()

def mean(context):
    return context.mean(1, keepdim=True)

mean.context_frames = 3
broken = 3
"""


FIRST_IMPORT = """
import gc, os, vidpred
before = dict(os.environ)
vidpred.Predictor
print(dict(os.environ) == before, gc.isenabled(), gc.get_freeze_count())
"""


@pytest.mark.slow
def test_the_first_import_of_torch_changes_nothing_else() -> None:
    """OpenMP's threads sleep while they wait, and neither environment nor garbage collection stay changed."""
    unset = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "KMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", FIRST_IMPORT], capture_output=True, text=True, env={**unset, "OMP_DISPLAY_ENV": "true"}
    )
    assert done.stdout.split() == ["True", "True", "0"]
    assert re.search(r"OMP_WAIT_POLICY\W+PASSIVE", done.stderr)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number in range(5):
        frames = numbered_frames(30, 72, 64, first=number * 30)[:, 24:]  # without the numbers, which look like cuts
        write_video(folder / f"{number}.mp4", np.ascontiguousarray(frames))
    return folder


class Fade(nn.Module):
    """A generator that multiplies the last of two frames by a learned factor."""

    context_frames = 2

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.9))

    def forward(self, context: Tensor) -> Tensor:
        return context[:, -1:] * self.factor


def last(context: Tensor) -> Tensor:
    return context[:, -1:]


last.context_frames = 3  # type: ignore[attr-defined]


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def numbers(frames: Tensor) -> list[int]:
    return [read_number((frame * 255).byte().movedim(0, -1).numpy()) for frame in frames]


def test_read_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered_frames(100, 48, 64))
    frames = vidpred.read_video(path)
    assert (frames.shape, frames.dtype) == ((100, 3, 48, 64), torch.float32)
    assert 0 <= float(frames.min()) < 0.2 < 0.8 < float(frames.max()) <= 1
    assert numbers(frames) == list(range(100)), "more frames than are read at once"
    assert numbers(vidpred.read_video(str(path), start=70, stop=72)) == [70, 71]
    assert numbers(vidpred.read_video(path, start=-2)) == [98, 99]
    assert numbers(vidpred.read_video(path, fps=5, stop=4)) == [0, 5, 10, 15]
    assert vidpred.read_video(path, stop=2, size=24, channels=1).shape == (2, 1, 24, 32)
    assert vidpred.read_video(path, stop=2, size=(20, 40)).shape == (2, 3, 20, 40)
    turn(path, 90, 48, 64)
    assert vidpred.read_video(path, stop=1).shape == (1, 3, 64, 48)


def test_read_video_reports_bad_input(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered_frames(5, 48, 64))
    with pytest.raises(DataError, match=r"no frames from 9 to None of 5 \[.*a.mp4\]; choose another range"):
        vidpred.read_video(path, start=9)
    with pytest.raises(DataError, match="absent.mp4]; check its path"):
        vidpred.read_video(tmp_path / "absent.mp4")
    (tmp_path / "notes.mp4").write_text("Notes on the clips of May.")
    for other, what in ((tmp_path, "a folder, not a regular file"), (tmp_path / "notes.mp4", "a text, not a video")):
        with pytest.raises(DataError, match=rf"{what} \[.*\]; give a video$"):
            vidpred.read_video(other)


def test_render_writes_what_predict_writes(tmp_path: Path) -> None:
    prediction, context = torch.rand(4, 3, 16, 24), torch.rand(2, 3, 16, 24)
    vidpred.render(tmp_path / "a.png", prediction, context, prediction[:3])
    assert pixels_of(tmp_path / "a.png").shape[1] > 4 * 24
    vidpred.render(tmp_path / "a.npz", {"one": prediction, "two": prediction.expand(3, -1, -1, -1, -1)}, context)
    arrays = np.load(tmp_path / "a.npz")
    assert arrays["prediction two"].shape == (3, 4, 3, 16, 24)
    assert np.array_equal(arrays["prediction one"], prediction.numpy())
    assert vidpred.render(tmp_path / "frames", (prediction * 255).byte()) == tmp_path / "frames"
    expected = (prediction[1] * 255).byte().movedim(0, -1).numpy()
    assert np.array_equal(pixels_of(tmp_path / "frames" / "0002.png"), expected)
    assert vidpred.write_video(str(tmp_path / "a.gif"), prediction, 5) == 4
    with pytest.raises(StorageError, match=r"exists .*; add overwrite=True or choose another output$"):
        vidpred.render(tmp_path / "a.png", prediction)


def test_a_command_names_options_and_leaves_python_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_video(tmp_path / "a.mp4", numbered_frames(20, 32, 48))
    assert run_vidpred("predict", tmp_path / "a.mp4", "--start", 90, "-o", tmp_path / "b.png") == 2
    assert "[--start 90] must lie" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"no such split \[split=all\]"):
        vidpred.evaluate("pretrained", tmp_path, split="all")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"prediction": torch.rand(4, 16, 24, 3)}, r"must be \(K, C, H, W\) or .*not \(1, 4, 16, 24, 3\)"),
        ({"prediction": torch.rand(4, 3, 16, 24) * 255}, r"prediction must lie in \[0, 1\].*divide by 255"),
        ({"prediction": torch.rand(4, 3, 16, 24), "context": torch.rand(2, 3, 8, 24)}, "all must have one size"),
        ({"prediction": torch.rand(4, 3, 16, 24), "future": torch.rand(5, 3, 16, 24)}, "4.* predicted and 5 true"),
    ],
)
def test_render_checks_its_frames(tmp_path: Path, arguments: dict[str, Tensor], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        vidpred.render(tmp_path / "a.png", **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_evaluate_own_generators(clips: Path) -> None:
    """A module, a function and a predictor; a copy of the last frame scores as the baseline does."""
    result = vidpred.evaluate({"fade": Fade(), "last": last}, data=clips, num_frames=2, windows=3)
    means = result.means("psnr")
    assert means["last"] == means["copy last"] != means["fade"]
    assert "fade" in str(result)
    assert "PSNR" in str(result)
    small = vidpred.evaluate(Fade(), data={"root": str(clips), "size": 24}, num_frames=1, windows=1)
    frames = vidpred.read_video(clips / "0.mp4", size=24)
    assert next(iter(small.scores)) == "Fade"
    assert small.means("psnr")["Fade"] != result.means("psnr")["fade"]
    assert float(psnr(frames[:1] * 0.9, frames[:1])) > 15


@pytest.mark.slow
def test_evaluate_predictors_and_names(clips: Path) -> None:
    shipped = vidpred.Predictor.load("pretrained", device="cpu")
    one = vidpred.evaluate(shipped, data=clips, num_frames=1, windows=1)
    same = vidpred.evaluate("pretrained", data=str(clips), num_frames=1, windows=1)
    assert one.means("ssim") == same.means("ssim")
    both = vidpred.evaluate([shipped, Fade()], data=clips, num_frames=1, windows=1)
    assert list(both.scores)[:2] == ["pretrained", "Fade"]
    assert both.means("ssim")["pretrained"] == one.means("ssim")["pretrained"]


@pytest.mark.parametrize(
    ("models", "data", "words"),
    [
        (Fade(), None, "own generators have no data; give a folder of videos"),
        (lambda context: context, "clips", "has no attribute context_frames; set it"),
        (Fade(), {"root": "clips", "sise": 3}, r"\[data.sise\]"),
        (Fade(), {"root": "clips", "size": -3}, r"\[data.size\].*got -3"),
    ],
)
def test_evaluate_checks_its_arguments(models: object, data: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        vidpred.evaluate(models, data=data)  # type: ignore[arg-type]


@pytest.mark.slow
def test_compare_takes_own_generators(clips: Path, tmp_path: Path) -> None:
    result = vidpred.compare({"fade": Fade(), "last": last}, tmp_path / "page.html", clips, num_frames=1, windows=1)
    assert list(result.scores)[:2] == ["fade", "last"]
    assert "fade t+1" not in (tmp_path / "page.html").read_text()[:500]
    assert (tmp_path / "page.html").stat().st_size > 10_000


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a module into the current folder, under a name that no other test imports."""
    (tmp_path / f"own_{tmp_path.name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return Path(f"own_{tmp_path.name}")


@pytest.mark.parametrize("name", ["Copy", "copy", "make", "mean"])
def test_own_generators_on_the_command_line(own: Path, clips: Path, name: str) -> None:
    words = ("--generator", f"{own}:{name}", "--frames", 2)
    assert run_vidpred("predict", clips / "0.mp4", *words, "--start", 8, "-o", "a.npz") == 0
    arrays = np.load("a.npz")
    expected = arrays["context"][-3:].mean(0) if name == "mean" else arrays["context"][-1]
    np.testing.assert_allclose(arrays["prediction"][0], expected, atol=1e-6)


@pytest.mark.slow
def test_own_generators_in_tables(own: Path, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--generator", f"{own}:Copy", "--frames", 1, "--windows", 1)
    assert run_vidpred("evaluate", *words, "--data", clips) == 0
    assert f"{own}:Copy" in capsys.readouterr().out
    assert run_vidpred("compare", "pretrained", *words, "--data", clips, "-o", "a.html") == 0
    assert f"{own}:Copy" in capsys.readouterr().out
    assert Path("a.html").is_file()


def test_a_generator_that_returns_no_frames(own: Path, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line once ended with a traceback."""
    file = Path(f"{own}.py")
    file.write_text(file.read_text() + "\ndef flat(context):\n    return context[:, -1]\nflat.context_frames = 2\n")
    sys.modules.pop(str(own), None)
    assert run_vidpred("predict", clips / "0.mp4", "--generator", f"{own}:flat", "-o", "a.npy") == 2
    assert "the generator must return frames (B, K, C, H, W) = (1, K, 3, " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--generator nothing:Net --data clips", "cannot import the generator: ModuleNotFoundError"),
        ("--generator OWN:Absent --data clips", "has no attribute 'Absent'"),
        ("--generator OWN:broken --data clips", "a int, not a module or a function"),
        ("--generator OWN --data clips", "write package.module:NAME"),
        ("--generator OWN:Copy", "own generators have no data; give a folder of videos: --data FOLDER"),
        ("--generator OWN:Untold --data clips", "has no attribute context_frames; set it, or give"),
        ("", "give a run, --model NAME or --generator package.module:NAME"),
    ],
)
def test_misused_generators(own: Path, capsys: pytest.CaptureFixture[str], words: str, message: str) -> None:
    assert run_vidpred("evaluate", *words.replace("OWN", str(own)).split()) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert message in errors[-1]
    assert len(errors) == 1


def test_a_run_of_an_own_generator_is_loaded_into_it(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_trained.py").write_text(
        "import torch\n"
        "class Gain(torch.nn.Module):\n"
        "    context_frames = 4\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.factor = torch.nn.Parameter(torch.tensor(0.5))\n"
        "    def forward(self, context):\n"
        "        return context[:, -1:] * self.factor\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    from own_trained import Gain  # type: ignore[import-not-found]

    settings = {
        "data.root": str(clips), "run": "run", "training.steps": 2, "training.batch_size": 2, "training.device": "cpu",
        "training.generator.learning_rate": 0.1, "training.validate_every": 0, "training.image_every": 0,
    }  # fmt: skip
    run = vidpred.train(vidpred.load_config("tiny.yaml", settings), generator=Gain())
    assert run_vidpred("predict", clips / "0.mp4", "--run", "run", "-o", "a.npz") == 4, "its generator is missing"
    words = ("--run", "run", "--generator", "own_trained:Gain", "--start", 8, "--frames", 1, "-o", "a.npz")
    assert run_vidpred("predict", clips / "0.mp4", *words) == 0
    arrays = np.load("a.npz")
    factor = run.predictor(generator=Gain()).generator.factor.item()
    assert factor != 0.5
    np.testing.assert_allclose(arrays["prediction"][0], arrays["context"][-1] * factor, atol=1e-6)
