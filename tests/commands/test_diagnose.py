"""Diagnosis: faults are found, and a healthy run has no finding."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.image_files import IMAGE_PRESETS, small_preset
from tests.video_files import numbered_frames, write_video
from vidpred import run
from vidpred.checkpoint import find_checkpoint
from vidpred.commands import diagnose
from vidpred.config import Config, load_config
from vidpred.config.unused_settings import changed
from vidpred.errors import StorageError
from vidpred.models.discriminators import MultiscaleDiscriminator
from vidpred.settings.yaml_files import as_yaml
from vidpred.training.checks import History, only_features
from vidpred.training.diagnosis import CHECKS, Diagnosis, checked_titles

ADVERSARIAL = {"objective.adversarial.weight": 0.05}
HEALTHY = {
    "input_min": 0.0, "input_max": 1.0, "input_std": 0.25, "input_extremes": 0.01, "prediction_min": 0.01,
    "prediction_max": 0.99, "non_finite": 0.0, "diversity": 0.95, "motion": 1.1, "energy": 0.8,
    "gradient_lp": 1.0, "gradient_gdl": 0.3, "gradient_adversarial": 0.4,
}  # fmt: skip
BALANCED = {"accuracy_real": 0.7, "accuracy_fake": 0.6, "accuracy": 0.65, "saturated": 0.05}


def lines(steps: int = 400, real: Any = None, fake: Any = None, **monitored: Any) -> list[dict[str, Any]]:
    """Return the log of a healthy run, with the given numbers replaced by a value or a function of the step."""
    written: list[dict[str, Any]] = []
    for step in range(10, steps + 1, 10):
        logged = BALANCED | {f"accuracy_{n}": f(step) for n, f in (("real", real), ("fake", fake)) if f}
        logged["accuracy"] = (logged["accuracy_real"] + logged["accuracy_fake"]) / 2
        logged |= {name: monitored[name] for name in ("saturated",) if name in monitored}
        written.append({"step": step, "generator/lp": 0.1, **{f"discriminator/{n}": v for n, v in logged.items()}})
        if step % 50 == 0:
            numbers = HEALTHY | {name: value for name, value in monitored.items() if name != "saturated"}
            values = {name: value(step) if callable(value) else value for name, value in numbers.items()}
            written.append({"step": step, **{f"monitor/{name}": v for name, v in values.items() if v is not None}})
    return written


def titles(written: list[dict[str, Any]], **settings: Any) -> list[str]:
    found = diagnose.diagnose(written, load_config(None, {**ADVERSARIAL, "training.steps": 400, **settings}))
    assert all(finding.observed and finding.why and finding.remedy for finding in found)
    return [finding.title for finding in found]


def test_healthy_numbers_have_no_finding() -> None:
    assert titles(lines()) == []
    assert titles([]) == []


def test_a_blurred_last_frame_is_named_with_its_energy() -> None:
    config = load_config(None, {"training.steps": 400, "data.pred_frames": 8})
    (found,) = diagnose.diagnose(lines(energy=0.7, energy_last=0.39), config)
    assert "blurry: edge energy 0.39 at frame 8" in found.observed
    assert "PSNR alone hides it" in found.observed


def one(step: int) -> float:
    return 1.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("title", "written"),
    [
        ("values that are not finite", lines(non_finite=lambda step: float(step == 300))),
        ("values that are not finite", [*lines(), {"step": 410, "generator/lp": float("nan")}]),
        ("frames outside [0, 1]", lines(input_max=255.0, input_std=60.0)),
        ("frames outside [0, 1]", lines(input_min=-1.0)),
        ("constant frames", lines(input_min=0.5, input_max=0.5, input_std=0.0)),
        ("constant frames", lines(input_min=0.0, input_max=0.0, input_std=0.0, input_extremes=1.0)),
        ("frames scaled twice", lines(input_max=1 / 255, input_std=0.001)),
        ("frames of 0 and 1 only", lines(input_extremes=1.0)),
        ("predictions outside [0, 1]", lines(prediction_min=-1.0)),
        ("no gradient from the discriminator", lines(gradient_adversarial=0.0)),
        ("an adversary without effect", lines(gradient_adversarial=1e-3)),
        ("an adversary that dominates the reconstruction", lines(gradient_adversarial=50.0)),
        ("a perfect discriminator", lines(real=one, fake=one, saturated=0.99)),
        (
            "oscillating adversarial training",
            lines(5000, real=lambda s: float(s // 400 % 2), fake=lambda s: 1 - s // 400 % 2),
        ),
        (
            "oscillating adversarial training",
            lines(5000, real=lambda s: 0.5 + s // 400 % 2 / 2, fake=lambda s: 0.5 + s // 400 % 2 / 2),
        ),
        ("constant predictions", lines(diversity=0.01)),
        ("samples that are all alike", lines(draws=0.01)),
        ("predictions that stand still", lines(motion=0.05)),
        ("blurred predictions", lines(energy=0.1)),
        ("blurred predictions", lines(energy=0.7, energy_last=0.39)),
        ("noisy predictions", lines(energy=5.0)),
        ("dead units", lines(dead_units=0.94)),
    ],
)
def test_each_fault_is_found_alone(title: str, written: list[dict[str, Any]]) -> None:
    assert titles(written) == [title]


def test_faults_that_occur_together() -> None:
    still = lines(motion=0.05, real=lambda s: 0.5, fake=lambda s: 0.5)
    assert titles(still) == ["predictions that stand still", "a discriminator that does not learn"]
    dead = lines(gradient_lp=0.0, gradient_gdl=0.0, gradient_adversarial=0.0)
    assert "the generator does not learn" in titles(dead)


def test_healthy_variations_are_not_findings() -> None:
    """For example a confident discriminator that is sometimes wrong, improving numbers, and early numbers."""
    assert titles(lines(real=one, fake=one, saturated=0.5)) == []
    assert titles(lines(energy=lambda step: step / 2000)) == [], "still getting sharper"
    assert titles(lines(150, energy=0.05, motion=0.0, draws=0.0)) == []
    assert titles(lines(draws=lambda step: step / 1e4)) == [], "the noise gains influence"
    assert titles(lines(draws=0.2)) == [], "most clips have one future"
    assert titles(lines(2000, real=lambda s: 0.5 + s // 10 % 2 / 2)) == []
    assert titles(lines(diversity=None, motion=None, energy=None)) == [], "nothing moved, so there are no such numbers"


def images_only(written: list[dict[str, Any]], preset: str = "dcgan_mnist.yaml") -> list[Diagnosis]:
    return diagnose.diagnose(written, load_config(preset, {"training.steps": 400}))


@pytest.mark.parametrize(
    "numbers",
    [{"diversity": 0.2}, {"nearest": 0.3}, {"draws": 0.02}],
)
def test_mode_collapse_is_named(numbers: dict[str, float]) -> None:
    written = lines(**{"nearest": 1.0, "draws": 1.1, "motion": None, **numbers})
    (found,) = images_only(written)
    assert found.title == "mode collapse"
    assert "discriminator.minibatch_kernels=10" in found.remedy
    assert images_only(lines(nearest=1.0, draws=1.1, motion=None)) == []
    assert images_only(written, "wgan_gp.yaml") == [], "its generator had 80 updates"
    young = lines(nearest=lambda step: step / 1000, diversity=lambda step: step / 1000, motion=None)
    assert images_only(young) == [], "samples still move apart"


def test_missed_modes_are_mode_collapse() -> None:
    written = [*lines(diversity=0.2, motion=None), {"step": 400, "validation/covered": 3}]
    (found,) = images_only(written, "gaussians_gan.yaml")
    assert (found.title, found.observed) == ("mode collapse", "samples cover 3 of 25 modes")
    assert images_only([*lines(motion=None), {"step": 400, "validation/covered": 24}], "gaussians_gan.yaml") == []


def test_findings_in_runs_of_images_speak_of_images() -> None:
    written = lines(input_max=255.0, input_std=60.0, energy=0.1, prediction_min=-1.0, motion=0.1, real=one, fake=one,
                    saturated=0.99)  # fmt: skip
    found = images_only(written)
    assert {finding.title for finding in found} == {
        "images outside [0, 1]", "samples outside [0, 1]", "a perfect discriminator", "blurred samples",
    }  # fmt: skip
    for finding in found:
        text = f"{finding.title} {finding.observed} {finding.why} {finding.remedy}"
        assert not re.search(r"frame|context|predict|clips?\b|video|moving|[{}]", text), text
    checked = checked_titles(written, load_config("dcgan_mnist.yaml"))
    assert not any("frame" in title or "still" in title for titles in checked for title in titles)


def test_a_critic_is_not_told_to_smooth_labels() -> None:
    perfect = lines(real=one, fake=one, saturated=0.99, motion=None)
    assert [finding.title for finding in images_only(perfect)] == ["a perfect discriminator"]
    assert images_only(perfect, "wgan.yaml") == [], "the better a critic, the better its gradient"


SETTING = re.compile(r"[a-z]+\.[\w.]+=[^\s;)]*[^\s;),.]")
FRAMES = ("tiny", "motion", "motion_adversarial", "ladder_adv", "release", "lotter_mse", "lotter_adversarial",
          "forking_ball_mse", "forking_ball_samples", "forking_ball_adversarial")  # fmt: skip


def test_checks_name_what_the_run_makes() -> None:
    for preset, words in (
        ("gaussians_gan.yaml", "points, samples"), ("dcgan_mnist.yaml", "images, samples"),
        ("tiny.yaml", "frames, predictions"),
    ):  # fmt: skip
        assert History([], load_config(preset)).word("{frames}, {predictions}") == words
        advice = " ".join(remedy.text for check in CHECKS for remedy in check.remedies)
        assert "detach images" not in advice


@pytest.mark.slow
@pytest.mark.parametrize("preset", [*FRAMES, *IMAGE_PRESETS])
def test_every_remedy_is_accepted(preset: str, tmp_path: Path) -> None:
    """Every setting of the advice that a run of any kind can receive is valid, used by it, and changes it."""
    small: dict[str, Any] = {"training.device": "cpu", "run": str(tmp_path / "run")}
    if preset in IMAGE_PRESETS:
        (tmp_path / "data").mkdir()
        config = small_preset(preset, tmp_path)
        if config.model.fitted:
            pytest.skip("fitted without steps: it has no monitors")
        small = {key: value for key, value in changed(config) if key.split(".")[0] in ("data", "model", "training")}
        small |= dict(changed(config))
        small = {key: value for key, value in small.items() if config.origins.get(key) == "Python"}
    elif load_config(f"{preset}.yaml").data.world is None or preset.startswith("motion"):
        for name in range(8):
            write_video(tmp_path / "clips" / f"{name}.mp4", numbered_frames(60, 160, 160))
        small |= {"data.root": str(tmp_path / "clips"), "data.num_workers": 0}
        small |= {"data.context_frames": 2, "data.pred_frames": 2}
    config = load_config(f"{preset}.yaml", small)
    tried = 0
    for check in CHECKS:
        history = History([], config)
        for remedy in check.remedies if check.applies(history) else ():
            settings = SETTING.findall(remedy.text) if remedy.condition(history) else []
            if settings and not (check.title.startswith("a discriminator without") and only_features(history) is None):
                words = [*(f"{key}={as_yaml(value)}" for key, value in small.items()), *settings]
                advised = load_config(f"{preset}.yaml", words)
                assert advised != config, remedy.text
                run.plan(advised)
                tried += 1
    assert tried


def validated(steps: int, **gains: Any) -> list[dict[str, Any]]:
    """Return a healthy log with validations every 100 steps, whose gains are functions of the step."""
    return [
        *lines(steps),
        *({"step": step, **{f"validation/psnr_over_{name}": gain(step) for name, gain in gains.items()}}
          for step in range(100, steps + 1, 100)),
    ]  # fmt: skip


def test_a_model_below_copying_is_found() -> None:
    below = validated(400, copy_last=lambda step: -4.5, optical_flow=lambda step: -6.0)
    assert titles(below) == ["predictions worse than copying"]
    rising = validated(400, copy_last=lambda step: -12 + step / 50)
    assert titles(rising) == ["predictions worse than copying"], "the run is over"
    assert titles(rising, **{"training.steps": 1000}) == [], "still improving"
    assert titles(below, **{"training.steps": 1000}) == ["predictions worse than copying"]
    assert titles(validated(400, copy_last=lambda step: 400 / step - 1.5)) == [], "within the spread of small sets"
    assert titles(validated(400, copy_last=lambda step: 1.0, optical_flow=lambda step: -2.0)) == [
        "predictions worse than optical flow"
    ]


@pytest.mark.slow
def test_a_run_below_copying_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"training.steps": 200, "training.validate_every": 100, "objective.adversarial.weight": 0.0}
    run.train(tiny(tmp_path / "run", **settings), generator=Constant())
    assert re.search(r"step 200: validation psnr [\d.]+ \(-[\d.]+ over copy last, ", capsys.readouterr().err)
    found = {finding.title: finding.observed for finding in diagnose.examine_run(tmp_path / "run").found}
    assert "dB below that of copies of the last context frame" in found["predictions worse than copying"]


@pytest.mark.parametrize(
    "config",
    [
        load_config("mlp_gan.yaml"),
        load_config("mixture.yaml"),
        load_config("tiny.yaml", ["training.early_stopping_patience=2", "training.best_by=psnr"]),
    ],
)
def test_a_trial_changes_only_settings_that_its_config_has(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial without validations once refused early stopping, and warned about settings of images from noise."""
    tried: list[Config] = []
    monkeypatch.setattr(diagnose, "train", tried.append)
    monkeypatch.setattr(diagnose, "read_metrics", lambda run: [])
    diagnose.try_config(config, "config", tmp_path, 4)
    (trial,) = tried
    assert trial.training.steps == 4
    assert trial.training.early_stopping_patience is None
    assert trial.training.best_by == "psnr_moving", "nothing is validated"
    assert (trial.training.log_every, trial.checkpoint.every) == ((10, 500) if config.model.fitted else (1, 4))
    validates = bool(config.data.context_frames)
    assert trial.training.validate_every == (0 if validates else config.training.validate_every)


def test_settings_without_an_adversarial_loss() -> None:
    matching = {"objective.adversarial.weight": 0.0, "objective.adversarial.feature_matching_weight": 1.0}
    assert titles(lines(), **matching) == ["a discriminator without an adversarial loss"]
    assert titles(lines(), **{"objective.adversarial.start": 400}) == ["an adversary that never starts"]


# Real runs, as small as possible.


def tiny(folder: Path, **more: Any) -> Config:
    settings = {
        "run": str(folder), "data.size": 16, "data.crop_size": 16, "model.scales": 2, "model.feature_maps": [[4], [4]],
        "model.kernel_sizes": [[3, 3], [3, 3]], "discriminator.size": "strided", "training.steps": 60,
        "training.batch_size": 4, "training.log_every": 2, "training.monitor_every": 10, "training.validate_every": 0,
        "training.image_every": 0, "training.device": "cpu", **ADVERSARIAL, **more,
    }  # fmt: skip
    return load_config(None, settings)


class Constant(nn.Module):
    """A generator whose images do not depend on the context."""

    def __init__(self) -> None:
        super().__init__()
        self.images = nn.ParameterList(nn.Parameter(torch.zeros(3, side, side)) for side in (8, 16))

    def forward(self, context: Tensor) -> list[Tensor]:
        return [image.sigmoid().expand(len(context), 1, -1, -1, -1) for image in self.images]


@pytest.mark.slow
def test_a_healthy_run_has_no_finding_and_monitors_change_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, every in (("with", 1), ("without", 0)):
        run.train(
            tiny(tmp_path / name, **{"training.monitor_every": every, "objective.adversarial.discriminator_steps": 2})
        )
    with_, without = (find_checkpoint(tmp_path / name, "last").path for name in ("with", "without"))
    for file in with_.glob("*.safetensors"):
        other = load_file(without / file.name)
        for key, value in load_file(file).items():
            assert torch.equal(value, other[key]), f"{file.name}/{key} differs"
    assert "warning" not in capsys.readouterr().err.replace("without validation", "")
    diagnosis = diagnose.examine_run(tmp_path / "with")
    assert diagnosis.found == []
    assert "nothing found in 60 steps" in diagnose.describe(diagnosis)
    monitored = [line for line in diagnosis.lines if "monitor/motion" in line]
    assert [line["step"] for line in monitored] == list(range(2, 61, 2)), "only steps that update the generator"
    assert not any("monitor/motion" in line for line in diagnose.examine_run(tmp_path / "without").lines)


@pytest.mark.slow
def test_a_constant_generator_is_reported_once_and_plotted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run.train(tiny(tmp_path / "run"), generator=Constant())
    warnings = [line for line in capsys.readouterr().err.splitlines() if "constant predictions" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith("vidpred: warning: step 50: constant predictions: ")
    diagnosis = diagnose.examine_run(tmp_path / "run")
    assert "constant predictions" in [finding.title for finding in diagnosis.found]
    diagnose.write_page(tmp_path / "page.html", diagnosis)
    assert (tmp_path / "page.html").read_text().count("data:image/png") == len(diagnosis.found) + 1, (
        "one plot per finding, and one of all numbers"
    )


class IgnoresNoise(nn.Module):
    """A generator that copies the last frame and ignores its noise."""

    noise_channels = 1

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(3, 1, 1))

    def forward(self, context: Tensor, noise: Tensor | None = None) -> list[Tensor]:
        fine = context[:, -1:] + self.shift
        return [nn.functional.avg_pool2d(fine[:, 0], 2)[:, None], fine]


@pytest.mark.slow
@pytest.mark.parametrize("ignored", [True, False])
def test_a_generator_that_ignores_its_noise_is_found(ignored: bool, tmp_path: Path) -> None:
    settings = {"training.steps": 200, "objective.adversarial.weight": 0.0, "model.noise_channels": 1,
                "discriminator.size": "release", "training.batch_size": 2, "objective.num_samples": 2}  # fmt: skip
    run.train(tiny(tmp_path / "run", **settings), generator=IgnoresNoise() if ignored else None)
    found = [finding.title for finding in diagnose.examine_run(tmp_path / "run").found]
    assert ("samples that are all alike" in found) is ignored


@pytest.mark.slow
def test_a_detached_gradient_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = MultiscaleDiscriminator.forward

    def detached(self: Any, context: Tensor, images: list[Tensor], with_features: bool = False) -> Any:
        return whole(self, context, [image.detach() for image in images], with_features)

    monkeypatch.setattr(MultiscaleDiscriminator, "forward", detached)
    run.train(tiny(tmp_path / "run", **{"training.steps": 20}))
    found = diagnose.examine_run(tmp_path / "run").found
    assert [finding.title for finding in found] == ["no gradient from the discriminator"]
    assert "adversarial" in found[0].observed


@pytest.mark.slow
def test_a_perfect_discriminator_is_found(tmp_path: Path) -> None:
    slow = {
        "training.generator.learning_rate": 1e-9,
        "training.discriminator.learning_rate": 5e-3,
        "training.steps": 150,
    }
    run.train(tiny(tmp_path / "run", **slow))
    assert "a perfect discriminator" in [finding.title for finding in diagnose.examine_run(tmp_path / "run").found]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("title", "scale", "offset"),
    [("frames outside [0, 1]", 2.0, -1.0), ("frames scaled twice", 1 / 255, 0.0), ("constant frames", 0.0, 0.5)],
)
def test_a_wrong_range_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, title: str, scale: float, offset: float
) -> None:
    from vidpred.data import batch

    right = batch.to_float
    monkeypatch.setattr(batch, "to_float", lambda frames: right(frames) * scale + offset)
    run.train(tiny(tmp_path / "run", **{"training.steps": 6}))
    assert title in [finding.title for finding in diagnose.examine_run(tmp_path / "run").found]


@pytest.mark.slow
def test_checkpoints_and_exit_codes_are_diagnosed(tmp_path: Path) -> None:
    run.train(tiny(tmp_path / "run", **{"training.steps": 4}))
    folder = find_checkpoint(tmp_path / "run", "last").path
    with (folder / "generator.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    (tmp_path / "run" / "exit.json").write_text(json.dumps({"code": 3, "message": "no video", "process": 0}))
    with (tmp_path / "run" / "metrics.jsonl").open("a") as log:
        log.write('{"step": 5, "generator/l')  # being written
    found = {finding.title: finding.observed for finding in diagnose.examine_run(tmp_path / "run").found}
    assert found == {
        "a damaged checkpoint": "step-4/generator.safetensors: sha256 differs",
        "a run that failed": "exit code 3: no video",
    }
    with pytest.raises(StorageError, match="run's settings"):
        diagnose.examine_run(tmp_path)


@pytest.mark.slow
def test_a_config_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {
        "data.size": 32, "discriminator.size": "strided", "training.batch_size": 2, "training.device": "cpu",
        "objective.adversarial.weight": 0.05, "objective.adversarial.start": 5000,
    }  # fmt: skip
    words = [f"{key}={value}" for key, value in settings.items()]
    with diagnose.examine("tiny.yaml", words, steps=4) as diagnosis:
        assert [finding.title for finding in diagnosis.found] == ["an adversary that never starts"]
        assert any("monitor/gradient_adversarial" in line for line in diagnosis.lines), (
            "the trial ignores objective.adversarial.start"
        )
    with diagnose.examine("tiny.yaml", [*words, "training.generator.learning_rate=1e30"], steps=3) as diagnosis:
        assert "a run that diverged" in [finding.title for finding in diagnosis.found]
    assert list(tmp_path.iterdir()) == [], "no file is left behind"
    with pytest.raises(StorageError, match="no such run folder"), diagnose.examine("runs/absent"):
        pass
