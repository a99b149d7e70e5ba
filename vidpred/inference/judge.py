"""The discriminator that a run was trained against, as its checkpoint has it."""

from __future__ import annotations

from typing import NamedTuple

import torch
import yaml
from torch import Tensor, nn

from vidpred.checkpoint import Checkpoint, load_weights
from vidpred.config import Config
from vidpred.models.build import build_discriminator

AT_ONCE = 500


class Judge(NamedTuple):
    """In evaluation mode, without gradients; config: of the run."""

    network: nn.Module
    config: Config

    @property
    def classes(self) -> int:
        """How many it tells apart; 0: it only tells true from false."""
        return int(getattr(self.network, "classes", 0))

    @torch.inference_mode()
    def class_logits(self, pictures: Tensor) -> Tensor:
        """`(N, C, H, W)` in [0, 1] -> `(N, classes)`, on the CPU, of a discriminator of classes."""
        device = next(self.network.parameters()).device
        found = []
        for part in pictures.split(AT_ONCE):
            shown = part.to(device)[:, None]
            _, by_class = self.network(shown[:, :0], [shown], with_classes=True)
            found.append(by_class.cpu())
        return torch.cat(found)


def load_judge(checkpoint: Checkpoint, device: torch.device) -> Judge | None:
    """None for a run that had no adversary. Raises StorageError."""
    if not checkpoint.has("discriminator"):
        return None
    config = Config.model_validate(yaml.safe_load((checkpoint.path / "config.yaml").read_text(encoding="utf-8")))
    network = build_discriminator(config.discriminator, config.model.num_scales, config.data)
    load_weights(network, checkpoint.tensors("discriminator"), str(checkpoint.path))
    return Judge(network.eval().requires_grad_(False).to(device), config)
