"""The training loop: stopping, resuming, divergence, several processes, custom generators."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.video_files import numbered_frames, write_video
from vidpred.checkpoint import RunFolder, find_checkpoint, read_metrics
from vidpred.config import load_config
from vidpred.errors import ConfigError, DivergedError, StorageError
from vidpred.inference.predictor import Predictor
from vidpred.run import train
from vidpred.training.optimizers import Schedule, schedule_factor
from vidpred.training.settings import ScheduleSettings, TrainingSettings

TINY: dict[str, Any] = {
    "training.steps": 12, "training.batch_size": 4, "model.scales": 2, "model.feature_maps": [[4], [4]],
    "model.kernel_sizes": [[3, 3], [3, 3]], "training.validation_windows": 1, "training.image_every": 0,
    "training.log_every": 1, "checkpoint.every": 3, "training.device": "cpu",
}  # fmt: skip
ADVERSARIAL = {
    "objective.adversarial.weight": 0.1,
    "objective.adversarial.r1_weight": 0.1,
    "objective.adversarial.r1_every": 2,
}

# Settings with state or random numbers: historical averages, singular vectors, gradient penalties.
STATEFUL = {"objective.history_weight": 1e-3, "discriminator.spectral_norm": True,
            "objective.adversarial.gradient_penalty_weight": 0.1, "objective.adversarial.discriminator_steps": 2,
            "objective.adversarial.feature_matching_weight": 0.1, "objective.adversarial.ramp": 40}  # fmt: skip


def command(overrides: dict[str, Any], processes: int = 1) -> list[str]:
    words = [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return [sys.executable, *(launcher if processes > 1 else []), "-m", "vidpred", "train", *words]


def start(overrides: dict[str, Any], processes: int = 1) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command(overrides, processes), env=environment, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def wait_for_step(folder: Path, step: int, process: subprocess.Popen[str]) -> None:
    """Wait until metrics.jsonl has the step's line."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        file = folder / "metrics.jsonl"
        if file.is_file() and f'{{"step": {step},' in file.read_text():
            return
        time.sleep(0.02)
    _, errors = process.communicate(timeout=10)
    raise AssertionError(f"step {step} was not reached: {errors[-500:]}")


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    _, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors[-2000:]
    return errors


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process and all its descendants: torch's launcher puts its workers into separate sessions."""
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for member in family:
        member.send_signal(signal.SIGSTOP)
    for member in family:
        member.kill()
    process.communicate()


def tensors(run: Path) -> dict[str, Tensor]:
    """Return everything in a run's last checkpoint: weights, averages, optimizers."""
    return tensors_of(find_checkpoint(run, "last").path)


def tensors_of(folder: Path) -> dict[str, Tensor]:
    return {
        f"{file.stem}/{name}": value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()
    }


def checksums(run: Path) -> dict[int, int]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["data_checksum"] for line in lines if "data_checksum" in line}


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "kills"), [(1, (10, 22)), (2, (10,))], ids=["1", "2"])
def test_killed_runs_resume_bit_for_bit(clips: Path, tmp_path: Path, processes: int, kills: tuple[int, ...]) -> None:
    """Kill a run with data workers in the middle of an epoch.

    Weights, averages, optimizers and the samples of every step equal those of an uninterrupted run.
    """
    settings = {
        **TINY, **ADVERSARIAL, **STATEFUL, "data.root": str(clips), "data.num_workers": 1,
        "training.steps": 36, "checkpoint.every": 7, "training.validate_every": 20,
    }  # fmt: skip
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    finish(start({**settings, "run": str(whole)}, processes))
    for step in kills:
        process = start({**settings, "run": str(broken)}, processes)
        wait_for_step(broken, step, process)
        kill(process)
    assert RunFolder(broken).steps()[-1] < 36, "the last kill came too late"
    finish(start({**settings, "run": str(broken)}, processes))
    expected, found = tensors(whole), tensors(broken)
    assert expected.keys() == found.keys()
    for part in ("optimizer_discriminator/", "memory_generator/", "memory_discriminator/"):
        assert any(name.startswith(part) for name in expected)
    assert any(name.endswith("weight.0.left") for name in expected), "no singular vector was saved"
    for name, value in expected.items():
        assert torch.equal(found[name], value), f"{name} differs after resuming"
    assert checksums(broken) == checksums(whole)
    assert len(checksums(whole)) == 36


SGD = {**ADVERSARIAL, "training.discriminator.name": "sgd", "training.generator.name": "sgd"}
BALANCED = {
    "objective.adversarial.weight": 0.5, "objective.adversarial.balanced": True, "discriminator.name": "patch",
    "discriminator.widths": [8], "training.discriminator.name": "sgd", "training.generator.name": "sgd",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("adversary", "batches"), [(SGD, 2), pytest.param(BALANCED, 1, marks=pytest.mark.reliability)])
def test_one_and_two_processes_train_on_the_same_samples(
    clips: Path, tmp_path: Path, adversary: dict[str, Any], batches: int
) -> None:
    """At the same effective batch size, samples are equal and weights close (sums are in another order)."""
    settings = {**TINY, **adversary, "data.root": str(clips), "training.precision": "float32"}
    parts = {"training.batch_size": 4 // batches, "training.gradient_accumulation_steps": batches}
    folders = [tmp_path / "one", tmp_path / "two"]
    for processes, folder in enumerate(folders, 1):
        finish(start({**settings, **(parts if processes == 2 else {}), "run": str(folder)}, processes))
    assert checksums(folders[0]) == checksums(folders[1])
    one, two = (load_file(find_checkpoint(folder, "last").path / "generator.safetensors") for folder in folders)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4)
    balance, other = ([line.get("generator/adversarial_weight") for line in read_metrics(folder)] for folder in folders)
    assert [weight for weight in balance if weight] == pytest.approx([weight for weight in other if weight], rel=1e-3)


@pytest.mark.slow
def test_sigterm_saves_and_the_same_command_resumes(
    clips: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = {
        **TINY, "data.root": str(clips), "run": str(tmp_path / "run"), "training.steps": 100_000,
        "training.validate_every": 0, "checkpoint.every": 50_000, "data.num_workers": 1,
    }  # fmt: skip
    process = start(settings)
    wait_for_step(tmp_path / "run", 4, process)
    process.terminate()
    errors = finish(process, 75)
    (step,) = RunFolder(tmp_path / "run").steps()
    assert step >= 4
    assert f"stopped after step {step} and saved" in errors.splitlines()[-1]
    assert json.loads((tmp_path / "run" / "exit.json").read_text())["code"] == 75
    assert train(load_config(None, {**settings, "training.steps": step + 2})).first_step == step
    printed = capfd.readouterr()
    assert f"resuming at step {step} of {step + 2}" in printed.err + printed.out


KEEPS_THE_FAILURE = """
import sys
from pathlib import Path
from vidpred import load_config, run, train
from vidpred.errors import DataError

folder = Path(sys.argv[1])
prepare = run.prepare_folder

def meddle(*arguments):
    prepare(*arguments)
    for file in (folder / "clips").glob("*.mp4"):
        file.write_bytes(b"gone")

run.prepare_folder = meddle
try:
    train(load_config(None, sys.argv[2:]))
except DataError as error:
    kept = error  # with its traceback, which holds the loader
    print("failed as expected")
"""


@pytest.mark.slow
def test_a_stored_error_leaves_no_data_worker_behind(tmp_path: Path) -> None:
    """A program that stores train's error can still exit, and its workers end with it."""
    for number in range(5):
        write_video(tmp_path / "clips" / f"{number}.mp4", numbered_frames(10, 40, 48, first=number * 10))
    settings = {**TINY, "data.root": str(tmp_path / "clips"), "run": str(tmp_path / "run"), "data.num_workers": 2,
                "training.validate_every": 0}  # fmt: skip
    words = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    process = subprocess.Popen(
        [sys.executable, "-c", KEEPS_THE_FAILURE, str(tmp_path), *words], text=True, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        said, errors = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        kill(process)
        pytest.fail("the program did not end: it waits for its data workers")
    assert (process.returncode, said) == (0, "failed as expected\n"), errors[-2000:]


@pytest.mark.slow
def test_two_processes_fail_together_with_one_message(clips: Path, tmp_path: Path) -> None:
    """With other settings on resume, both end at once with the same exit code in the run folder and one message."""
    settings = {**TINY, "data.root": str(clips), "run": str(tmp_path / "run"), "training.steps": 2}
    train(load_config(None, settings))
    began = time.monotonic()
    errors = finish(start({**settings, "objective.gdl_weight": 0.5}, 2), 1)
    assert time.monotonic() - began < 100, "a process was left waiting (for up to half an hour)"
    assert errors.count("vidpred: error: ") == 1
    for name in ("exit.json", "exit-process-1.json"):
        assert json.loads((tmp_path / "run" / name).read_text())["code"] == 2


@pytest.mark.slow
def test_a_stopped_run_is_extended(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {**TINY, "data.root": str(clips), "run": str(tmp_path / "run"), "training.steps": 3}
    train(load_config(None, settings))
    assert train(load_config(None, settings)).first_step == 3, "a finished run has nothing left to do"
    train(load_config(None, {**settings, "training.steps": 5}))
    printed = capsys.readouterr().err
    assert "training.steps changed: was 3, now 5" in printed
    assert "resuming at step 3 of 5; the factor of the learning rate stays at 0.85" in printed
    factors = [line.get("learning_rate_factor", 0.0) for line in read_metrics(tmp_path / "run")]
    factors = [factor for factor in factors if factor]
    assert len(factors) == 5
    assert factors == sorted(factors, reverse=True)
    assert find_checkpoint(tmp_path / "run", "last").step == 5


def test_fewer_steps_are_refused(clips: Path, tmp_path: Path) -> None:
    """Fewer steps than the newest checkpoint's are refused before the run's settings are rewritten."""
    settings = {**TINY, "data.root": str(clips), "run": str(tmp_path / "run"), "training.steps": 3}
    train(load_config(None, settings))
    before = (tmp_path / "run" / "config.yaml").read_text()
    with pytest.raises(ConfigError, match=r"\[training.steps\] 2 is below step 3, the newest checkpoint.*another run="):
        train(load_config(None, {**settings, "training.steps": 2}))
    assert (tmp_path / "run" / "config.yaml").read_text() == before


def test_other_settings_are_refused_on_resume(clips: Path, tmp_path: Path) -> None:
    settings = {**TINY, "data.root": str(clips), "run": str(tmp_path / "run"), "training.steps": 2}
    train(load_config(None, settings))
    wanted = r"gdl_weight was 1.0, now 0.0; to start .*init_from=.* another run=, or to resume it, add path=.*yaml"
    with pytest.raises(ConfigError, match=wanted):
        train(load_config(None, {**settings, "objective.gdl_weight": 0.0}))


def test_divergence_stops_before_the_update(clips: Path, tmp_path: Path) -> None:
    settings = {
        **TINY, "data.root": str(clips), "run": str(tmp_path / "run"), "objective.lp_exponent": 2.0,
        "training.generator.name": "sgd", "training.generator.learning_rate": 1e38, "checkpoint.every": 1,
    }  # fmt: skip
    with pytest.raises(DivergedError, match=r"generator's .* not finite at step \d+ .*learning_rate"):
        train(load_config(None, settings))
    record = json.loads(next((tmp_path / "run").glob("diverged-step-*.json")).read_text())
    assert len(record["positions"]) == 4


class Mean(nn.Module):
    """A custom generator: a weighted mean of the context, as one plain tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.zeros(4))

    def forward(self, context: Tensor) -> Tensor:
        weights = self.share.softmax(0).view(1, 4, 1, 1, 1)
        return (context * weights).sum(1, keepdim=True)


def test_a_custom_generator(clips: Path, tmp_path: Path) -> None:
    settings = {**TINY, "data.root": str(clips), "run": str(tmp_path / "run"), "training.steps": 3}
    run = train(load_config(None, settings), generator=Mean())
    with pytest.raises(StorageError, match="a custom generator, Mean"):
        run.predictor()
    predictor = run.predictor("last", generator=Mean())
    assert predictor.predict(torch.rand(4, 3, 20, 20), 2).shape == (2, 3, 20, 20)
    assert float(predictor.generator.share.detach().abs().max()) > 0, "the trained weights were not loaded"


class Volume(nn.Module):
    """A custom generator with 3-D convolutions over time and space."""

    def __init__(self) -> None:
        super().__init__()
        self.volume, self.flat = nn.Conv3d(3, 3, (4, 3, 3), padding=(0, 1, 1)), nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, context: Tensor) -> Tensor:
        frame = self.volume(context.transpose(1, 2))[:, :, 0]
        return torch.sigmoid(self.flat(frame))[:, None]


def test_weights_of_3d_convolutions_train(clips: Path, tmp_path: Path) -> None:
    settings = {**TINY, "data.root": str(clips), "run": str(tmp_path / "run"), "training.steps": 2}
    generator = Volume()
    before = generator.volume.weight.detach().clone()
    train(load_config(None, settings), generator=generator)
    assert not torch.equal(generator.volume.weight, before)
    assert generator.flat.weight.is_contiguous(memory_format=torch.channels_last)


class Shaped(Mean):
    """A custom generator whose images have the wrong shape."""

    def __init__(self, change: Any) -> None:
        super().__init__()
        self.change = change

    def forward(self, context: Tensor) -> Any:
        return self.change(super().forward(context))


def halves(frames: Tensor) -> Tensor:
    return frames[..., ::2, ::2]


@pytest.mark.parametrize(
    ("change", "adversary", "words"),
    [
        (lambda frames: frames[:, 0], False, "(4, 1, 3, 32, 32); it returned (4, 3, 32, 32)"),
        (lambda frames: frames.mean(2, keepdim=True), False, "(4, 1, 3, 32, 32); it returned (4, 1, 1, 32, 32)"),
        (lambda frames: frames.repeat(1, 2, 1, 1, 1), False, "(4, 1, 3, 32, 32); it returned (4, 2, 3, 32, 32)"),
        (lambda frames: [frames, frames], False, "(4, 1, 3, 16, 16), (4, 1, 3, 32, 32); it returned (4, 1, 3, 32, 32)"),
        (lambda frames: frames, True, "(4, 1, 3, 16, 16), (4, 1, 3, 32, 32); it returned (4, 1, 3, 32, 32)"),
        (lambda frames: [None], False, "it returned NoneType"),
        (lambda frames: None, False, "it returned NoneType"),
        (lambda frames: [], False, "it returned nothing"),
    ],
)
def test_wrong_shapes_of_a_custom_generator(
    clips: Path, tmp_path: Path, change: Any, adversary: bool, words: str
) -> None:
    """Broadcasting would silently train (B, C, H, W) against (B, K, C, H, W)."""
    settings = {**TINY, **(ADVERSARIAL if adversary else {}), "data.root": str(clips), "run": str(tmp_path / "run")}
    with pytest.raises(ConfigError) as caught:
        train(load_config(None, settings), generator=Shaped(change))
    assert words in str(caught.value)


@pytest.mark.slow
def test_a_custom_pyramid_trains_against_an_adversary(clips: Path, tmp_path: Path) -> None:
    settings = {**TINY, **ADVERSARIAL, "data.root": str(clips), "run": str(tmp_path / "run"), "training.steps": 1}
    train(load_config(None, settings), generator=Shaped(lambda frames: (halves(frames), frames)))


@pytest.mark.slow
def test_fine_tuning_with_another_crop_size_reinitializes_the_linear_layers(clips: Path, tmp_path: Path) -> None:
    settings = {**TINY, **ADVERSARIAL, "data.root": str(clips), "training.steps": 2}
    train(load_config(None, {**settings, "run": str(tmp_path / "first")}))
    tuned = {**settings, "run": str(tmp_path / "second"), "training.init_from": str(tmp_path / "first"),
             "data.crop_size": 40, "training.steps": 1, "training.generator.learning_rate": 1e-12,
             "training.discriminator.learning_rate": 1e-12}  # fmt: skip
    train(load_config(None, tuned))
    before, after = tensors(tmp_path / "first"), tensors(tmp_path / "second")
    for name, value in after.items():
        if name.startswith("generator/"):
            torch.testing.assert_close(value, before[name.replace("generator/", "ema/")], atol=1e-6, rtol=0)
        elif name.startswith("discriminator/"):
            convolution = value.dim() == 4 or (value.dim() == 1 and ".layers.0." in name)
            if convolution:
                torch.testing.assert_close(value, before[name], atol=1e-6, rtol=0)
    first_linear = [name for name in after if name.startswith("discriminator/") and after[name].dim() == 2]
    assert any(after[name].shape != before[name].shape for name in first_linear)


@pytest.mark.slow
def test_the_best_checkpoint_has_the_best_validation_metric(clips: Path, tmp_path: Path) -> None:
    settings = {**TINY, "data.root": str(clips), "run": str(tmp_path / "run"), "training.validate_every": 4,
                "training.best_by": "psnr"}  # fmt: skip
    train(load_config(None, settings))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    values = {line["step"]: line["validation/psnr"] for line in lines if "validation/psnr" in line}
    assert sorted(values) == [4, 8, 12]
    assert find_checkpoint(tmp_path / "run", "best").step == max(values, key=lambda step: values[step])


def test_predictions_use_the_averaged_weights(clips: Path, tmp_path: Path) -> None:
    settings = {**TINY, "data.root": str(clips), "run": str(tmp_path / "run"), "training.steps": 3}
    train(load_config(None, settings))
    predictor = Predictor.load(tmp_path / "run", "last")
    stored = tensors(tmp_path / "run")
    for name, value in predictor.generator.state_dict().items():
        assert torch.equal(value, stored[f"ema/{name}"])
        assert not torch.equal(value, stored[f"generator/{name}"])


@pytest.mark.slow
def test_the_last_step_writes_an_image(clips: Path, tmp_path: Path) -> None:
    settings = {**TINY, "data.root": str(clips), "training.steps": 3}
    for every, steps in ((2, [2, 3]), (50, [3]), (0, [])):
        run = train(load_config(None, {**settings, "run": str(tmp_path / str(every)), "training.image_every": every}))
        found = sorted(file.name for file in (run.folder / "images").glob("*"))
        assert found == [f"step-{step:06d}.png" for step in steps]


@pytest.mark.slow
def test_each_network_has_its_own_learning_rate_and_schedule(clips: Path, tmp_path: Path) -> None:
    """The discriminator's rate is 0 from the start; the generator's weights change every second step."""
    settings = {**TINY, **ADVERSARIAL, "data.root": str(clips), "objective.adversarial.discriminator_steps": 2,
                "checkpoint.every": 1, "checkpoint.keep": 9, "training.steps": 4, "training.validate_every": 0,
                "training.discriminator_schedule": {"shape": "linear", "hold": 0.0, "final": 0.0},
                "training.discriminator.learning_rate": 1e-3}  # fmt: skip
    train(load_config(None, {**settings, "run": str(tmp_path / "run")}))
    steps = [tensors_of(RunFolder(tmp_path / "run").folder(step)) for step in (1, 2, 3, 4)]

    def moved(before: int, after: int, network: str) -> float:
        names = [name for name in steps[0] if name.startswith(network)]
        return max(float((steps[after][name] - steps[before][name]).abs().max()) for name in names)

    assert moved(1, 2, "generator/") == 0, "the generator was updated in a step of the discriminator only"
    assert moved(2, 3, "generator/") > 1e-4
    # Adam's updates are about as large as the learning rate: 1e-3 times 3/4, 2/4, 1/4.
    lengths = [moved(step, step + 1, "discriminator/") for step in range(3)]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] == pytest.approx(0.75e-3, rel=0.5)
    assert lengths[2] == pytest.approx(0.25e-3, rel=0.5)


def test_schedule_by_hand() -> None:
    settings = ScheduleSettings(shape="linear", warmup_steps=2, hold=0.5, final=0.1)
    assert [schedule_factor(settings, step, 10) for step in (0, 1, 2, 5)] == [0.5, 1, 1, 1]
    assert schedule_factor(settings, 10, 10) == pytest.approx(0.1)
    assert schedule_factor(settings, 7.5, 10) == pytest.approx(0.55)  # type: ignore[arg-type]
    cosine = ScheduleSettings(shape="cosine", hold=0.0, final=0.0)
    assert schedule_factor(cosine, 5, 10) == pytest.approx(0.5)
    assert schedule_factor(ScheduleSettings(shape="constant"), 9, 10) == 1


def test_one_process_trains_in_both_precisions(tmp_path: Path) -> None:
    for precision in ("float32", "bfloat16", "float32"):
        train(
            load_config(
                None,
                {**TINY, "training.steps": 1, "run": str(tmp_path / f"{precision}"), "training.precision": precision},
            )
        )


def test_an_extended_run_continues_without_a_jump() -> None:
    """Rates never rise again, and networks never shrink, whenever and however often a run is extended."""

    def extended(old: Schedule, steps: int, done: int, **changes: Any) -> tuple[Schedule, str]:
        new = Schedule(TrainingSettings.model_validate({"steps": steps, **changes}))
        return new, new.load_state(json.loads(json.dumps(old.state())), done)

    finished = Schedule(TrainingSettings(steps=100))
    last = finished.factor("generator", 99)
    assert last == pytest.approx(1 - 0.9 * 39 / 40)
    longer, note = extended(finished, 200, 100)
    assert "stays at 0.12 until the schedule of 200 steps is below it" in note
    assert [longer.factor("discriminator", step) for step in (100, 150, 198)] == [last, last, last]
    assert longer.factor("generator", 199) == pytest.approx(1 - 0.9 * 79 / 80)
    assert longer.growth(100) == 1, "a grown network shrinks"
    again, _ = extended(longer, 400, 150)
    assert again.factor("generator", 150) == last
    assert extended(longer, 200, 150)[0].factor("generator", 160) == last, "resuming loses the limit"
    held, note = extended(finished, 200, 50)
    assert (held.factor("generator", 100), note) == (1, "")
    warming = {"schedule": {"warmup_steps": 10}}
    start = Schedule(TrainingSettings.model_validate({"steps": 100, **warming}))
    assert extended(start, 200, 5, **warming)[0].factor("generator", 8) == 0.9
    shorter, note = extended(finished, 80, 60)
    assert shorter.factor("generator", 60) == pytest.approx(1 - 0.9 * 12 / 32)
    assert "goes from 1 to 0.66" in note
