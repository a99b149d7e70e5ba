"""Augmentation of the discriminator's inputs: what each does, its gradients, and the adapted probability."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vidpred.config import load_config
from vidpred.errors import ConfigError
from vidpred.losses.augmentation import AUGMENTATIONS, AdaptiveProbability, augment, cut_out, shift_colors, translate
from vidpred.training.adversarial_losses import AdversarialLosses, AdversarialSettings


def test_translation_shifts_every_image_by_up_to_an_eighth() -> None:
    """A lit pixel in the middle of 16x16 moves by -2 to 2; the border that comes in is gray."""
    torch.manual_seed(0)
    images = torch.zeros(200, 1, 16, 16)
    images[:, :, 8, 8] = 1
    moved = translate(images)
    places = torch.nonzero(moved[:, 0] == 1)[:, 1:]
    assert len(places) == 200
    assert {(int(y) - 8, int(x) - 8) for y, x in places} == {(y, x) for y in range(-2, 3) for x in range(-2, 3)}
    gray = (moved == 0.5).sum((1, 2, 3))
    wanted = torch.tensor([256 - (16 - abs(int(y) - 8)) * (16 - abs(int(x) - 8)) for y, x in places])
    assert torch.equal(gray, wanted)


def test_cutout_covers_at_most_a_quarter_by_gray() -> None:
    torch.manual_seed(0)
    covered = (cut_out(torch.ones(300, 3, 16, 16)) == 0.5).float()
    shares = covered.mean((1, 2, 3))
    assert float(shares.max()) == 0.25
    assert float(shares.min()) < 0.1, "the rectangle may lie partly outside"
    assert torch.equal(covered[:, 0], covered[:, 2])


def test_colors_keep_the_places_of_pixels() -> None:
    """Brightness moves the mean by up to 1/4; a gray image stays gray, and contrast scales it by 1/2 to 3/2."""
    torch.manual_seed(0)
    images = torch.rand(500, 1, 4, 4).expand(-1, 3, -1, -1)
    colored = shift_colors(images)
    torch.testing.assert_close(colored[:, 0], colored[:, 1])
    change = (colored - images).mean((1, 2, 3))
    assert 0.2 < float(change.max()) <= 0.25
    scale = colored.std((1, 2, 3)) / images.std((1, 2, 3))
    assert 0.5 <= float(scale.min()) < 0.6
    assert 1.4 < float(scale.max()) <= 1.5


def test_saturation_is_scaled_by_up_to_2() -> None:
    """Differences of color channels scale by 0 to 2, and by the contrast of 1/2 to 3/2."""
    torch.manual_seed(0)
    images = torch.rand(2000, 3, 1, 1)  # one pixel, whose mean over channels is that of the image
    colored = shift_colors(images)
    scale = (colored - colored.mean(1, keepdim=True))[:, 0, 0, 0] / (images - images.mean(1, keepdim=True))[:, 0, 0, 0]
    assert -1e-3 < float(scale.min()) < 0.05
    assert 2.7 < float(scale.max()) < 3.001


@pytest.mark.slow
@pytest.mark.parametrize("name", list(AUGMENTATIONS))
def test_augmentations_are_differentiable_twice(name: Any) -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)

    def augmented(images: Tensor) -> Tensor:
        torch.manual_seed(1)
        return augment(images, [name], 1.0).square()

    assert torch.autograd.gradcheck(augmented, images)
    assert torch.autograd.gradgradcheck(augmented, images)


def test_the_probability_is_the_share_of_augmented_images() -> None:
    torch.manual_seed(0)
    images = torch.rand(4000, 1, 8, 8)
    changed = (augment(images, ["color"], 0.3) != images).flatten(1).any(1)
    assert float(changed.float().mean()) == pytest.approx(0.3, abs=0.03)


def test_the_probability_adapts_to_overfitting() -> None:
    """Signs of 1 are above the target 0.6, of 0 below it: 4 updates of 50 images out of 1,000 change it by 0.2."""
    adaptive = AdaptiveProbability(0.6, 1000)
    found = []
    for accuracy in [1.0] * 4 + [0.81] * 4 + [0.5] * 4 + [0.0] * 8:
        adaptive.update(accuracy, 50)
        found.append(float(adaptive.probability))
    assert found[3::4] == pytest.approx([0.2, 0.4, 0.2, 0.0, 0.0])
    assert found[:3] == [0, 0, 0]
    again = AdaptiveProbability(0.6, 1000)
    adaptive.update(1.0, 50)
    again.load_state_dict(adaptive.state_dict())
    for _ in range(3):
        again.update(1.0, 50)
    assert float(again.probability) == pytest.approx(0.2)


def test_real_and_generated_images_are_augmented_for_the_discriminator_only() -> None:
    """The discriminator scores augmented images in both phases; the gradient reaches the generator's own images."""
    torch.manual_seed(0)
    own = {"weight": 1.0, "augment": ["cutout"], "augment_target": 0.6, "augment_ramp_images": 100}
    losses = AdversarialLosses(AdversarialSettings(**own), {})
    real, fake = [torch.ones(5, 1, 1, 8, 8)], [torch.ones(5, 1, 1, 8, 8, requires_grad=True)]
    seen: list[Tensor] = []

    def score(images: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        seen.append(images[0].detach())
        return images[0].mean((1, 2, 3, 4))[:, None], [images[0].flatten(1)]

    for step in range(4):
        parts = losses.discriminator_losses(lambda images: score(images)[0], real, [fake], step).parts
        losses.after_update("discriminator")
    assert float(parts["augment_probability"]) == 0
    assert all(bool((images == 1).all()) for images in seen), "the probability starts at 0"
    assert float(losses.memory["augmentation"].probability) == pytest.approx(0.2)  # type: ignore[arg-type]
    for _ in range(100):
        losses.discriminator_losses(lambda images: score(images)[0], real, [fake], 0)
        losses.after_update("discriminator")
    (_, loss) = losses.generator_terms(score, fake, real, 0)["adversarial"]
    loss.backward()
    hidden = seen[-1] == 0.5
    assert bool(hidden.flatten(1).any(1).all())
    assert fake[0].grad is not None
    assert torch.equal(fake[0].grad == 0, hidden)
    assert bool((fake[0] == 1).all())


@pytest.mark.parametrize("preset", ["tiny.yaml", "gaussians_r1.yaml", "lapgan.yaml"])
def test_frames_points_and_pyramids_are_not_augmented(preset: str) -> None:
    changes = {"objective.adversarial.weight": 1.0, "objective.adversarial.augment": ["color"], "data.crop_size": 32}
    with pytest.raises(ConfigError, match="augment: only for generators of images"):
        load_config(preset, changes)
