"""A small classifier of the user's own labelled images, whose features images are compared by; or the features of a
network that the user brings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vidpred.data.sources import Source
from vidpred.errors import ConfigError, DataError

FEATURES, WIDTH, BATCH, RATE = 64, 32, 128, 2e-3
AT_ONCE = 500


class Classifier(nn.Module):
    """Two strided convolutions, one hidden layer of 64 features, a logit for each class. For images of any size."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, WIDTH, 5, 2, 2), nn.ReLU(), nn.Conv2d(WIDTH, 2 * WIDTH, 3, 2, 1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(32 * WIDTH, FEATURES), nn.ReLU(),
        )  # fmt: skip
        self.last = nn.Linear(FEATURES, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """`(B, C, H, W)` in [0, 1] -> features `(B, 64)`, logits `(B, classes)`."""
        features = self.body(images * 2 - 1)
        return features, self.last(features)


def train_classifier(source: Source, steps: int = 1500, seed: int = 0) -> Classifier:
    """On the training images of a labelled set, a function of the seed. Raises DataError where it has no classes."""
    classes = len(source.classes)
    if classes < 2:
        raise DataError(f"no classes to learn features from [{source.name}]; give --features NETWORK.pt")
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        order = torch.randint(len(source), (steps, min(BATCH, len(source)))).tolist()
        classifier = Classifier(source.draw([0], [0], seed).future.shape[2], classes)
        optimizer = torch.optim.Adam(classifier.parameters(), RATE)
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
    """`(N, C, H, W)` in [0, 1] -> features `(N, F)` and, where the network gives any, logits `(N, K)`."""
    parts = [network(part) for part in images.split(AT_ONCE)]
    pairs = [part if isinstance(part, tuple) else (part, None) for part in parts]
    logits = [pair[1] for pair in pairs]
    return torch.cat([pair[0] for pair in pairs]), None if logits[0] is None else torch.cat(logits)


def load_network(path: Path) -> Callable[[Tensor], Any]:
    """A network that the user exported with torch.export, the number of images dynamic: `(B, C, H, W)` in [0, 1] ->
    features `(B, F)`, or features and logits. Raises ConfigError, as the network does for images that it does not
    take."""
    if not path.is_file():
        raise ConfigError(f"no such file [--features {path}]; write it with torch.export.save")
    try:
        network = torch.export.load(path).module()
    except Exception as error:  # whatever torch's reader meets in a file that is something else
        reason = first_line(error)
        raise ConfigError(f"cannot read the network ({reason}) [--features {path}]; use torch.export.save") from None

    def run(images: Tensor) -> Any:
        shape = tuple(images.shape)
        try:
            found = network(images)
        except Exception as error:  # whatever the user's network meets
            raise ConfigError(
                f"the network does not take images {shape} ({first_line(error)}) [--features {path}]; export it for "
                "such images, their number dynamic"
            ) from None
        features = found[0] if isinstance(found, tuple) else found
        if features.dim() != 2 or len(features) != len(images):
            raise ConfigError(
                f"the network gives {tuple(features.shape)} for images {shape} [--features {path}]; it has to give "
                "features (images, F)"
            )
        return found

    return run


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:100]
