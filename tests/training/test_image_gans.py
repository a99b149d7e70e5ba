"""Training of image generators: resuming is exact, labels are passed on, and meaningless settings are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.image_files import write_digits
from vidpred.checkpoint import find_checkpoint
from vidpred.config import load_config
from vidpred.errors import ConfigError
from vidpred.evaluation.evaluate import evaluate
from vidpred.run import plan, train

SMALL: dict[str, Any] = {
    "data.crop_size": 8, "model.width": 4, "discriminator.width": 4, "training.batch_size": 4,
    "training.device": "cpu", "training.precision": "float32", "training.log_every": 1,
}  # fmt: skip


@pytest.mark.slow
def test_a_dcgan_resumes_exactly(tmp_path: Path) -> None:
    root = str(write_digits(tmp_path / "digits.npz"))
    settings = {**SMALL, "data.root": root, "checkpoint.every": 2, "training.image_every": 2}
    for steps in (2, 4):
        train(load_config("dcgan_mnist.yaml", {**settings, "run": str(tmp_path / "a"), "training.steps": steps}))
    train(load_config("dcgan_mnist.yaml", {**settings, "run": str(tmp_path / "b"), "training.steps": 4}))
    for name in ("generator", "discriminator", "ema"):
        stopped, whole = (find_checkpoint(tmp_path / run, "step-4").tensors(name) for run in ("a", "b"))
        assert stopped.keys() == whole.keys()
        assert all(torch.equal(stopped[key], whole[key]) for key in whole)
    assert (tmp_path / "b" / "images" / "step-000004.png").is_file()
    lines = [json.loads(line) for line in (tmp_path / "b" / "metrics.jsonl").read_text().splitlines()]
    assert any("monitor/diversity" in line for line in lines)
    assert not any("monitor/motion" in line for line in lines), "nothing moves without context frames"


def test_data_and_networks_have_the_same_classes(tmp_path: Path) -> None:
    root = str(write_digits(tmp_path / "digits.npz"))
    settings = {**SMALL, "data.root": root, "run": str(tmp_path / "run"), "training.steps": 1, "model.num_labels": 7}
    with pytest.raises(ConfigError, match=r"\[model.num_labels=7\] the data has 10 classes"):
        train(load_config("dcgan_mnist.yaml", settings))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"data.context_frames": 4}, "dcgan takes no context frames; set data.context_frames=0"),
        ({"model.name": "multiscale"}, "model.name: multiscale needs context frames"),
        ({"discriminator.name": "multiscale"}, "discriminator.name: multiscale needs context frames"),
        ({"data.lead": 2}, "data.lead=1"),
    ],
)
def test_frames_and_images_are_not_mixed_up(overrides: dict[str, Any], words: str) -> None:
    settings = load_config("dcgan_mnist.yaml")
    preset = {"data": settings.data.model_dump(), "objective": settings.objective.model_dump()}
    with pytest.raises(ConfigError, match=words):
        load_config(None, {**preset, "model.name": "dcgan", "discriminator.name": "dcgan", **overrides})


@pytest.mark.slow
def test_commands_that_need_context_frames_refuse_image_runs(tmp_path: Path) -> None:
    shared = [f"data.root={write_digits(tmp_path / 'digits.npz')}", "data.crop_size=8"]
    text = plan(load_config("dcgan_mnist.yaml", shared))
    assert "210 training images" in text
    for word in ("training.best_by=ssim", "data.min_motion=0.1", "training.validate_every=7"):
        with pytest.raises(ConfigError, match=f"{word}.* not used by this run"):
            plan(load_config("dcgan_mnist.yaml", [*shared, word]))


def test_evaluation_suggests_an_alternative(tmp_path: Path) -> None:
    root = str(write_digits(tmp_path / "digits.npz"))
    run = str(tmp_path / "run")
    train(load_config("dcgan_mnist.yaml", {**SMALL, "data.root": root, "run": run, "training.steps": 1}))
    with pytest.raises(ConfigError, match="vidpred sample"):
        evaluate(run)


@pytest.mark.slow
def test_the_plan_counts_deconvolutions_and_knows_the_size_of_points(tmp_path: Path) -> None:
    """In 4-byte values: the generator's 4x4x4 maps and 8x8 pixels; the discriminator's 4x4x4 and a logit, 3 times."""
    root = str(write_digits(tmp_path / "digits.npz"))
    large = {**SMALL, "data.root": root, "data.crop_size": 8, "training.batch_size": 50_000}
    text = plan(load_config("dcgan_mnist.yaml", large))
    memory = int(text.split("memory      about ")[1].split(" MB")[0].replace(",", ""))
    in_generator = 50_000 * (4 * 4 * 4 + 8 * 8) * 4
    in_discriminator = 3 * 50_000 * (4 * 4 * 4 + 1) * 4
    assert memory * 2**20 == pytest.approx(in_generator + in_discriminator, rel=0.02)
    assert "1,000,000 training points" in plan(load_config("gaussians_gan.yaml", {"training.device": "cpu"}))
