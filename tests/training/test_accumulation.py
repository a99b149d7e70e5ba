"""Gradient accumulation: several small batches train like one large one, and float16's scaled losses like others."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.image_files import small_preset
from tests.training.test_trainer import checksums, tensors
from vidpred.checkpoint import find_checkpoint, read_metrics
from vidpred.config import load_config
from vidpred.data.batch import Batch
from vidpred.errors import ConfigError, DivergedError
from vidpred.run import build_networks, train
from vidpred.training import updates

SETTINGS: dict[str, Any] = {
    "training.steps": 4, "training.batch_size": 8, "training.precision": "float32", "training.device": "cpu",
    "training.log_every": 1, "training.validate_every": 0, "training.image_every": 0, "training.schedule.hold": 1.0,
    "training.generator.name": "sgd", "training.discriminator.name": "sgd", "checkpoint.every": 2,
    "model.scales": 2, "model.feature_maps": [[4], [4]], "model.kernel_sizes": [[3, 3], [3, 3]],
    "data.world.name": "moving_shapes", "data.crop_size": 16, "discriminator.size": "strided",
    "objective.adversarial.weight": 0.1, "objective.adversarial.r1_weight": 0.1, "objective.adversarial.r1_every": 2,
    "objective.adversarial.drift_weight": 0.1, "objective.adversarial.discriminator_steps": 2,
    "objective.log_weight": 0.1, "objective.history_weight": 1e-3, "training.discriminator.learning_rate": 0.1,
}  # fmt: skip


def trained(folder: Path, **changes: Any) -> dict[str, torch.Tensor]:
    """Train and return everything in the last checkpoint."""
    names = {"batch_size": "training.batch_size", "batches": "training.gradient_accumulation_steps",
             "steps": "training.steps"}  # fmt: skip
    given = {names.get(name, name): value for name, value in changes.items()}
    train(load_config(None, {**SETTINGS, "run": str(folder), **given}))
    return tensors(folder)


@pytest.mark.slow
def test_small_batches_train_like_a_large_one(tmp_path: Path) -> None:
    """The mean of gradients over equal parts is the gradient of the mean, for both networks, also with penalties."""
    whole = trained(tmp_path / "whole", batch_size=8)
    parts = trained(tmp_path / "parts", batch_size=2, batches=4)
    start = trained(tmp_path / "start", batch_size=8, steps=2)
    assert checksums(tmp_path / "whole") == checksums(tmp_path / "parts")
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-4, atol=1e-6)
    for network in ("generator", "discriminator"):
        moved = [float((whole[name] - start[name]).abs().max()) for name in whole if name.startswith(f"{network}/")]
        assert max(moved) > 1e-4, f"the {network} did not train, so nothing was compared"
    one, other = (read_metrics(tmp_path / name)[-1] for name in ("whole", "parts"))
    for name in ("generator/lp", "generator/adversarial", "discriminator/real", "discriminator/fake"):
        assert other[name] == pytest.approx(one[name], rel=1e-4)


@pytest.mark.slow
def test_accumulation_resumes_exactly(tmp_path: Path) -> None:
    """Also with random draws: noise, and the points of the gradient penalty."""
    changes = {"batch_size": 2, "batches": 2, "model.noise_channels": 2, "training.schedule.shape": "constant",
               "objective.adversarial.gradient_penalty_weight": 0.1}  # fmt: skip
    whole = trained(tmp_path / "whole", **changes)
    trained(tmp_path / "broken", **changes, steps=2)
    broken = trained(tmp_path / "broken", **changes)
    assert all(torch.equal(broken[name], value) for name, value in whole.items())


def test_both_networks_learn_from_the_same_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The generator runs again on each batch for its own update, with the same noise."""
    found: list[float] = []
    predict = updates.Updates._predict

    def noted(self: updates.Updates, batch: Batch) -> Any:
        images, losses = predict(self, batch)
        found.append(float(images[-1].detach().double().sum()))
        return images, losses

    monkeypatch.setattr(updates.Updates, "_predict", noted)
    trained(tmp_path / "run", batch_size=2, batches=2, steps=1,
            **{"model.noise_channels": 2, "objective.adversarial.discriminator_steps": 1})  # fmt: skip
    assert found[:2] == found[2:]
    assert len(set(found)) == 2


def test_running_statistics_count_every_batch_once(tmp_path: Path) -> None:
    """The generator runs twice on a batch, for either network; its batch norm counts it once."""
    changes = {"training.gradient_accumulation_steps": 3, "training.steps": 2}
    run = train(small_preset("dcgan_conditional", tmp_path, changes))
    found = tensors(run.folder)
    assert {int(found[name]) for name in found if name.startswith("generator/") and "tracked" in name} == {2 * 3}


@pytest.mark.parametrize(
    ("preset", "changes", "words"),
    [
        ("improved_gan", {}, "feature_matching_weight matches means"),
        (
            "improved_gan",
            {"objective.adversarial.feature_matching_weight": 0.0, "objective.adversarial.weight": 1.0},
            "class_weight averages over the labeled",
        ),
        ("progressive", {}, "compares the samples of the whole batch.*minibatch_std_group=0"),
        ("mlp_gan", {"discriminator.minibatch_kernels": 4}, "minibatch_kernels=0.*batch_size=16 without"),
    ],
)
def test_objectives_of_whole_batches_are_refused(
    tmp_path: Path, preset: str, changes: dict[str, Any], words: str
) -> None:
    config = small_preset(preset, tmp_path / "run", {**changes, "training.gradient_accumulation_steps": 2})
    with pytest.raises(ConfigError, match=rf"training.gradient_accumulation_steps=2\] .*{words}"):
        train(config)


class TestScaledLosses:
    """Losses scaled by a power of 2 give bit for bit the same updates, as far as nothing overflows."""

    @staticmethod
    def scale(monkeypatch: pytest.MonkeyPatch, initial: float) -> None:
        def scaler(accelerator: object) -> torch.amp.GradScaler:
            return torch.amp.GradScaler("cpu", init_scale=initial, growth_interval=3)

        monkeypatch.setattr(updates, "build_scaler", scaler)

    @pytest.mark.slow
    def test_updates_do_not_depend_on_the_scale(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        changes = {"training.grad_clip_norm": 0.01, "training.schedule.shape": "constant"}
        plain = trained(tmp_path / "plain", **changes)
        self.scale(monkeypatch, 2.0**8)
        scaled = trained(tmp_path / "scaled", **changes)
        assert all(torch.equal(scaled[name], value) for name, value in plain.items())
        state = find_checkpoint(tmp_path / "scaled", "last").state["scalers"]
        assert state["discriminator"]["scale"] == 2.0**9, "four updates, and growth after three"
        assert (state["generator"]["scale"], state["generator"]["_growth_tracker"]) == (2.0**8, 2)
        trained(tmp_path / "broken", **changes, steps=2)
        assert all(torch.equal(value, scaled[name]) for name, value in trained(tmp_path / "broken", **changes).items())
        assert find_checkpoint(tmp_path / "broken", "last").state["scalers"] == state

    @pytest.mark.slow
    def test_an_overflow_skips_the_update(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The first loss, about 1.4, times 3e38 is infinite."""
        self.scale(monkeypatch, 3e38)
        config = load_config(None, {**SETTINGS, "run": str(tmp_path / "run"), "training.steps": 1})
        train(config)
        torch.manual_seed(config.seed)
        _, start = build_networks(config)
        assert start is not None
        found = tensors(tmp_path / "run")
        assert all(torch.equal(found[f"discriminator/{name}"], value) for name, value in start.state_dict().items())
        state = find_checkpoint(tmp_path / "run", "last").state["scalers"]
        assert state["discriminator"]["scale"] == pytest.approx(1.5e38)
        after = trained(tmp_path / "run", steps=2)
        assert not all(torch.equal(found[name], after[name]) for name in found if name.startswith("discriminator/"))

    def test_a_gradient_that_is_never_finite_diverges(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scale(monkeypatch, 2.0)

        def backward(network: updates.Network, loss: torch.Tensor) -> None:
            assert network.scaler is not None
            network.scaler.scale(loss)
            for parameter in network.parameters:
                parameter.grad = torch.full_like(parameter, math.inf)

        monkeypatch.setattr(updates.Network, "backward", backward)
        with pytest.raises(DivergedError, match="discriminator's loss or gradient is not finite at step 2 "):
            trained(tmp_path / "run", **{"training.steps": 9})


def test_float16_needs_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[training.precision=float16\] needs a GPU.*the CPU; .*precision=auto"):
        trained(tmp_path / "run", **{"training.precision": "float16"})
