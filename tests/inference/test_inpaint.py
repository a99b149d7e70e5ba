"""Inpainting: the search finds images of the generator, known pixels stay, the seam is smooth."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.command_line import run_vidpred as call
from tests.image_files import small_preset
from vidpred.config import load_config
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.inference.inpaint import Completer, Search, blended, parse_hole
from vidpred.inference.predictor import Predictor
from vidpred.models.base import Discriminator
from vidpred.models.images import Shape
from vidpred.models.mlp import MlpGenerator, MlpSettings
from vidpred.run import train

KNOWN = parse_hole("2,2,4,4", 8)
PLAIN = Search(steps=200, restarts=3, prior_weight=0, blend=False)


class LikesDark(Discriminator):
    """A discriminator that scores dark images as real."""

    num_scales = 1

    def forward(self, context: Tensor, images: list[Tensor]) -> Tensor:
        return 10 * (0.5 - images[-1].flatten(1).mean(1, keepdim=True))


def completer(discriminator: Discriminator | None = None) -> Completer:
    torch.manual_seed(0)
    generator = MlpGenerator(MlpSettings(hidden=[32], noise_channels=3), Shape(1, 8, 8))
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter *= 4  # the images of an untrained generator would be gray
    return Completer(Predictor(generator, DataSettings(context_frames=0, channels=1, crop_size=8)), discriminator)


def image_of(found: Completer, *noise: float) -> Tensor:
    return found.predictor.draw(torch.tensor([noise]))


def test_the_search_finds_an_image_of_the_generator() -> None:
    found = completer()
    target = torch.cat([image_of(found, 0.5, -0.3, 0.2), image_of(found, -0.6, 0.1, 0.7)])
    holed = torch.where(KNOWN, target, torch.zeros(()))
    filled = found.complete(holed, KNOWN, search=PLAIN)
    assert filled.shape == (2, 1, 1, 8, 8)
    assert torch.equal(filled[:, 0][..., KNOWN], holed[..., KNOWN])
    torch.testing.assert_close(filled[:, 0], target, atol=0.05, rtol=0)
    nothing = found.complete(holed, KNOWN, search=Search(steps=0, restarts=1, prior_weight=0, blend=False))
    assert float((nothing[:, 0] - target).abs().max()) > 0.2


def test_the_best_of_the_restarts_comes_first() -> None:
    found = completer()
    target = image_of(found, 0.5, -0.3, 0.2)
    short = Search(steps=3, restarts=5, prior_weight=0, blend=False)
    generated, costs = found._search(target, KNOWN.expand(1, 8, 8), 0, short, None)
    apart = ((generated[0] - target) * KNOWN).abs().flatten(1).sum(1) / KNOWN.sum()
    torch.testing.assert_close(costs[0], apart)
    chosen = found.complete(target, KNOWN, count=5, search=short)[0]
    for place, best in enumerate(apart.argsort()):
        torch.testing.assert_close(chosen[place][:, ~KNOWN], generated[0, best][:, ~KNOWN])


@pytest.mark.slow
def test_the_discriminator_is_a_prior() -> None:
    """log(1 - D) is minimized, so that completions get darker with a discriminator that prefers dark images."""
    guided, unguided = completer(LikesDark()), completer()
    target = image_of(unguided, 0.5, -0.3, 0.2)
    strong = Search(steps=100, restarts=1, prior_weight=10, blend=False)
    hole = ~KNOWN
    dark = guided.complete(target, KNOWN, search=strong)[0, 0, 0][hole].mean()
    assert float(dark) < 0.7 * float(unguided.complete(target, KNOWN, search=PLAIN)[0, 0, 0][hole].mean())


def test_blending_keeps_gradients_and_matches_the_border() -> None:
    """A difference by a linear function, which is harmonic, is removed; the hole must not touch the image's edge."""
    torch.manual_seed(0)
    target = torch.rand(2, 1, 8, 8) * 0.4 + 0.3
    slope = torch.linspace(-0.2, 0.2, 8)
    torch.testing.assert_close(blended(target + slope, target, KNOWN.expand(1, 8, 8)), target, atol=1e-5, rtol=0)
    flat = blended(target - 0.1, target, parse_hole("0,0,5,8", 8).expand(1, 8, 8))
    torch.testing.assert_close(flat, target, atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dcgan_mnist", "wgan_gp", "lapgan", "stylegan", "vae", "mixture"])
def test_every_kind_of_run_completes_images(name: str, tmp_path: Path) -> None:
    run = train(small_preset(name, tmp_path))
    image = tmp_path / "image.png"
    cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8))
    mask = np.zeros((8, 8), np.uint8)
    mask[:, :3] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    words = ["--run", str(run.folder), "--samples", "2", "--restarts", "2", "--steps", "2"]
    assert call("complete", *words, "-o", str(tmp_path / "own.png"), "--count", "3") == 0
    assert (
        call("complete", *words, "-o", str(tmp_path / "given.png"), "--mask", str(tmp_path / "mask.png"), str(image))
        == 0
    )
    # Rows of four: original, with its hole, two completions.
    own, given = (cv2.imread(str(tmp_path / f"{name}.png")) for name in ("own", "given"))
    assert own.shape[0] / own.shape[1] == pytest.approx(3 / 4, abs=0.05)
    assert given.shape[0] < given.shape[1] / 3


@pytest.mark.slow
def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(small_preset("dcgan_conditional", tmp_path))
    words = ["--run", str(run.folder), "-o", str(tmp_path / "out.png"), "--steps", "1"]
    for more, said in (
        (["--hole", "4,4,5,2"], "not a part of the run's 8x8 images"),
        (["--hole", "0,0,8,8"], "not a part of the run's 8x8 images"),
        (["--hole", "middle"], "left, top, width and height"),
        ([], "give one from 0 to 9"),
        (["--label", "10"], "no such class; choose from 0, 1, 2"),
        (["--label", "1,2"], "names 2 classes"),
        (["--label", "1", "--restarts", "2", "--samples", "3"], "raise it to 3"),
        (["--hole", "1,1,2,2", "--mask", "mask.png"], "give one of them"),
    ):
        assert call("complete", *words, *more) == 2
        assert said in capsys.readouterr().err
    assert call("complete", *words, "--label", "3") == 0
    dark = tmp_path / "dark.png"
    cv2.imwrite(str(dark), np.zeros((8, 8), np.uint8))
    assert call("complete", *words, "--label", "3", "--overwrite", "--mask", str(dark)) == 2
    assert "paint the hole white" in capsys.readouterr().err
    small = {"training.steps": 1, "training.batch_size": 2, "model.scales": 1, "training.device": "cpu"}
    frames = train(load_config(None, {**small, "run": str(tmp_path / "frames"), "training.validate_every": 0}))
    with pytest.raises(ConfigError, match="generates no images"):
        Completer.load(frames.folder)
