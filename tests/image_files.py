"""Real images for tests: scikit-learn's 1,797 digits of 8x8 pixels, in the files that users have."""

from __future__ import annotations

import gzip
import warnings
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vidpred.config import Config, load_config


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return images `(1797, 8, 8)` uint8 and labels `(1797,)` int64."""
    package = find_spec("sklearn")  # importing it takes a second
    assert package is not None
    rows = np.loadtxt(Path(str(package.origin)).parent / "datasets" / "data" / "digits.csv.gz", np.int64, delimiter=",")
    return np.minimum(rows[:, :64].reshape(-1, 8, 8) * 16, 255).astype(np.uint8), rows[:, 64]


def write_idx(path: Path, values: np.ndarray, compressed: bool = False) -> None:
    """Write an array in the IDX format of Yann LeCun's MNIST page."""
    content = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    content += values.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if compressed else content)


def write_digits(path: Path, count: int = 300) -> Path:
    """Write an .npz of the first digits with their labels."""
    images, labels = digits()
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, images=images[:count], labels=labels[:count])
    return path


SMALL: dict[str, Any] = {
    "training.steps": 6, "training.batch_size": 8, "training.device": "cpu", "training.log_every": 1,
    "training.precision": "float32",
}  # fmt: skip
DIGITS: dict[str, Any] = {"data.crop_size": 8}
NARROW = {"model.width": 4, "discriminator.width": 4}
R3GAN = {"model.width": 8, "discriminator.width": 8, "model.blocks": 1, "discriminator.blocks": 1}
FLAT = {"model.hidden": [16], "discriminator.hidden": [16]}
POINTS = {**FLAT, "training.validate_every": 3}
# preset -> settings that make it small, and a key that its log must have
IMAGE_PRESETS: dict[str, tuple[dict[str, Any], str]] = {
    "dcgan_mnist": (NARROW, "discriminator/real"),
    "dcgan_fashion": (NARROW, "discriminator/real"),
    "dcgan_faces": ({**NARROW, "data.channels": 1, "data.size": 8, "data.num_workers": 0}, "discriminator/real"),
    "dcgan_conditional": (NARROW, "discriminator/real"),
    "mlp_gan": (FLAT, "discriminator/saturated"),
    "mlp_gan_minimax": (FLAT, "discriminator/saturated"),
    "wgan": (NARROW, "discriminator/accuracy"),
    "wgan_gp": (NARROW, "discriminator/gradient_penalty"),
    "lapgan": (
        {**NARROW, **FLAT, "model.scales": 2, "model.noise_channels": 80},
        "discriminator/real",
    ),
    "progressive": (
        {**NARROW, "model.noise_channels": 8, "training.precision": "auto", "training.log_every": 1},
        "discriminator/drift",
    ),
    "stylegan": (
        {**NARROW, "model.noise_channels": 8, "model.mapping_layers": 2, "training.image_every": 3},
        "discriminator/r1",
    ),
    "vae": ({"model.hidden": [16]}, "generator/kl"),
    "vae_dcgan": ({"model.width": 4}, "generator/kl"),
    "mixture": (
        {"model.components": 3, "model.noise_channels": 9, "training.steps": 1, "training.log_every": 10,
         "training.batch_size": 16, "training.precision": "auto"},
        "validation/log_likelihood",
    ),
    "improved_gan": (NARROW, "discriminator/class_accuracy"),
    "few_images": ({**NARROW, "data.channels": 1, "data.size": 8}, "discriminator/pairs"),
    "r3gan_32": ({**R3GAN, "data.channels": 1, "data.size": 8}, "discriminator/r2"),
    "r3gan_64": ({**R3GAN, "data.channels": 1, "data.size": 8}, "discriminator/pairs"),
    "gaussians_gan": (POINTS, "validation/covered"),
    "gaussians_minibatch": (POINTS, "validation/good"),
    "gaussians_r1": (POINTS, "discriminator/r1"),
    "gaussians_r3gan": (POINTS, "discriminator/r2"),
    "gaussians_wgan_gp": (POINTS, "validation/divergence"),
}  # fmt: skip


def small_preset(name: str, folder: Path, changes: dict[str, Any] | None = None) -> Config:
    """Load a preset with small networks, a few steps and the digits of `folder`, which also gets the run."""
    world = {} if name.startswith("gaussians") else {**DIGITS, "data.root": str(write_digits(folder / "digits.npz"))}
    own = {**SMALL, **world, **IMAGE_PRESETS[name][0], "run": str(folder / name)}
    return load_config(f"{name}.yaml", {**own, **(changes or {})})


class Features(nn.Module):
    """A network with three feature maps, at 1/2, 1/4 and 1/8 of the resolution."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        widths = (3, 6, 10, 12)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(widths))

    def forward(self, images: Tensor) -> list[Tensor]:
        first = self.layers[0](images).relu()
        second = self.layers[1](first).relu()
        return [first, second, self.layers[2](second).relu()]


def write_network(module: nn.Module, file: Path) -> Path:
    """Write a network of 32x32 color images as TorchScript, or as an exported program if the suffix is .pt2."""
    images = torch.zeros(2, 3, 32, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if file.suffix == ".pt2":
            batch = ({0: torch.export.Dim("batch", max=64)},)
            torch.export.save(torch.export.export(module.eval(), (images,), dynamic_shapes=batch), file)
        else:
            torch.jit.trace(module, images, strict=False).save(str(file))
    return file


def write_clothes(folder: Path) -> None:
    """Write digits of 28x28 pixels as IDX files with the names of Fashion-MNIST, 400 for training and 120 for tests."""
    images, labels = digits()
    large = np.pad(images.repeat(3, 1).repeat(3, 2), ((0, 0), (2, 2), (2, 2)))
    for name, part in (("train", slice(0, 400)), ("t10k", slice(400, 520))):
        write_idx(folder / f"{name}-images-idx3-ubyte.gz", large[part], compressed=True)
        write_idx(folder / f"{name}-labels-idx1-ubyte.gz", labels[part], compressed=True)
