"""The variants of the DCGAN benchmark do the same work: the same sizes, the same losses in the first step."""

from __future__ import annotations

import pytest
import torch

from benchmarks.dcgan_step import REFERENCE, build_trainer, example_networks, variants
from vidpred.models.build import count_parameters


def test_the_networks_are_those_of_the_example() -> None:
    """Only layers without batch norm have biases: for the image's channels, D's first maps and its logit."""
    generator, discriminator = example_networks(side=32, width=8)
    trainer = build_trainer("float32", side=32, width=8)
    assert count_parameters(trainer.parts.generator) == count_parameters(generator) + 3
    assert trainer.parts.discriminator is not None
    assert count_parameters(trainer.parts.discriminator) == count_parameters(discriminator) + 8 + 1
    assert generator(torch.randn(2, 100, 1, 1)).shape == (2, 3, 32, 32)
    assert discriminator(torch.randn(2, 3, 32, 32)).shape == (2, 1)


@pytest.mark.slow
def test_every_variant_takes_a_step() -> None:
    steps = variants(batch=4, side=16, width=4)
    assert REFERENCE in steps
    assert "vidpred (float32)" in steps
    for step in steps.values():
        step()
