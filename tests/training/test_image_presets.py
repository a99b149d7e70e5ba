"""Every image preset trains with the same command, and its log shows its specific feature."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.image_files import IMAGE_PRESETS, small_preset
from vidpred.checkpoint import find_checkpoint
from vidpred.config import load_config, preset_folder
from vidpred.data.batch import Batch
from vidpred.errors import ConfigError
from vidpred.inference.sample_images import Sampler
from vidpred.losses.reconstruction import class_loss
from vidpred.models.dcgan import DcganDiscriminator, DcganDiscriminatorSettings
from vidpred.models.images import Shape
from vidpred.run import train
from vidpred.settings import flatten
from vidpred.training.objectives import Objective, ObjectiveSettings, Step


def run_preset(name: str, folder: Path) -> tuple[Path, list[dict[str, Any]]]:
    """Train a small version of a preset; return its run folder and the lines of its log."""
    run = train(small_preset(name, folder)).folder
    return run, [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_no_image_preset_is_forgotten() -> None:
    presets = {file.stem for file in preset_folder().glob("*.yaml") if not load_config(file).data.context_frames}
    assert presets == set(IMAGE_PRESETS)


GUIDELINES = {
    "model.name": "dcgan", "model.noise_channels": 100, "discriminator.batch_norm": True, "training.batch_size": 128,
    "training.generator.learning_rate": 2e-4, "training.generator.betas": [0.5, 0.999],
    "training.discriminator.learning_rate": 2e-4, "training.discriminator.betas": [0.5, 0.999],
}  # fmt: skip
# The settings that each preset is named after; their effects are tested with the code that reads them.
CHARACTER: dict[str, dict[str, Any]] = {
    "dcgan_mnist": GUIDELINES,
    "dcgan_fashion": GUIDELINES,
    "dcgan_faces": {**GUIDELINES, "model.width": 128, "data.crop_size": 64},
    "dcgan_conditional": {"model.num_labels": 10, "discriminator.num_labels": 10},
    "mlp_gan": {"discriminator.pieces": 5, "discriminator.dropout": 0.5, "objective.adversarial.loss": "bce",
                "training.generator.name": "sgd"},
    "mlp_gan_minimax": {"discriminator.pieces": 5, "objective.adversarial.loss": "minimax"},
    "wgan": {
        "objective.adversarial.loss": "wasserstein", "objective.adversarial.weight_clip": 0.01,
        "objective.adversarial.discriminator_steps": 5,
        "training.generator.name": "rmsprop", "training.generator.learning_rate": 5e-5,
    },
    "wgan_gp": {
        "objective.adversarial.loss": "wasserstein", "objective.adversarial.gradient_penalty_weight": 10.0,
        "objective.adversarial.discriminator_steps": 5, "objective.adversarial.weight_clip": None,
        "discriminator.batch_norm": False,
    },
    "lapgan": {"model.name": "lapgan", "model.scales": 3, "discriminator.name": "lapgan"},
    "improved_gan": {
        "objective.adversarial.feature_matching_weight": 1.0, "discriminator.classes": 10,
        "objective.adversarial.class_weight": 1.0,
        "data.labeled": 100, "model.virtual_batch": 64, "objective.adversarial.weight": 0.0,
    },
    "progressive": {
        "model.name": "progressive", "discriminator.name": "progressive", "objective.adversarial.loss": "wasserstein",
        "objective.adversarial.drift_weight": 1e-3, "objective.adversarial.gradient_penalty_weight": 10.0,
        "training.generator.betas": [0.0, 0.99], "training.ema_decay": 0.999,
    },
    "stylegan": {
        "model.name": "stylegan", "model.mixing": 0.9, "model.truncation": 0.7, "objective.adversarial.r1_weight": 2.5,
        "training.ema_decay": 0.999,
    },
    "r3gan_32": {
        "model.name": "r3gan", "discriminator.name": "r3gan", "objective.adversarial.loss": "relativistic",
        "objective.adversarial.r1_weight": 0.004, "objective.adversarial.r2_weight": 0.004,
        "objective.adversarial.r1_every": 1, "data.crop_size": 32,
    },
    "r3gan_64": {
        "model.name": "r3gan", "discriminator.name": "r3gan", "objective.adversarial.loss": "relativistic",
        "objective.adversarial.r1_weight": 0.16, "objective.adversarial.r2_weight": 0.16,
        "objective.adversarial.r1_every": 1, "data.crop_size": 64,
    },
    "few_images": {
        "objective.adversarial.augment": ["color", "translation", "cutout"], "discriminator.batch_norm": False,
        "objective.adversarial.loss": "relativistic",
    },
    "vae": {"model.name": "vae", "objective.kl_weight": 1.0, "objective.pixel_entropy_weight": 1.0, "model.width": 0},
    "vae_dcgan": {"model.name": "vae", "objective.kl_weight": 1.0, "model.width": 64},
    "mixture": {"model.name": "gaussian_mixture", "model.components": 100},
    "gaussians_gan": {
        "objective.adversarial.loss": "bce", "discriminator.minibatch_kernels": 0,
        "objective.adversarial.r1_weight": 0.0,
    },
    "gaussians_minibatch": {"discriminator.minibatch_kernels": 10},
    "gaussians_r1": {"objective.adversarial.r1_weight": 0.1},
    "gaussians_r3gan": {
        "objective.adversarial.loss": "relativistic", "objective.adversarial.r2_weight": 1.0e-3,
        "training.generator.betas": [0.0, 0.99], "training.discriminator.betas": [0.0, 0.99],
    },
    "gaussians_wgan_gp": {
        "objective.adversarial.loss": "wasserstein", "objective.adversarial.gradient_penalty_weight": 0.1,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", IMAGE_PRESETS)
def test_presets_have_their_namesake_settings(name: str) -> None:
    values = dict(flatten(load_config(f"{name}.yaml").model_dump(mode="json")))
    assert {key: values[key] for key in CHARACTER[name]} == CHARACTER[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", IMAGE_PRESETS)
def test_presets_train_and_sample(name: str, tmp_path: Path) -> None:
    run, lines = run_preset(name, tmp_path)
    assert any(IMAGE_PRESETS[name][1] in line for line in lines), f"no {IMAGE_PRESETS[name][1]} in the log"
    from vidpred.inference.predictor import Predictor

    images = torch.stack([image for _, image, _ in Sampler(Predictor.load(run)).samples(3)])
    assert bool(images.isfinite().all())
    assert not torch.equal(images[0], images[1])


def test_wgan_clips_its_critic_and_trains_the_generator_every_fifth_step(tmp_path: Path) -> None:
    run, lines = run_preset("wgan", tmp_path)
    for name, values in find_checkpoint(run).tensors("discriminator").items():
        if "running" not in name and "tracked" not in name:
            assert float(values.abs().max()) <= 0.01, name
    learnt = [line["step"] for line in lines if "generator/adversarial" in line]
    assert learnt == [5]


@pytest.mark.slow
def test_minimax_and_the_non_saturating_loss_differ_in_the_log(tmp_path: Path) -> None:
    """log(1 - D) is below 0, -log D above."""
    for name, sign in (("mlp_gan", 1), ("mlp_gan_minimax", -1)):
        _, lines = run_preset(name, tmp_path)
        assert all(line["generator/adversarial"] * sign > 0 for line in lines if "generator/adversarial" in line)


def test_only_labeled_images_have_a_class_loss() -> None:
    by_class = torch.tensor([[2.0, 0], [0, 0], [5, -5]])
    loss = class_loss(by_class, torch.tensor([0, -1, -1]))
    torch.testing.assert_close(loss, torch.tensor(np.log1p(np.exp(-2.0)), dtype=torch.float32))
    assert class_loss(by_class, torch.tensor([-1, -1, -1])).item() == 0


def test_class_logits_classify_real_images_by_their_logsumexp() -> None:
    """D = Z / (Z + 1), so its logit is log Z; the class loss uses the true images only."""
    torch.manual_seed(0)
    discriminator = DcganDiscriminator(DcganDiscriminatorSettings(width=4, classes=3), Shape(1, 8, 8))
    true, false = torch.rand(4, 1, 1, 8, 8), [torch.rand(4, 1, 1, 8, 8)]
    none, labels = true[:, :0], torch.tensor([0, 2, -1, 1])
    logits, by_class = discriminator(none, [true], with_classes=True)
    total = by_class.exp().sum(1, keepdim=True)
    torch.testing.assert_close(logits.sigmoid(), total / (total + 1))
    settings = ObjectiveSettings(lp_weight=0, gdl_weight=0, adversarial={"weight": 1, "class_weight": 2})
    step = Step(Batch(none, true, torch.arange(4), labels=labels), false, 0)
    losses = Objective(settings, discriminator, discriminator).discriminator_losses(step)
    expected = torch.nn.functional.cross_entropy(by_class[[0, 1, 3]], labels[[0, 1, 3]])
    torch.testing.assert_close(losses.parts["classes"], expected)
    torch.testing.assert_close(losses.total, losses.parts["real"] + losses.parts["fake"] + 2 * expected)


def test_true_and_false_images_are_normalized_separately() -> None:
    """The loss of true images equals that of a batch without false images."""
    torch.manual_seed(0)
    discriminator = DcganDiscriminator(DcganDiscriminatorSettings(width=4), Shape(1, 16, 16))
    true = torch.rand(4, 1, 1, 16, 16)
    objective = Objective(
        ObjectiveSettings(lp_weight=0, gdl_weight=0, adversarial={"weight": 1}), discriminator, discriminator
    )
    step = Step(Batch(true[:, :0], true, torch.arange(4)), [torch.rand(4, 1, 1, 16, 16) * 0.1], 0)
    alone = torch.nn.functional.softplus(-discriminator(true[:, :0], [true])).mean()
    torch.testing.assert_close(objective.discriminator_losses(step).parts["real"], alone)


def test_conditional_networks_need_all_labels(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.labeled=100"):
        train(small_preset("dcgan_conditional", tmp_path, {"data.labeled": 100}))
    with pytest.raises(ConfigError, match=r"set discriminator\.classes=10"):
        train(small_preset("improved_gan", tmp_path, {"discriminator.classes": 5}))


def test_class_weight_needs_classes() -> None:
    with pytest.raises(ConfigError, match="discriminator.classes"):
        load_config("dcgan_mnist.yaml", {"objective.adversarial.class_weight": 1.0})
