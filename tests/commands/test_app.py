"""The command line: instant help, one line per error, documented exit codes."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import TRAIN, call, refused
from tests.image_files import small_preset
from tests.video_files import numbered_frames, write_video
from vidpred.commands import app
from vidpred.commands.data import import_data_prep
from vidpred.config import to_yaml
from vidpred.models.baselines import BASELINES
from vidpred.training.plan import describe_times, duration
from vidpred.training.settings import TrainingSettings


@pytest.mark.parametrize("preset", ["dcgan_mnist", pytest.param("gaussians_gan", marks=pytest.mark.slow)])
def test_the_closing_advice_works_as_printed(preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "a run"
    config = small_preset(preset, tmp_path, {"run": str(run), "training.steps": 1})
    (tmp_path / "small.yaml").write_text(to_yaml(config))
    code, printed, errors = call(capsys, "train", "--config", str(tmp_path / "small.yaml"))
    assert code == 0, errors
    advice = printed.rpartition("vidpred ")[2].strip().removesuffix(")")
    code, _, errors = call(capsys, *shlex.split(advice))
    assert code == 0, errors
    assert list(run.glob("samples.*"))


@pytest.mark.slow
def test_a_dry_run_checks_initial_weights(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", f"data.root={work}/clips", "run=runs/other", "--dry-run", *TRAIN]
    code, printed, errors = call(capsys, *words, f"training.init_from={work}/run")
    assert code == 0, errors
    assert "parameters" in printed
    wider = [*words, f"training.init_from={work}/run", "model.feature_maps=[[5],[4]]"]
    refused(call(capsys, *wider), 4, "training.init_from")
    refused(call(capsys, *words, f"training.init_from={work}/absent"), 4, "absent")
    resumed = ["train", f"data.root={work}/clips", f"run={work}/run", *TRAIN, "--dry-run", "training.steps=3"]
    code, _, errors = call(capsys, *resumed, f"training.init_from={work}/absent")
    assert code == 0, f"the weights of a run that is resumed are its own: {errors}"


RUN_AND_NAME_IMPORTS = """
import sys
from contextlib import suppress
from vidpred.commands import app
from vidpred.commands.data import import_data_prep
for words in %r:
    sys.argv = ["vidpred", *words]
    with suppress(SystemExit):
        app.main()
print("heavy:", [name for name in %r if name in sys.modules])
"""
HEAVY = ("torch", "torchvision", "matplotlib", "accelerate", "vidpred.config", "vidpred.run")


def run_and_name_imports(commands: list[list[str]], heavy: tuple[str, ...]) -> list[str]:
    """Run commands in a process; return the lines that they print and those of `heavy` that they import."""
    environment = {**os.environ, "PYTHONPATH": str(Path(app.__file__).parents[2])}
    code = RUN_AND_NAME_IMPORTS % (commands, heavy)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    return done.stdout.splitlines()


@pytest.mark.slow
def test_help_imports_nothing_heavy() -> None:
    """Imports decide how fast the help is."""
    *lines, heavy = run_and_name_imports([["--help"]], (*HEAVY, "numpy", "av", "cv2", "pydantic"))
    for verb in ("train", "config", "predict", "evaluate", "prepare", "demo"):
        assert any(verb in line for line in lines)
    assert heavy == "heavy: []"


def test_the_help_lists_all_commands_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [call(capsys, *words) for words in ([], ["--help"])]
    monkeypatch.setattr(app, "with_verb_only", lambda all_commands, words: all_commands)
    assert found == [call(capsys, *words) for words in ([], ["--help"])]


@pytest.mark.slow
def test_preparing_imports_no_torch(tmp_path: Path) -> None:
    for number in range(3):
        write_video(tmp_path / "clips" / f"{number}.mp4", numbered_frames(24, 40, 48, first=number * 10))
    helps = [["prepare", name, "--help"] for name in import_data_prep("command").sets()]
    clips = ["prepare", "folder", str(tmp_path / "clips")]
    frames = [*clips, str(tmp_path / "frames"), "--cache", "--workers=1"]
    *lines, heavy = run_and_name_imports([*helps, [*clips, "--check", "--workers=1"], frames], HEAVY)
    assert sum(line.startswith("SOURCE: ") for line in lines) == len(helps)
    assert (tmp_path / "frames" / "prepared.json").is_file()
    assert heavy == "heavy: []"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    import vidpred

    assert call(capsys, "--version")[:2] == (0, f"vidpred {vidpred.__version__}\n")


@pytest.mark.parametrize("verb", ["train", "config", "predict", "evaluate", "prepare", "demo"])
def test_every_verb_has_help(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    code, out, _ = call(capsys, verb, "--help")
    assert code == 0
    assert "Usage" in out


def test_config_shows_origins(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "config", "ucf101.yaml", "training.steps=7")
    assert code == 0
    lines = {line.split(":")[0]: line for line in out.splitlines()}
    assert lines["training.steps"].endswith("# command line")
    assert "# ucf101.yaml:" in lines["model.size"]
    assert lines["data.channels"].endswith("# default")


@pytest.mark.slow
def test_dry_run_prints_the_plan_and_trains_nothing(capsys: pytest.CaptureFixture[str], work: Path) -> None:
    run = work / "planned"
    code, out, _ = call(
        capsys, "train", "--config", "ucf101.yaml", "--dry-run", f"data.root={work}/clips", f"run={run}",
        "training.batch_size=1",
    )  # fmt: skip
    assert code == 0
    for words in ("12,569,740 parameters", "20,640,388 parameters", "500000 steps", "MB", "32x32", "validation window",
                  "measured on this machine", "duration    about "):  # fmt: skip
        assert words in out
    assert not run.exists()


def test_the_estimate_of_a_dry_run() -> None:
    """The first step sets up the device, and generator updates come every second step; by hand: 500 x 0.2 s + ..."""
    training = TrainingSettings(steps=1000, batch_size=8, validate_every=100)
    speed, total = describe_times([9.0, 0.1, 0.3, 0.1, 0.3, 0.1], (4.0, 10.0), training, 500, 250, 2)
    assert speed == (
        "speed       0.2 s a step (40 samples/s, 4 steps measured on this machine), 4 s a validation, 10 s a checkpoint"
    )
    assert total == "duration    about 2 min (500 of 1,000 steps are left)", "500 * 0.2 + 5 * 4 + 2 * 10 = 140 s"
    assert [duration(seconds) for seconds in (44.2, 12_000, 190_800)] == ["45 s", "3 h 20 min", "2 d 5 h"]


@pytest.mark.slow
def test_the_main_job(capsys: pytest.CaptureFixture[str], work: Path) -> None:
    """Predict side by side with a trained run, and evaluate it."""
    clip, run = str(work / "clips" / "0.mp4"), str(work / "run")
    video = work / "prediction.mp4"
    code, out, _ = call(capsys, "predict", clip, "--run", run, "--frames", "8", "--output", str(video))
    assert code == 0
    assert "context 8-15, predicted 16-23" in out
    assert video.stat().st_size > 0
    both = ("--run", run, "--run", run, "--frames", "3", "--output", str(work / "both.png"), "--after-end")
    code, out, _ = call(capsys, "predict", clip, *both)
    assert code == 0
    assert "predicted 24-26" in out
    assert "no ground truth beyond the end" in out
    numbers = work / "metrics.json"
    code, out, _ = call(capsys, "evaluate", "--run", run, "--frames", "4", "--json", str(numbers))
    assert code == 0
    assert "optical flow" in out
    content = json.loads(numbers.read_text())
    assert list(content["models"]) == ["run", *BASELINES]
    assert len(content["models"]["run"]["overall"]["psnr"]["mean"]) == 4
    assert content["split"] == "test"


@pytest.mark.slow
def test_several_futures(capsys: pytest.CaptureFixture[str], work: Path, tmp_path: Path) -> None:
    """A model with noise yields several futures, measured as best, mean and worst; others are refused."""
    clip, run = str(work / "clips" / "0.mp4"), f"{tmp_path}/noisy"
    noise = ["model.noise_channels=1", "model.noise=binary", "objective.num_samples=2"]
    assert call(capsys, "train", f"data.root={work}/clips", f"run={run}", *TRAIN, *noise)[0] == 0
    images = [tmp_path / f"{name}.png" for name in ("one", "again", "other")]
    for image, seed in zip(images, ("0", "0", "1"), strict=True):
        words = ("--run", run, "--frames", "2", "--samples", "6", "--seed", seed, "--output", str(image))
        assert call(capsys, "predict", clip, *words)[0] == 0
    one, again, other = (image.read_bytes() for image in images)
    assert one == again
    assert one != other
    numbers = tmp_path / "metrics.json"
    words = ("--run", run, "--run", f"{work}/run", "--frames", "2", "--samples", "3", "--json", str(numbers))
    code, out, _ = call(capsys, "evaluate", *words)
    assert code == 0
    assert "noisy, best of 3" in out
    assert "spread of 3" in out
    rows = [f"noisy, {kind} of 3" for kind in ("best", "mean", "worst")]
    assert list(json.loads(numbers.read_text())["models"]) == [*rows, "run", *BASELINES]
    plain = ("--run", f"{work}/run", "--samples", "3")
    refused(call(capsys, "predict", clip, *plain, "--output", f"{tmp_path}/x.png"), 2, "takes no noise", "--samples 3")
    refused(call(capsys, "evaluate", *plain), 2, "takes no noise", "--samples 3")


def test_training_a_finished_run_again_does_nothing(capsys: pytest.CaptureFixture[str], work: Path) -> None:
    code, out, _ = call(capsys, "train", f"data.root={work}/clips", f"run={work}/run", *TRAIN)
    assert code == 0
    assert "nothing left to do" in out


def test_debug_shows_the_traceback_and_keeps_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, errors = call(capsys, "train", "--config", "nothing.yaml", "--debug")
    assert code == 2
    assert errors.startswith("Traceback (most recent call last):")
    assert "find_preset" in errors
    assert errors.splitlines()[-1].startswith("vidpred: error: no such config file or preset [nothing.yaml]")


@pytest.mark.slow
def test_waiting_threads_sleep(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Set before torch is loaded, which reads these once; what the user sets stays."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.delenv("KMP_BLOCKTIME", raising=False)
    call(capsys, "--version")
    assert (os.environ["OMP_WAIT_POLICY"], os.environ["KMP_BLOCKTIME"]) == ("active", "0")
    code = "import sys, vidpred.commands.app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.slow
def test_progress_bars_write_few_lines_without_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TQDM_MININTERVAL", raising=False)
    call(capsys, "--version")
    assert os.environ["TQDM_MININTERVAL"] == "30"
    code = "import sys, time, vidpred.commands.app; assert 'tqdm' not in sys.modules; from tqdm import tqdm\n"
    bar = "for _ in tqdm(range(8)): time.sleep(0.15)"
    done = subprocess.run([sys.executable, "-c", code + bar], stderr=subprocess.PIPE, text=True, check=True)
    assert len(re.findall(r"/8 \[", done.stderr)) <= 2


def test_no_verb_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, errors = call(capsys)
    assert "evaluate" in out + errors
    assert "vidpred: error" not in errors


def test_unexpected_errors_leave_an_exit_code_too(
    capsys: pytest.CaptureFixture[str], work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vidpred.training.trainer import Trainer

    def fail(*_: object) -> None:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(Trainer, "train_step", fail)
    with pytest.raises(ZeroDivisionError):
        call(capsys, "train", f"data.root={work}/clips", f"run={tmp_path}/run", *TRAIN)
    record = json.loads((tmp_path / "run" / "exit.json").read_text())
    assert (record["code"], record["message"]) == (1, "ZeroDivisionError: a mistake of ours")


@pytest.mark.parametrize("how", ["word", "preset", "name", "run folder", "config after", "no run", "default", "usage"])
def test_a_launched_run_leaves_its_exit_code_when_the_settings_are_wrong(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Imitates `accelerate launch`, before anything of the run exists."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("run: mine\ntraning: {steps: 1}\n")
    (tmp_path / "other.yaml").write_text("seed: 1\n")
    (tmp_path / "moved" / "checkpoints").mkdir(parents=True)
    (tmp_path / "moved" / "config.yaml").write_text("run: runs/old\n")
    words, run = {
        "word": (("training.stepps=1", "run=given"), "given"),
        "preset": (("--config", "mine.yaml"), "mine"),
        "name": (("tiny", "training.stepps=1"), "runs/tiny"),
        "run folder": (("moved", "training.stepps=1"), "moved"),
        "config after": (("training.stepps=1", "--config=mine.yaml"), "mine"),
        "no run": (("other.yaml", "training.stepps=1"), "runs/default"),
        "default": (("training.stepps=1",), "runs/default"),
        "usage": (("--bogus", "run=given"), "given"),
    }[how]
    assert call(capsys, "train", *words)[0] == 2
    assert not (tmp_path / run / "exit.json").exists(), "without a launcher the process's exit code suffices"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    assert call(capsys, "train", *words)[0] == 2
    assert json.loads((tmp_path / run / "exit.json").read_text())["code"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_video_that_changes_during_training(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Any reader reports it with one line and exit code 3, a data worker too."""
    for number in range(5):
        write_video(tmp_path / "clips" / f"{number}.mp4", numbered_frames(24, 40, 48, first=number * 10))
    from vidpred import run

    prepare = run.prepare_folder

    def change_video(*arguments: object) -> None:
        prepare(*arguments)  # type: ignore[arg-type]
        for file in (tmp_path / "clips").glob("*.mp4"):
            file.write_bytes(b"gone")

    monkeypatch.setattr(run, "prepare_folder", change_video)
    words = [f"data.root={tmp_path}/clips", f"run={tmp_path}/run", f"data.num_workers={workers}", *TRAIN]
    result = call(capsys, "train", *words, "training.validate_every=0")
    refused(result, 3, "changed since it was scanned", ".mp4")
    assert json.loads((tmp_path / "run" / "exit.json").read_text())["code"] == 3


@pytest.mark.slow
def test_a_refused_command_leaves_the_exit_code_of_a_run(
    capsys: pytest.CaptureFixture[str], work: Path, tmp_path: Path
) -> None:
    words = ("train", f"data.root={work}/clips", f"run={tmp_path}/run", *TRAIN)
    assert call(capsys, *words)[0] == 0
    refused(call(capsys, *words, "data.unroll=2"), 2, "the run has other settings")
    assert json.loads((tmp_path / "run" / "exit.json").read_text())["code"] == 0


def test_starting_from_another_model(capsys: pytest.CaptureFixture[str], work: Path, tmp_path: Path) -> None:
    words = [f"data.root={work}/clips", f"run={tmp_path}/run", *TRAIN, f"training.init_from={work}/run"]
    result = call(capsys, "train", *words, "model.feature_maps=[[5],[5]]")
    refused(result, 4, "[training.init_from=...", "networks.0.0.weight", "use the model section", "config.yaml")


@pytest.mark.slow
def test_prepare_ucf101_keeps_groups_together(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root, lists = tmp_path / "UCF-101", tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    names = {group: f"Archery/v_Archery_g{group:02}_c01.avi" for group in (1, 7, 8, 22, 23, 25)}
    for number, name in enumerate(names.values()):
        write_video(root / name, numbered_frames(8, 32, 32, number), "mpeg4")
    (lists / "trainlist01.txt").write_text("".join(f"{names[group]} 3\n" for group in (8, 22, 23, 25)))
    (lists / "testlist01.txt").write_text("".join(f"{names[group]}\n" for group in (1, 7)))
    code, out, _ = call(capsys, "prepare", "ucf101", str(root), f"lists={lists}")
    assert code == 0
    assert "6 clips (2 train, 2 validation, 2 test)" in out
    assert "skipped" not in out
    overrides = [f"data.root={root}", f"run={tmp_path}/run", "data.num_workers=0", *TRAIN]
    assert (
        call(
            capsys, "train", "--config", "ucf101.yaml", *overrides, "model.size=release", "discriminator.size=strided"
        )[0]
        == 0
    )
    refused(call(capsys, "prepare", "ucf101", str(root), f"lists={tmp_path}"), 3, "trainlist01.txt", "expected")
    refused(call(capsys, "prepare", "ucf110", str(root)), 2, "did you mean ucf101?", "there are folder, ")
