"""Features to compare images by: those of a small classifier of the user's labeled images, or of the user's network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vidpred.data.sources import Source
from vidpred.errors import ConfigError, DataError
from vidpred.models.eager_optimizers import eager
from vidpred.models.network_files import load_module, run_network

FEATURES, WIDTH, BATCH, RATE = 64, 32, 128, 2e-3
AT_ONCE = 500


class Classifier(nn.Module):
    """A classifier of images of any size: two strided convolutions, one hidden layer of 64 features, logits."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, WIDTH, 5, 2, 2), nn.ReLU(), nn.Conv2d(WIDTH, 2 * WIDTH, 3, 2, 1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(32 * WIDTH, FEATURES), nn.ReLU(),
        )  # fmt: skip
        self.last = nn.Linear(FEATURES, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images `(B, C, H, W)` in [0, 1] to features `(B, 64)` and logits `(B, classes)`."""
        features = self.body(images * 2 - 1)
        return features, self.last(features)


def train_classifier(source: Source, steps: int = 1500, seed: int = 0) -> Classifier:
    """Train a classifier on the images of a labeled source, as a function of the seed.

    Raises:
        DataError: The source has fewer than two classes.
    """
    classes = len(source.classes)
    if classes < 2:
        raise DataError(f"no classes to learn features from [{source.name}]; give --features NETWORK.pt")
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        order = torch.randint(len(source), (steps, min(BATCH, len(source)))).tolist()
        classifier = Classifier(source.draw([0], [0], seed).future.shape[2], classes)
        optimizer = eager(torch.optim.Adam)(classifier.parameters(), RATE)
        for step, windows in enumerate(order):
            positions = range(step * BATCH, step * BATCH + len(windows))
            batch = source.draw(windows, positions, seed).to(torch.device("cpu"))
            for group in optimizer.param_groups:
                group["lr"] = RATE * (1 - step / steps)
            assert batch.labels is not None
            loss = nn.functional.cross_entropy(classifier(batch.future[:, 0])[1], batch.labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return classifier.eval()


@torch.inference_mode()
def features_of(network: Callable[[Tensor], Any], images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Compute features `(N, F)` of images `(N, C, H, W)` in [0, 1], and logits `(N, K)` if the network returns any."""
    parts = [network(part) for part in images.split(AT_ONCE)]
    pairs = [part if isinstance(part, tuple) else (part, None) for part in parts]
    logits = [pair[1] for pair in pairs]
    return torch.cat([pair[0] for pair in pairs]), None if logits[0] is None else torch.cat(logits)


def load_network(path: Path) -> Callable[[Tensor], Any]:
    """Load a network that was saved by `torch.jit.save`, or by `torch.export.save` with a dynamic number of images.

    Args:
        path: The file. Its network maps `(B, C, H, W)` in [0, 1] to features `(B, F)`, or to features and logits.

    Returns:
        The network; it raises ConfigError for images that it does not take.

    Raises:
        ConfigError: The file is absent or holds no network.
    """
    network = load_module(path, f"--features {path}", "a network of images (N, C, H, W) in [0, 1] -> features (N, F)")

    def run(images: Tensor) -> Any:
        shape = tuple(images.shape)
        found = run_network(
            network, [images], f"--features {path}", "save it for images of this size, with a dynamic batch"
        )
        features = found[0] if isinstance(found, tuple) else found
        if features.dim() != 2 or len(features) != len(images):
            raise ConfigError(
                f"the network returns {tuple(features.shape)} for images {shape} [--features {path}]; it must return "
                "features (images, F)"
            )
        return found

    return run
