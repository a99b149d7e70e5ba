"""Load the discriminator that a run was trained against from its checkpoint."""

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
    """A discriminator in evaluation mode, without gradients; `adversarial` is the name of its training loss."""

    network: Discriminator
    adversarial: str

    @property
    def classes(self) -> int:
        """Number of classes; 0: it only separates real from generated images."""
        return self.network.classes

    @torch.inference_mode()
    def class_logits(self, images: Tensor) -> Tensor:
        """Compute the class logits `(N, classes)` of images `(N, C, H, W)` in [0, 1], on the CPU."""
        device = next(self.network.parameters()).device
        found = []
        for part in images.split(AT_ONCE):
            frames = part.to(device)[:, None]
            _, by_class = self.network(frames[:, :0], [frames], with_classes=True)
            found.append(by_class.cpu())
        return torch.cat(found)


def load_discriminator(checkpoint: Checkpoint, device: torch.device) -> LoadedDiscriminator | None:
    """Load a checkpoint's discriminator; None for a run without an adversary. Raises StorageError."""
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
