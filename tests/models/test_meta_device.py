"""Networks without memory have the shapes of others, and need no compiler."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vidpred.config import load_config
from vidpred.models.build import build_discriminator, build_generator
from vidpred.models.meta_device import meta_device

CODE = """
import sys
from vidpred.config import load_config
from vidpred.run import check_memory

for preset in ("dcgan_mnist.yaml", "wgan_gp.yaml"):
    check_memory(load_config(preset, {"data.root": "absent"}))
check_memory(load_config("tiny.yaml", {"objective.adversarial.weight": 1.0, "discriminator.name": "patch"}))
print("torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize("preset", ["dcgan_mnist.yaml", "wgan_gp.yaml"])
def test_shapes_are_those_of_other_devices(preset: str) -> None:
    config = load_config(preset)

    def shapes() -> list[tuple[str, tuple[int, ...], str]]:
        networks = build_generator(config.model, config.data), build_discriminator(config.discriminator, 1, config.data)
        return [
            (name, tuple(value.shape), value.device.type)
            for network in networks
            for name, value in network.state_dict().items()
        ]

    with meta_device():
        found = shapes()
    assert found == [(name, shape, "meta") for name, shape, _ in shapes()]


@pytest.mark.slow
def test_the_compiler_is_not_imported() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False"]
