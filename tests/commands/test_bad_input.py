"""Input that cannot be used: one line per error, documented exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import yaml

from tests.command_line import TRAIN, call, refused, run_vidpred
from tests.video_files import numbered_frames, write_video


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
    "words", ["doctor {}", "train {}", "train run={}", "train data.root={}", "predict {}", "export -r r -o {}/x.pt2"]
)
def test_too_long_names_are_one_line(capsys: pytest.CaptureFixture[str], words: str) -> None:
    assert run_vidpred(*words.format("n" * 300).split()) in (2, 3, 4)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("vidpred: error: ")
    assert len(last) <= 200


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


def test_trackers_are_extras(
    capsys: pytest.CaptureFixture[str], work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tensorboard", "wandb", "trackio"):
        monkeypatch.setitem(sys.modules, name, None)
        words = [f"data.root={work}/clips", f"run={tmp_path}/run", *TRAIN, f"training.trackers={name}"]
        refused(call(capsys, "train", *words), 2, f"training.trackers={name}", f"pip install '.[{name}]'")


def test_unknown_splits(capsys: pytest.CaptureFixture[str], work: Path) -> None:
    refused(call(capsys, "evaluate", "--run", str(work / "run"), "--split", "tset"), 2, "train, validation, test")
