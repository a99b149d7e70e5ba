"""Projected discriminator: small networks on random mixtures of a frozen network's features.

Sauer et al. 2021, "Projected GANs converge faster" (arXiv 2111.01007). The frozen network is a file that the user
gives; it is no part of checkpoints, which have its checksum.
"""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as functional
from pydantic import Field
from torch import Tensor, nn

from vidpred.bounds import MOST_WIDTH
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.files import open_regular
from vidpred.models.base import Discriminator
from vidpred.models.images import ImageDiscriminatorSettings, apply_per_group, image_shape
from vidpred.models.network_files import checked_maps, load_module, run_network
from vidpred.models.spectral_norm import add_spectral_norm

SLOPE, COARSEST = 0.2, 4
EXPECTED = "a network of images (N, 3, H, W) in [0, 1] -> a list of feature maps (N, C, h, w)"


class ProjectedDiscriminatorSettings(ImageDiscriminatorSettings):
    """Settings of the projected discriminator."""

    takes_labels: ClassVar[bool] = False

    name: Literal["projected"] = Field(
        "projected",
        description="Discriminators of images on the features of a frozen network from a file (Sauer et al. 2021).",
    )
    network: str = Field(
        description=f"File of the frozen network, TorchScript or an exported program: {EXPECTED}, fine to coarse. "
        "Load only files that you trust.",
    )
    input_size: int = Field(
        0,
        ge=0,
        le=1024,
        description="Side in pixels that images are resized to (bilinear) for the frozen network; 0: unchanged. The "
        "paper: 256.",
    )
    width: int = Field(
        64,
        ge=1,
        le=MOST_WIDTH,
        description="Feature maps of the finest random mixture of the frozen network's maps, doubled at "
        "each coarser one, up to 512.",
    )

    def build(self, num_scales: int, data: DataSettings) -> ProjectedDiscriminator:
        return ProjectedDiscriminator(self, data.channels, self.input_size or image_shape(data).height)


class FrozenNetwork:
    """The user's network: neither trained, saved, nor listed among the parameters.

    Attributes:
        shapes: Channels, height and width of each feature map, fine to coarse.
        digest: SHA-256 of the file, `(32,)` uint8.
    """

    def __init__(self, network: str, side: int) -> None:
        """Load the network for images of `side` pixels.

        Raises:
            ConfigError: The file is absent, or its network returns no feature maps.
        """
        self.option = f"discriminator.network={network}"
        file = Path(network).expanduser()
        self.module: Any = load_module(file, self.option, EXPECTED)
        for parameter in self.module.parameters():
            parameter.requires_grad_(False)
        with open_regular(file) as opened:
            digest = hashlib.file_digest(opened, "sha256").digest()
        with torch.device("cpu"):
            self.digest = torch.frombuffer(bytearray(digest), dtype=torch.uint8)
            found = self.maps(torch.full((2, 3, side, side), 0.5))
        self.shapes = [(part.shape[1], part.shape[2], part.shape[3]) for part in found]
        if any(max(after[1:]) > min(before[1:]) for before, after in pairwise(self.shapes)):
            raise ConfigError(f"the feature maps have sides {[s[1] for s in self.shapes]} [{self.option}]; order them "
                              "from fine to coarse")  # fmt: skip
        self.device = torch.device("cpu")

    def maps(self, images: Tensor) -> list[Tensor]:
        """Compute the feature maps of images `(N, 3, H, W)` in [0, 1].

        Raises:
            ConfigError: The network does not take the images, or returns anything else.
        """
        if images.is_meta:
            return [images.new_empty(len(images), *shape) for shape in self.shapes]
        found = run_network(self.module, [images], self.option, f"it must be {EXPECTED}, for any N")
        return checked_maps(found, self.option, EXPECTED)

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Compute the feature maps on the images' device, with gradients; see `maps`."""
        if images.device != self.device and not images.is_meta:
            self.module, self.device = self.module.to(images.device), images.device
        return self.maps(images)


class RandomMixture(nn.Module):
    """Fixed random projections: 1x1 convolutions mix channels, then 3x3 convolutions mix scales, coarse to fine.

    Sauer et al. 2021, section 3.2: without them, discriminators use only a part of the features.
    """

    def __init__(self, channels: list[int], widths: list[int]) -> None:
        super().__init__()
        self.across_channels = nn.ModuleList(
            nn.Conv2d(before, after, 1) for before, after in zip(channels, widths, strict=True)
        )
        self.across_scales = nn.ModuleList(nn.Conv2d(coarse, fine, 3, padding=1) for fine, coarse in pairwise(widths))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.requires_grad_(False)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Mix feature maps `(B, C_i, h_i, w_i)`, fine to coarse; return as many, `(B, width_i, h_i, w_i)`."""
        mixed = [layer(part) for layer, part in zip(self.across_channels, maps, strict=True)]
        for index in reversed(range(len(mixed) - 1)):
            coarse = functional.interpolate(mixed[index + 1], mixed[index].shape[2:], mode="bilinear")
            mixed[index] = mixed[index] + self.across_scales[index](coarse)
        return mixed


class MapDiscriminator(nn.Module):
    """Discriminator of one mixture: strided convolutions with batch norm down to about 4x4 places, a logit for each."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        while side >= 2 * COARSEST:
            after = min(2 * width, 512)
            layers += [nn.Conv2d(width, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(SLOPE)]
            side, width = side // 2, after
        self.layers = nn.Sequential(*layers)
        self.last = nn.Conv2d(width, 1, 3, padding=1)
        add_spectral_norm(self)

    def forward(self, features: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
        """Score feature maps of `num_groups` consecutive groups of images with separate batch statistics.

        Args:
            features: `(B, width, h, w)`.
            num_groups: Number of equal groups, a divisor of B.

        Returns:
            Logits `(B, places)`, one per remaining position, and the last hidden features `(B, F)`, averaged over
                positions.
        """
        for layer in self.layers:
            mixes_samples = isinstance(layer, nn.BatchNorm2d)
            features = apply_per_group(layer, features, num_groups) if mixes_samples else layer(features)
        return self.last(features).flatten(1).float(), features.mean((2, 3))


class ProjectedDiscriminator(Discriminator):
    """Discriminators of every mixture of a frozen network's features; their losses are summed.

    The paper trains with the hinge loss, augmented images (`objective.adversarial.augment`) and no penalty.
    """

    split_batch_stats = True
    digest: Tensor

    def __init__(self, settings: ProjectedDiscriminatorSettings, channels: int, side: int) -> None:
        super().__init__()
        self.channels, self.side = channels, side
        self.frozen = FrozenNetwork(settings.network, side)
        shapes = self.frozen.shapes
        widths = [min(settings.width << index, 512) for index in range(len(shapes))]
        self.mixture = RandomMixture([shape[0] for shape in shapes], widths)
        self.networks = nn.ModuleList(
            MapDiscriminator(width, min(shape[1:])) for width, shape in zip(widths, shapes, strict=True)
        )
        self.register_buffer("digest", self.frozen.digest.clone())
        self.register_load_state_dict_post_hook(check_digest)  # type: ignore[no-untyped-call]

    def forward(
        self, context: Tensor, images: list[Tensor], with_features: bool = False, num_groups: int = 1
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Score images.

        Args:
            context: Unused.
            images: A list of one, `(B, 1, C, H, W)` in [0, 1], in `num_groups` consecutive groups.
            with_features: Add each discriminator's last hidden features, a list of `(B, F)`.
            num_groups: Number of equal groups with separate batch statistics, a divisor of B.

        Returns:
            Logits `(B, maps, places)`, alone or in a tuple with the features. Discriminators with fewer places repeat
            the mean of theirs.
        """
        inputs = images[-1][:, 0].expand(-1, 3, -1, -1)
        if inputs.shape[-1] != self.side:
            inputs = functional.interpolate(inputs, (self.side, self.side), mode="bilinear", antialias=True)
        mixed = self.mixture(self.frozen(inputs))
        scored = [network(part, num_groups) for network, part in zip(self.networks, mixed, strict=True)]
        places = max(logits.shape[1] for logits, _ in scored)
        rows = [
            logits if logits.shape[1] == places else logits.mean(1, keepdim=True).expand(-1, places)
            for logits, _ in scored
        ]
        stacked = torch.stack(rows, 1)
        return (stacked, [features for _, features in scored]) if with_features else stacked


def check_digest(module: nn.Module, _: Any) -> None:
    """Compare the network's file with the one that a loaded checkpoint was trained with.

    Raises:
        ConfigError: It is another.
    """
    assert isinstance(module, ProjectedDiscriminator)
    own = module.frozen.digest
    if not module.digest.is_meta and not torch.equal(module.digest.cpu(), own):
        module.digest.copy_(own)
        raise ConfigError(
            f"this file is another network than that of the checkpoint [{module.frozen.option}]; use the same file"
        )
