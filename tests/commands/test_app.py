"""The command line: instant help, one line per error, documented exit codes."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import yaml

from tests.command_line import run_vidpred
from tests.image_files import small_preset
from tests.video_files import numbered_frames, write_video
from vidpred.commands import app
from vidpred.commands.data import import_data_prep
from vidpred.config import to_yaml
from vidpred.models.baselines import BASELINES
from vidpred.training.plan import describe_times, duration
from vidpred.training.settings import TrainingSettings

TRAIN = [
    "training.steps=2", "training.batch_size=2", "data.crop_size=32", "model.scales=2",
    "model.feature_maps=[[4],[4]]", "model.kernel_sizes=[[3,3],[3,3]]", "training.device=cpu",
]  # fmt: skip


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run the command line in this process; return exit code, stdout and stderr."""
    code = run_vidpred(*words)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with clips and a trained run."""
    folder = tmp_path_factory.mktemp("work")
    for number in range(5):
        write_video(folder / "clips" / f"{number}.mp4", numbered_frames(24, 40, 48, first=number * 10))
    sys.argv = ["vidpred", "train", f"data.root={folder}/clips", f"run={folder}/run", *TRAIN]
    with pytest.raises(SystemExit) as end:
        app.main()
    assert not end.value.code
    return folder


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


def test_a_dry_run_checks_initial_weights(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", f"data.root={work}/clips", "run=runs/other", "--dry-run", *TRAIN]
    code, printed, errors = call(capsys, *words, f"training.init_from={work}/run")
    assert code == 0, errors
    assert "parameters" in printed
    wider = [*words, f"training.init_from={work}/run", "model.feature_maps=[[5],[4]]"]
    refused(call(capsys, *wider), 4, "training.init_from")
    refused(call(capsys, *words, f"training.init_from={work}/absent"), 4, "absent")


def refused(result: tuple[int, str, str], code: int, *words: str) -> None:
    """Check the exit code, and that the last line on stderr has these words, without a traceback."""
    found, _, errors = result
    assert found == code, errors
    assert "Traceback" not in errors
    last = errors.strip().splitlines()[-1]
    assert last.startswith("vidpred: error: ")
    for word in words:
        assert word in last


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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("predict --run x --output o.mp4", "missing argument 'CLIP...'; see vidpred predict --help"),
        ("predict a.mp4 --run x --output o.mp4 --frames 0", "see vidpred predict --help"),
        ("evaluate", "no model; give a run, --model NAME or --generator package.module:NAME"),
        ("evaluate --run", "see vidpred evaluate --help"),
        ("evaluate --run x --qqq", "no such option: --qqq; see vidpred evaluate --help"),
        ("predct a.mp4", "see vidpred --help"),
        ("--bogus", "see vidpred --help"),
    ],
)
def test_misused_verbs_are_one_line(capsys: pytest.CaptureFixture[str], words: str, message: str) -> None:
    result = call(capsys, *words.split())
    refused(result, 2, message)
    assert len(result[2].splitlines()) == 1


@pytest.mark.parametrize(
    "words", ["doctor {}", "train run={}", "train data.root={}", "predict {}", "export -r r -o {}/x.pt2"]
)
def test_too_long_names_are_one_line(capsys: pytest.CaptureFixture[str], words: str) -> None:
    assert run_vidpred(*words.format("n" * 300).split()) in (2, 3, 4)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("vidpred: error: ")
    assert len(last) <= 200


def test_waiting_threads_sleep(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Set before torch is loaded, which reads these once; what the user sets stays."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.delenv("KMP_BLOCKTIME", raising=False)
    call(capsys, "--version")
    assert (os.environ["OMP_WAIT_POLICY"], os.environ["KMP_BLOCKTIME"]) == ("active", "0")
    code = "import sys, vidpred.commands.app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


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


@pytest.mark.parametrize("how", ["word", "preset", "default", "usage"])
def test_a_launched_run_leaves_its_exit_code_when_the_settings_are_wrong(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Imitates `accelerate launch`, before anything of the run exists."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("run: mine\ntraning: {steps: 1}\n")
    words, run = {
        "word": (("training.stepps=1", "run=given"), "given"),
        "preset": (("--config", "mine.yaml"), "mine"),
        "default": (("training.stepps=1",), "runs/default"),
        "usage": (("--bogus", "run=given"), "given"),
    }[how]
    assert call(capsys, "train", *words)[0] == 2
    assert not (tmp_path / run).exists(), "without a launcher the process's exit code suffices"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    assert call(capsys, "train", *words)[0] == 2
    assert json.loads((tmp_path / run / "exit.json").read_text())["code"] == 2


def test_bad_settings(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    refused(call(capsys, "train", "--config", "ufc101.yaml"), 2, "did you mean ucf101.yaml?")
    refused(call(capsys, "train", "trainin.steps=1"), 2, "did you mean training.steps?")
    refused(call(capsys, "config", str(tmp_path / "no.yaml")), 2, "no such config file or preset")
    for words in (("--dry-run",), (f"run={tmp_path}/run",)):
        refused(call(capsys, "train", *words, "data.frame_skip=3"), 2, "[data.frame_skip=3]", "not used by this run")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu(capsys: pytest.CaptureFixture[str], work: Path, tmp_path: Path) -> None:
    refused(
        call(capsys, "train", "training.device=cuda", f"run={tmp_path}/run"),
        2,
        "no GPU is available",
        "[training.device=cuda]",
    )
    result = call(capsys, "evaluate", "--run", str(work / "run"), "--device", "cuda")
    refused(result, 2, "no GPU is available", "[--device cuda]", "auto or cpu")


@pytest.mark.slow
def test_bad_data(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(capsys, "train", "--config", "ucf101.yaml")
    refused(result, 3, "UCF-101/<Class>/v_<Class>_gXX_cYY.avi", "vidpred prepare ucf101", "data/UCF-101")
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(call(capsys, "train", f"data.root={empty}", f"run={tmp_path}/run"), 3, "no video files", str(empty))
    (empty / "bad.mp4").write_bytes(b"")
    refused(call(capsys, "train", f"data.root={empty}", f"run={tmp_path}/run"), 3, "bad.mp4: empty file", "ffmpeg -i")
    write_video(tmp_path / "short" / "a.mp4", numbered_frames(3, 40, 40))
    result = call(capsys, "train", f"data.root={tmp_path}/short", f"run={tmp_path}/run")
    refused(result, 3, "of the 5 frames needed", "data.context_frames", "the longest of 1 video has 3")
    write_video(tmp_path / "small" / "a.mp4", numbered_frames(60, 24, 24))
    result = call(capsys, "train", f"data.root={tmp_path}/small", f"run={tmp_path}/run2", "training.steps=1")
    refused(result, 3, "24x24 are smaller than data.crop_size=32")


def write_audio_only(path: Path) -> Path:
    """Write a second of silence without a video stream."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), "fltp", "mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.slow
def test_bad_clips_for_predict(capsys: pytest.CaptureFixture[str], work: Path, tmp_path: Path) -> None:
    run, output = str(work / "run"), str(tmp_path / "out.mp4")
    rest = ("--run", run, "--output", output)
    refused(
        call(capsys, "predict", str(tmp_path / "absent.mp4"), *rest), 3, "absent.mp4]; check its path", "No such file"
    )
    (tmp_path / "page.mp4").write_text("<html></html>")
    result = call(capsys, "predict", str(tmp_path / "page.mp4"), *rest)
    refused(result, 3, "HTML page", "page.mp4", "; download it again")
    assert "ffmpeg" not in result[2], "it has its own remedy"
    whole = (work / "clips" / "0.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    refused(
        call(capsys, "predict", str(tmp_path / "cut.mp4"), *rest),
        3,
        "it is probably incomplete: copy it again",
        "cut.mp4]",
    )
    sound = write_audio_only(tmp_path / "sound.mp4")
    refused(call(capsys, "predict", str(sound), *rest), 3, "only audio", "or use another clip")
    short = write_video(tmp_path / "short.mp4", numbered_frames(3, 40, 40))
    refused(call(capsys, "predict", str(short), *rest), 3, "3 frames, too few", "needs 4", "longer clip")
    clip = str(work / "clips" / "0.mp4")
    refused(call(capsys, "predict", clip, *rest, "--start", "2"), 2, "--start 2", "between 4 and 24")
    assert not Path(output).exists()
    assert not list(tmp_path.glob(".tmp-*"))


@pytest.mark.slow
def test_bad_outputs(capsys: pytest.CaptureFixture[str], work: Path, tmp_path: Path) -> None:
    clip, run = str(work / "clips" / "0.mp4"), str(work / "run")
    output = tmp_path / "out.mp4"
    output.write_text("precious")
    refused(call(capsys, "predict", clip, "--run", run, "--output", str(output)), 4, "--overwrite", "out.mp4")
    assert output.read_text() == "precious"
    assert call(capsys, "predict", clip, "--run", run, "--output", str(output), "--overwrite")[0] == 0
    refused(call(capsys, "predict", clip, "--run", run, "--output", str(output / "x.mp4")), 4, "cannot write here")
    refused(call(capsys, "predict", clip, "--run", run, "--output", "out.avi"), 2, ".mp4, .gif, .png")
    refused(call(capsys, "train", f"run={output}/run", *TRAIN), 4, "cannot write the run folder", "run=")


@pytest.mark.slow
def test_bad_outputs_of_an_evaluation_are_found_before_it(
    capsys: pytest.CaptureFixture[str], work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vidpred.evaluation import evaluate

    def too_late(*_: object, **__: object) -> None:
        raise AssertionError("the evaluation began before its outputs were checked")

    file = tmp_path / "file"
    file.write_text("precious")
    words = ("evaluate", "--run", str(work / "run"), "--frames", "1", "--windows", "1")
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "evaluate_predictors", too_late)
        refused(call(capsys, *words, "--json", f"{file}/x.json"), 4, "cannot write here", "choose another --json")
        refused(call(capsys, *words, "--plot", f"{file}/x.png"), 4, "cannot write here", "choose another --plot")
        refused(call(capsys, *words, "--json", str(tmp_path)), 4, "is a folder", "--json")
        refused(call(capsys, *words, "--plot", f"{tmp_path}/x.foo"), 2, "[--plot ", ".png, .pdf, .svg")
    assert file.read_text() == "precious"
    code, _, _ = call(capsys, *words, "--json", str(file), "--plot", f"{tmp_path}/new/folder/x.svg")
    assert code == 0
    assert json.loads(file.read_text())["windows"] == 1
    assert (tmp_path / "new" / "folder" / "x.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_unknown_devices(capsys: pytest.CaptureFixture[str], work: Path, tmp_path: Path, verb: str) -> None:
    clip = (str(work / "clips" / "0.mp4"), "--output", str(tmp_path / "x.mp4")) if verb == "predict" else ()
    result = call(capsys, verb, *clip, "--run", str(work / "run"), "--device", "gpu")
    refused(result, 2, "[--device gpu]", "auto, cpu, cuda")


@pytest.mark.slow
def test_gray_and_color_do_not_mix(capsys: pytest.CaptureFixture[str], work: Path, tmp_path: Path) -> None:
    gray = str(tmp_path / "gray")
    words = (f"data.root={work}/clips", f"run={gray}", *TRAIN, "training.steps=1", "data.channels=1")
    assert call(capsys, "train", *words)[0] == 0
    both = ("--run", str(work / "run"), "--run", gray)
    clip, output = str(work / "clips" / "0.mp4"), str(tmp_path / "x.mp4")
    for size in ((), ("--size", "40")):
        code, _, errors = call(capsys, "predict", clip, *both, "--output", output, *size)
        refused((code, "", errors), 2, "[data.channels] (run: 3; gray: 1)", "one by one")
        assert "--size" not in errors, "another size would not help"
    refused(call(capsys, "evaluate", *both), 2, "[data.channels] (run: 3; gray: 1)", "one by one")


@pytest.mark.slow
def test_bad_checkpoints(capsys: pytest.CaptureFixture[str], work: Path, tmp_path: Path) -> None:
    import shutil

    refused(call(capsys, "evaluate", "--run", str(tmp_path / "no")), 4, "no such run folder", "vidpred train")
    run = str(work / "run")
    refused(call(capsys, "evaluate", "--run", run, "--checkpoint", "step-9"), 4, "there are best, last, step-2")
    other = tmp_path / "other"
    shutil.copytree(work / "run", other)
    checkpoint = other / "checkpoints" / "step-2"
    settings = yaml.safe_load((checkpoint / "config.yaml").read_text())
    settings["model"]["feature_maps"] = [[5], [5]]
    _rewrite(checkpoint, "config.yaml", yaml.safe_dump(settings).encode())
    result = call(capsys, "evaluate", "--run", str(other))
    refused(result, 4, "parameter networks.0.0.weight is (4, 12, 3, 3) in the checkpoint, (5, 12, 3, 3) in the model")
    (checkpoint / "ema.safetensors").write_bytes(b"short")
    refused(call(capsys, "evaluate", "--run", str(other)), 4, "step-2/ema.safetensors: 5 bytes")


def _rewrite(checkpoint: Path, name: str, content: bytes) -> None:
    """Change a file of a checkpoint, and its entry in the manifest."""
    from hashlib import sha256

    (checkpoint / name).write_bytes(content)
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": len(content), "sha256": sha256(content).hexdigest()}
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))


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


def test_trackers_are_extras(
    capsys: pytest.CaptureFixture[str], work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tensorboard", "wandb", "trackio"):
        monkeypatch.setitem(sys.modules, name, None)
        words = [f"data.root={work}/clips", f"run={tmp_path}/run", *TRAIN, f"training.trackers={name}"]
        refused(call(capsys, "train", *words), 2, f"training.trackers={name}", f"pip install '.[{name}]'")


def test_unknown_splits(capsys: pytest.CaptureFixture[str], work: Path) -> None:
    refused(call(capsys, "evaluate", "--run", str(work / "run"), "--split", "tset"), 2, "train, validation, test")


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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the wheel away from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "-q", "-w", str(folder)]
    build = [sys.executable, "-m", "pip", "wheel", *options, str(Path(__file__).parents[2])]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("vidpred-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def outside(site: Path, folder: Path, *words: str) -> str:
    """Run Python with the unpacked wheel instead of the checkout; return its output."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_wheel_works_outside_the_checkout(site: Path, tmp_path: Path) -> None:
    """It has the presets, the typing marker, and one top-level module only."""
    assert outside(site, tmp_path, "-c", "import vidpred; print(vidpred.__file__)").startswith(str(site))
    assert "model.size: paper" in outside(site, tmp_path, "-m", "vidpred", "config", "ucf101.yaml")
    assert {path.name for path in site.iterdir() if path.suffix != ".dist-info"} == {"vidpred"}
    for name in ("py.typed", "configs/tiny.yaml", "data_prep/ucf101.py"):
        assert (site / "vidpred" / name).is_file()


@pytest.mark.slow
def test_a_wheel_prepares_in_several_processes(site: Path, tmp_path: Path) -> None:
    """Spawned workers find a data set's class in the package."""
    for number in range(3):
        write_video(tmp_path / "clips" / f"{number}.mp4", numbered_frames(8, 32, 32, number))
    assert "numpy" in outside(site, tmp_path, "-m", "vidpred", "prepare", "--help")
    words = ["prepare", "folder", "clips", "out", "--cache", "--workers", "2"]
    assert "24 frames" in outside(site, tmp_path, "-m", "vidpred", *words)
    code = "import vidpred.data_prep as found; print(found.__file__)"
    assert outside(site, tmp_path, "-c", code).startswith(str(site))
