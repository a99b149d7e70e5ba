"""Projected discriminator: frozen parts, gradients to images, separate batch statistics, and files of networks."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn

from tests.image_files import Features, small_preset, write_network
from vidpred.config import load_config
from vidpred.errors import ConfigError
from vidpred.models.projected_discriminator import (
    MapDiscriminator,
    ProjectedDiscriminator,
    ProjectedDiscriminatorSettings,
    RandomMixture,
)
from vidpred.run import train


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return write_network(Features(), tmp_path / "features.pt")


def build(network: Path, channels: int = 3, **settings: int) -> ProjectedDiscriminator:
    torch.manual_seed(1)
    own = ProjectedDiscriminatorSettings(network=str(network), width=8, **settings)
    return ProjectedDiscriminator(own, channels, own.input_size or 32)


def test_only_the_small_networks_learn_and_images_receive_gradients(network: Path) -> None:
    discriminator = build(network)
    learning = {name.split(".")[0] for name, value in discriminator.named_parameters() if value.requires_grad}
    assert learning == {"networks"}
    images = torch.rand(4, 1, 3, 32, 32, requires_grad=True)
    logits, features = discriminator(torch.empty(4, 0), [images], with_features=True, num_groups=2)
    assert logits.shape == (4, 3, 16)  # 16x16 and 8x8 maps are halved to 4x4; the third is 4x4
    assert [part.shape for part in features] == [(4, 32), (4, 32), (4, 32)]
    logits.square().sum().backward()
    assert images.grad is not None
    assert float(images.grad.abs().mean()) > 0
    assert not any("frozen" in name for name in discriminator.state_dict())


def test_scores_are_those_of_the_papers_steps_by_hand(network: Path) -> None:
    """The finest mixture has a part of every scale; each discriminator scores its own mixture."""
    discriminator = build(network).eval()
    images = torch.rand(2, 1, 3, 32, 32)
    maps = Features()(images[:, 0])
    channels, scales = discriminator.mixture.across_channels, discriminator.mixture.across_scales
    coarse = channels[2](maps[2])
    middle = channels[1](maps[1]) + scales[1](nn.functional.interpolate(coarse, scale_factor=2, mode="bilinear"))
    fine = channels[0](maps[0]) + scales[0](nn.functional.interpolate(middle, scale_factor=2, mode="bilinear"))
    for index, mixed in enumerate((fine, middle, coarse)):
        own = discriminator.networks[index]
        expected = own.last(own.layers(mixed)).flatten(1)
        torch.testing.assert_close(discriminator(torch.empty(2, 0), [images])[:, index], expected)


def test_random_mixtures_keep_the_variance() -> None:
    torch.manual_seed(0)
    mixture = RandomMixture([64, 64], [256, 256])
    (fine, coarse) = mixture([torch.randn(8, 64, 16, 16), torch.randn(8, 64, 8, 8)])
    assert float(coarse.var()) == pytest.approx(1, rel=0.2)
    assert 1 < float(fine.var()) < 2  # its own scale, and a smoothed coarser one


def test_groups_have_separate_batch_statistics(network: Path) -> None:
    discriminator = build(network)
    first, second = torch.rand(3, 1, 3, 32, 32), torch.rand(3, 1, 3, 32, 32) * 0.1
    alone = discriminator(torch.empty(3, 0), [first])
    together = discriminator(torch.empty(6, 0), [torch.cat([first, second])], num_groups=2)
    torch.testing.assert_close(together[:3], alone, rtol=1e-3, atol=1e-3)  # spectral norms iterate in between


def test_gray_images_of_other_sizes(network: Path) -> None:
    discriminator = build(network, channels=1, input_size=64)
    assert discriminator(torch.empty(2, 0), [torch.rand(2, 1, 1, 28, 28)]).shape == (2, 3, 16)
    assert MapDiscriminator(4, 7)(torch.rand(2, 4, 7, 7), 1)[0].shape == (2, 49)


def test_another_network_than_the_checkpoints_is_refused(network: Path, tmp_path: Path) -> None:
    state = build(network).state_dict()
    build(network).load_state_dict(state)
    other = write_network(Features(seed=1), tmp_path / "other.pt")
    with pytest.raises(ConfigError, match="another network"):
        build(other).load_state_dict(state)


class Vectors(nn.Module):
    """A network without feature maps."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


class Reversed(Features):
    """A network whose feature maps go from coarse to fine."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return super().forward(images)[::-1]


class Pairs(Features):
    """A network for two images at a time."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return super().forward(images.reshape(2, 3, 32, 32))


def test_unsuitable_files(network: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[discriminator.network\]"):
        load_config("dcgan_mnist.yaml", ["discriminator.name=projected"])
    with pytest.raises(ConfigError, match="no such file"):
        build(tmp_path / "absent.pt")
    for module, message in ((Vectors(), "no list of feature maps"), (Reversed(), "from fine to coarse")):
        write_network(module, tmp_path / "odd.pt")
        with pytest.raises(ConfigError, match=message):
            build(tmp_path / "odd.pt")
    discriminator = build(write_network(Pairs(), tmp_path / "pairs.pt"))
    with pytest.raises(ConfigError, match="for any N"):
        discriminator(torch.empty(5, 0), [torch.rand(5, 1, 3, 32, 32)])


@pytest.mark.slow
def test_an_empty_program(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile(tmp_path / "odd.pt2", "w") as archive:
        archive.writestr("odd/archive_format", "pt2")
    with pytest.raises(ConfigError, match="cannot read the network"):
        build(tmp_path / "odd.pt2")
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pt", ".pt2"])
def test_a_training_resumes_exactly(suffix: str, tmp_path: Path) -> None:
    """Without the checkpoint of its last step, a run makes that step again, with equal weights."""
    network = write_network(Features(), tmp_path / f"features{suffix}")
    changes = {
        "discriminator": {"name": "projected", "network": str(network), "width": 8, "input_size": 32},
        "objective.adversarial": {"weight": 1.0, "loss": "hinge", "augment": ["color"]},
        "training.steps": 2, "checkpoint.every": 1,
    }  # fmt: skip
    config = small_preset("dcgan_mnist", tmp_path, changes)
    train(config)
    last = Path(config.run) / "checkpoints" / "step-2"
    files = sorted(file for file in last.rglob("*.safetensors"))
    assert files
    before = {file: file.read_bytes() for file in files}
    shutil.rmtree(last)
    train(config)
    assert {file: file.read_bytes() for file in files} == before


def test_the_settings_of_the_guide_are_valid() -> None:
    guide = (Path(__file__).parents[2] / "docs/guide/images.md").read_text()
    settings = yaml.safe_load(guide.partition("```yaml")[2].partition("```")[0])
    config = load_config("dcgan_mnist.yaml", settings)
    assert isinstance(config.discriminator, ProjectedDiscriminatorSettings)
    assert config.objective.adversary.loss == "hinge"
