"""The discriminator that a run was trained against, as its checkpoint has it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from pydantic import TypeAdapter
from torch import Tensor

from vidpred.checkpoint import Checkpoint, load_weights, read_config
from vidpred.inference.predictor import read_sections
from vidpred.models.base import Discriminator
from vidpred.models.build import AnyDiscriminator, build_discriminator
from vidpred.models.settings import DiscriminatorSettings

AT_ONCE = 500


class LoadedDiscriminator(NamedTuple):
    """In evaluation mode, without gradients. adversarial: the name of the loss that it learnt by."""

    network: Discriminator
    adversarial: str

    @property
    def classes(self) -> int:
        """How many it tells apart; 0: it only tells true from false."""
        return self.network.classes

    @torch.inference_mode()
    def class_logits(self, images: Tensor) -> Tensor:
        """`(N, C, H, W)` in [0, 1] -> `(N, classes)`, on the CPU, of a discriminator of classes."""
        device = next(self.network.parameters()).device
        found = []
        for part in images.split(AT_ONCE):
            shown = part.to(device)[:, None]
            _, by_class = self.network(shown[:, :0], [shown], with_classes=True)
            found.append(by_class.cpu())
        return torch.cat(found)


def load_discriminator(checkpoint: Checkpoint, device: torch.device) -> LoadedDiscriminator | None:
    """None for a run that had no adversary. Raises StorageError."""
    if not checkpoint.has("discriminator"):
        return None
    data, model = read_sections(checkpoint)

    def parse(tree: dict[str, Any]) -> tuple[DiscriminatorSettings, str]:
        settings = TypeAdapter(AnyDiscriminator).validate_python(tree["discriminator"])
        return settings, str((tree["objective"].get("adversarial") or {}).get("loss", "bce"))

    settings, adversarial = read_config(checkpoint.path, parse, "copy the run's config.yaml there")
    network = build_discriminator(settings, model.num_scales, data)
    load_weights(network, checkpoint.tensors("discriminator"), str(checkpoint.path))
    return LoadedDiscriminator(network.eval().requires_grad_(False).to(device), adversarial)
