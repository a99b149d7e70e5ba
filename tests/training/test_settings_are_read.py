"""No setting is without effect: two training steps read every one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import BaseModel

from tests.image_files import Features, small_preset, write_network
from tests.models.test_standard_predictors import SMALL as SMALL_PREDICTORS
from tests.video_files import numbered_frames, write_video
from vidpred.config import CHOICES, Config, load_config, sections_of
from vidpred.run import train
from vidpred.settings import Settings

SMALL: dict[str, Any] = {
    "training.steps": 2, "training.batch_size": 2, "model.scales": 2, "training.validation_windows": 1,
    "training.device": "cpu",
}  # fmt: skip


# Sections that only some of the runs have.
OPTIONAL = {
    "training.discriminator_schedule.", "data.video.", "data.augment.", "data.world.", "objective.adversarial.",
    "objective.losses.",
}  # fmt: skip
# Together they use every image model.
IMAGES = (
    "dcgan_conditional", "mlp_gan", "lapgan", "vae", "mixture", "improved_gan", "progressive", "stylegan", "r3gan_32"
)  # fmt: skip


def all_fields(section: type[BaseModel], prefix: str = "") -> set[str]:
    """Return the dotted keys of all settings and sections."""
    fields = set()
    for name, field in section.model_fields.items():
        fields.add(prefix + name)
        for kind in sections_of(field.annotation):
            fields |= all_fields(kind, f"{prefix}{name}.")
    return fields


def places(section: Settings, prefix: str = "") -> dict[int, str]:
    """Return the prefix of every section's object; the optimizers of both networks share a class."""
    found = {id(section): prefix}
    for name in type(section).model_fields:
        inner = getattr(section, name)
        if isinstance(inner, Settings):
            found |= places(inner, f"{prefix}{name}.")
    return found


def image_folder(folder: Path) -> Path:
    """Write a few image files."""
    folder.mkdir()
    for number in range(12):
        Image.fromarray(np.full((8, 8), 20 * number, np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.mark.slow
def test_two_steps_read_every_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c", "d", "e", "f"):
        write_video(tmp_path / "clips" / f"{name}.mp4", numbered_frames(12, 48, 64))
    shared = {**SMALL, "data.root": str(tmp_path / "clips"), "data.crop_size": 32}
    configs = [
        load_config(None, {**shared, "run": str(tmp_path / "plain"), "training.generator.name": "sgd"}),
        load_config(
            None,
            {
                **shared, "run": str(tmp_path / "adversarial"), "objective.adversarial.weight": 0.1,
                "objective.adversarial.r1_weight": 0.1, "discriminator.size": "strided",
                "objective.adversarial.real_label": 0.9,
                "objective.adversarial.gradient_penalty_weight": 0.1,
                "objective.adversarial.feature_matching_weight": 0.1,
                "objective.adversarial.ramp": 1, "objective.adversarial.drift_weight": 0.1,
                "objective.adversarial.weight_clip": 1.0, "objective.history_weight": 0.1,
                "objective.adversarial.wrong_pairs": True, "training.discriminator_schedule.shape": "cosine",
                "training.discriminator_schedule.hold": 0.0,
                "training.discriminator.name": "rmsprop",
                "training.init_from": str(tmp_path / "plain"), "training.schedule.hold": 0.0,
                "objective.losses.charbonnier": 0.1,
            },
        ),
        load_config(
            None,
            {
                **shared, "run": str(tmp_path / "adam"), "objective.adversarial.weight": 0.1,
                "training.discriminator.name": "adam",
            },
        ),
        load_config(
            None,
            {
                **shared, "run": str(tmp_path / "patches"), "objective.adversarial.weight": 0.1,
                "objective.adversarial.balanced": True, "discriminator.name": "patch", "discriminator.widths": [4],
            },
        ),
        load_config(
            None,
            {
                **shared, "run": str(tmp_path / "noise"), "model.noise_channels": 1, "model.noise": "binary",
                "objective.num_samples": 2, "objective.other_samples_weight": 0.1,
            },
        ),
        load_config(
            None,
            {
                **{key: value for key, value in shared.items() if not key.startswith("model.")},
                "run": str(tmp_path / "unet"), "model.name": "film_unet", "model.noise_channels": 1,
            },
        ),
        load_config(
            None,
            {
                **{key: value for key, value in shared.items() if not key.startswith("model.")},
                "run": str(tmp_path / "motion"), "model.name": "motion", "model.widths": [4, 4, 4],
                "model.refine": True, "model.head_width": 4, "model.gate_width": 4, "data.world.synthetic_share": 0.5,
                "data.video.max_frames": 5000, "data.augment.color_jitter": 0.1, "data.augment.max_speed": 2,
                "data.augment.camera_shake": 1,
                "data.augment.time_warp": 0.5, "objective.log_weight": 1.0,
            },
        ),
        load_config(
            None, {**SMALL, "data.world.name": "moving_shapes", "data.crop_size": 32, "run": str(tmp_path / "things")}
        ),
        *(small_preset(name, tmp_path) for name in IMAGES),
        small_preset("few_images", tmp_path),
        small_preset(
            "dcgan_mnist",
            tmp_path / "projected",
            {
                "discriminator": {"name": "projected", "width": 4, "input_size": 32},
                "discriminator.network": str(write_network(Features(), tmp_path / "features.pt")),
            },
        ),
        small_preset("few_images", tmp_path / "adaptive", {"objective.adversarial.augment_target": 0.6}),
        small_preset(
            "mlp_gan",
            tmp_path / "files",
            {"data.root": str(image_folder(tmp_path / "images")), "data.video.white_level": 255},
        ),
        load_config(
            "lotter_mse.yaml",
            {"run": str(tmp_path / "lotter"), "training.steps": 2, "training.batch_size": 2, "data.crop_size": 16,
             "model.feature_maps": [4], "model.hidden": 8, "training.device": "cpu"},
        ),
        *(
            load_config(
                f"{name}_moving_mnist.yaml",
                {"run": str(tmp_path / name), "data.root": None, "data.crop_size": 32, "training.steps": 2,
                 "training.batch_size": 2, "training.device": "cpu", "data.unroll": 1, "data.context_frames": 2,
                 "data.pred_frames": 1, **{f"model.{key}": value for key, value in SMALL_PREDICTORS[name].items()}},
            )
            for name in SMALL_PREDICTORS
        ),
    ]  # fmt: skip
    prefixes = {number: prefix for config in configs for number, prefix in places(config).items()}
    sections = {
        "",
        *(f"{key}." for key in all_fields(Config) if any(k.startswith(f"{key}.") for k in all_fields(Config))),
    }
    for config in configs:  # a section that may be left out is not in all of them
        assert set(places(config).values()) >= sections - OPTIONAL, "two sections share an object"
    assert set(prefixes.values()) == sections
    read: set[str] = set()
    plain = Settings.__getattribute__

    def note(self: Settings, name: str) -> Any:
        if name in type(self).model_fields and id(self) in prefixes:
            read.add(prefixes[id(self)] + name)
        return plain(self, name)

    monkeypatch.setattr(Settings, "__getattribute__", note)
    for config in configs:
        train(config)
    read |= {f"{section}.name" for section in CHOICES}  # they chose the classes of these objects
    assert all_fields(Config) - read == set(), "settings that training never reads"
