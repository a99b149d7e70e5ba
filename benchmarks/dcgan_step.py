"""Compare the time of a DCGAN training step with PyTorch's public DCGAN example. Run: python -m benchmarks.dcgan_step.

64x64 color images, batch 128. The networks and settings of the example are written here from its description.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.harness import idle_trainer, machine, report, time_in_turns
from vidpred.config import load_config
from vidpred.data.batch import Batch
from vidpred.data.worlds.points import PointWindows
from vidpred.training.hardware import choose_precision
from vidpred.training.trainer import Trainer

REFERENCE = "the public example"
SIDE, BATCH, LATENT, WIDTH = 64, 128, 100, 64


def build_trainer(precision: str, side: int = SIDE, width: int = WIDTH) -> Trainer:
    """Build vidpred's trainer for networks of the example's size."""
    config = load_config(
        "dcgan_faces.yaml",
        {"model.width": width, "discriminator.width": width, "data.crop_size": side, "training.monitor_every": 0},
    )
    # Never read: `train_step` receives its batch.
    return idle_trainer(config, PointWindows("eight_gaussians", 8, 0), precision)


def example_networks(side: int = SIDE, width: int = WIDTH) -> tuple[nn.Sequential, nn.Sequential]:
    """Build the example's generator and discriminator: 4x4 kernels, no biases, batch norm, sigmoid at the end."""
    levels = (side // 4).bit_length() - 1
    maps = [width << level for level in range(levels)]
    generator: list[nn.Module] = [nn.ConvTranspose2d(LATENT, maps[-1], 4, 1, 0, bias=False)]
    for before, after in zip(maps[::-1], [*maps[-2::-1], 3], strict=True):
        generator += [nn.BatchNorm2d(before), nn.ReLU(True), nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)]
    discriminator: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)]
    for before, after in pairwise(maps):
        discriminator += [nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2, True)]
    discriminator += [nn.Conv2d(maps[-1], 1, 4, 1, 0, bias=False), nn.Flatten(), nn.Sigmoid()]
    networks = nn.Sequential(*generator, nn.Tanh()), nn.Sequential(*discriminator)
    for network in networks:
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)
    return networks


def example_step(images: Tensor, side: int = SIDE, width: int = WIDTH) -> Callable[[], None]:
    """Return the example's step: the discriminator on real and on generated images, its update; then the generator's.

    Args:
        images: `(B, 3, H, W)` in [-1, 1].
        side: Height and width of the images.
        width: Feature maps of the largest layer.
    """
    torch.manual_seed(0)
    generator, discriminator = (network.to(images.device) for network in example_networks(side, width))
    networks = generator, discriminator
    optimizers = [torch.optim.Adam(network.parameters(), 2e-4, betas=(0.5, 0.999)) for network in networks]
    loss, ones = nn.BCELoss(), torch.ones(len(images), 1, device=images.device)

    def step() -> None:
        discriminator.zero_grad()
        loss(discriminator(images), ones).backward()
        fake = generator(torch.randn(len(images), LATENT, 1, 1, device=images.device))
        loss(discriminator(fake.detach()), torch.zeros_like(ones)).backward()
        optimizers[1].step()
        generator.zero_grad()
        loss(discriminator(fake), ones).backward()
        optimizers[0].step()

    return step


def variants(batch: int = BATCH, side: int = SIDE, width: int = WIDTH) -> dict[str, Callable[[], object]]:
    """Return, by name, the example's step, vidpred's in float32, and vidpred's in its default precision."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    frames = torch.rand(batch, 1, 3, side, side, device=device)
    data = Batch(frames[:, :0], frames, torch.arange(batch))
    found: dict[str, Any] = {REFERENCE: example_step(frames[:, 0] * 2 - 1, side, width)}
    for precision in dict.fromkeys(("float32", choose_precision("auto", device))):
        trainer, count = build_trainer(precision, side, width), iter(range(10**9))
        found[f"vidpred ({precision})"] = lambda trainer=trainer, count=count: trainer.train_step(next(count), data)
    return found


def main() -> None:
    """Time the variants in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="Rounds, in which variants take turns.")
    rounds = parser.parse_args().rounds
    for key, value in machine().items():
        print(f"{key}: {value}")
    title = f"DCGAN, {SIDE}x{SIDE} pixels, batch {BATCH}, one training step"
    print(report(title, time_in_turns(variants(), rounds), REFERENCE))


if __name__ == "__main__":
    main()
