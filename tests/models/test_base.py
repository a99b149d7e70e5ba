"""The contract of models, and the adapter for modules that do not derive from it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.image_files import Features, write_network
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.models.base import Generator, as_generator
from vidpred.models.build import DISCRIMINATORS, GENERATORS


class Encoder(nn.Module):
    """A user's module with a mean in a buffer and the cost of a code."""

    takes_target = True
    noise_channels = 2

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, context: Tensor, target: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        self.latent_cost = context.flatten(1).sum(1)
        return context[:, -1:]


def test_an_adapted_module_keeps_its_state_dict_names() -> None:
    module = Encoder()
    generator = as_generator(module, DataSettings(context_frames=3, channels=1))
    assert (generator.context_frames, generator.pred_frames, generator.lead, generator.channels) == (3, 1, 1, 1)
    assert generator.takes_target
    assert (generator.noise_channels, generator.noise, generator.action_size) == (2, "gaussian", 0)
    assert list(generator.state_dict()) == list(module.state_dict()) == ["mean", "layer.weight", "layer.bias"]
    assert as_generator(generator) is generator

    other = copy.deepcopy(generator)
    with torch.no_grad():
        module.layer.weight += 1
    assert not torch.equal(other.state_dict()["layer.weight"], module.layer.weight)
    other.load_state_dict(generator.state_dict())
    assert torch.equal(other.state_dict()["layer.weight"], module.layer.weight)

    generator(torch.ones(2, 3, 1, 1, 1))
    assert generator.latent_cost is not None
    assert generator.latent_cost.tolist() == [3, 3]


def test_contradicting_or_missing_frame_counts_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[data.context_frames\] is 4, but the generator's context_frames is 1"):
        as_generator(Generator(), DataSettings())
    with pytest.raises(ConfigError, match="Encoder has no attribute context_frames"):
        as_generator(Encoder())


def test_unsupported_methods_raise_one_line() -> None:
    generator, image = Generator(), torch.zeros(1, 1, 2, 2)
    known = image[0] > 0
    for ability in (
        lambda: generator.fit(image, 0),
        lambda: generator.log_density(image),
        lambda: generator.expected(image, known),
        lambda: generator.completions(image, known, 1, 0),
        lambda: generator.styles(torch.zeros(1, 2)),
        lambda: generator.images_of_styles(torch.zeros(1, 2, 3)),
        lambda: generator.truncated(0.5),
    ):
        with pytest.raises(ConfigError, match=r"^Generator (is|has) .*; use|\[model.name\]"):
            ability()
    with generator.truncated(None):
        generator.grow(0.5)


@pytest.mark.parametrize("name", GENERATORS)
def test_generator_attributes_match_the_settings(name: str) -> None:
    kind = GENERATORS[name]
    data = DataSettings(context_frames=2 if kind.needs_frames else 0, channels=1, crop_size=16)
    settings = kind(name=name, **({"noise_channels": 400} if name == "lapgan" else {}))
    with torch.device("meta"):
        generator = settings.build(data)
    assert (generator.context_frames, generator.pred_frames, generator.lead) == (data.context_frames, 1, 1)
    if generator.noise_optional:  # it varies the model's prediction, and has no setting
        assert (settings.noise_channels, generator.noise) == (0, "gaussian")
    else:
        assert (generator.noise_channels, generator.noise) == (settings.noise_channels, settings.noise)
    assert generator.num_scales == settings.num_scales
    assert generator.fits_directly == kind.fitted
    assert generator.shape == ((0, 0, 0) if kind.needs_frames else (1, 16, 16))


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_discriminator_attributes_match_the_settings(name: str, tmp_path: Path) -> None:
    kind = DISCRIMINATORS[name]
    data = DataSettings(context_frames=2 if kind.needs_frames else 0, channels=1, crop_size=32)
    scales = 2 if name in ("lapgan", "multiscale") else 1
    own = {"network": str(write_network(Features(), tmp_path / "features.pt"))} if name == "projected" else {}
    settings = kind(name=name, **own)
    with torch.device("meta"):
        discriminator = settings.build(scales, data)
    assert (discriminator.num_scales, discriminator.classes) == (scales, settings.num_classes)
    frames = torch.rand(2, 1, 1, 32, 32)
    assert torch.equal(discriminator.match_fade(frames), frames) or discriminator.growing
