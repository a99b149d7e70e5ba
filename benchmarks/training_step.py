"""Compare the training step of the paper-size model with the same step in plain float32 NCHW. Run: make bench.

Generator and discriminators together, batch 8, 32x32 pixels.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from unittest.mock import patch

import torch

from benchmarks.harness import idle_trainer, machine, report, time_in_turns
from vidpred.config import load_config
from vidpred.data.batch import Batch
from vidpred.data.sources import training_offsets
from vidpred.data.worlds.forking_ball import WorldWindows
from vidpred.losses.reconstruction import adversarial_loss, gradient_difference_loss, lp_loss
from vidpred.training.hardware import choose_precision
from vidpred.training.objectives import Step, targets
from vidpred.training.trainer import Trainer

REFERENCE = "plain float32 NCHW"


def build_trainer(precision: str) -> Trainer:
    """Build vidpred's trainer of ucf101.yaml."""
    config = load_config("ucf101.yaml", {"data.root": None})
    source = WorldWindows(config.data, training_offsets(config.data), 100, 0)
    return idle_trainer(config, source, precision)


def plain_step(trainer: Trainer, batch: Batch, freeze: bool) -> Callable[[], None]:
    """Return the same step in its plain form: float32, contiguous NCHW, torch's default optimizers.

    Args:
        trainer: Its networks are copied.
        batch: The batch of every step.
        freeze: Skip the discriminators' gradients in the generator's update, as vidpred does; public GAN code computes
            and discards them.
    """
    generator = build_plain(trainer.parts.generator)
    discriminator = build_plain(trainer.networks["discriminator"].module)
    optimizers = [torch.optim.SGD(generator.parameters(), 0.04), torch.optim.SGD(discriminator.parameters(), 0.02)]

    def step() -> None:
        # The models convert their images to channels-last; this variant must not.
        with (
            patch("vidpred.models.multiscale.as_channels_last", torch.Tensor.contiguous),
            patch("vidpred.models.discriminators.as_channels_last", torch.Tensor.contiguous),
        ):
            train()

    def train() -> None:
        predictions = generator(batch.context)
        truth = targets(Step(batch, predictions, 0))
        fake = [image.detach() for image in predictions]
        real_logits, fake_logits = discriminator(batch.context, truth), discriminator(batch.context, fake)
        (4 * (adversarial_loss(real_logits, True) + adversarial_loss(fake_logits, False))).backward()
        optimizers[1].step()
        optimizers[1].zero_grad()
        discriminator.requires_grad_(not freeze)
        loss = 0.05 * 4 * adversarial_loss(discriminator(batch.context, predictions), True)
        for prediction, target in zip(predictions, truth, strict=True):
            pair = prediction * 2 - 1, target * 2 - 1
            loss = loss + lp_loss(*pair, 1) + gradient_difference_loss(*pair, 1)
        loss.backward()
        optimizers[0].step()
        optimizers[0].zero_grad()
        optimizers[1].zero_grad()
        discriminator.requires_grad_(True)

    return step


def build_plain(module: torch.nn.Module) -> torch.nn.Module:
    """Return a float32 copy with contiguous weights."""
    plain = copy.deepcopy(module)
    plain.forward = type(module).forward.__get__(plain)  # without Accelerate's mixed precision
    return plain.to(memory_format=torch.contiguous_format).float()


def main() -> None:
    """Time the variants in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="Rounds, in which variants take turns.")
    rounds = parser.parse_args().rounds
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = choose_precision("auto", device)
    ours = build_trainer(precision)
    torch.manual_seed(0)
    batch = Batch(
        torch.rand(8, 4, 3, 32, 32, device=device), torch.rand(8, 1, 3, 32, 32, device=device), torch.arange(8)
    )
    count = iter(range(10**9))
    variants = {
        REFERENCE: plain_step(ours, batch, freeze=False),
        f"{REFERENCE}, discriminators frozen": plain_step(ours, batch, freeze=True),
        f"vidpred ({precision}, channels-last)": lambda: ours.train_step(next(count), batch),
    }
    for key, value in machine().items():
        print(f"{key}: {value}")
    title = "paper-size G + D, batch 8, 32x32, one training step"
    print(report(title, time_in_turns(variants, rounds), REFERENCE))


if __name__ == "__main__":
    main()
