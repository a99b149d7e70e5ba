"""How far a set of generated images is from a set of true ones, by the features of any network; whether they are
copies. Pure functions, in float64.

With Inception's features these are the Frechet inception distance and the inception score; with any other network's
they are the same statistics on other features, comparable only with themselves, and must not be called by those names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def classifier_score(logits: Tensor, parts: int = 10) -> tuple[float, float]:
    """exp E KL(p(y | x) | p(y)) from a classifier's logits `(N, K)`: the mean over so many parts of the images, and
    its standard deviation (Salimans et al. 2016, section 4). From 1, each image as undecided as any, to K."""
    scores = []
    for part in logits.double().chunk(parts):
        log_shares = part.log_softmax(1)
        log_mean = log_shares.logsumexp(0) - math.log(len(part))
        scores.append((log_shares.exp() * (log_shares - log_mean)).sum(1).mean().exp())
    values = torch.stack(scores)
    return float(values.mean()), float(values.std(correction=0))


@dataclass(frozen=True)
class Neighbors:
    """Of each generated image, the nearest true one: its number and its root mean squared distance, `(N,)` each."""

    numbers: Tensor
    distances: Tensor


def nearest_neighbors(generated: Tensor, true: Tensor, block: int = 512) -> Neighbors:
    """Images (or features) `(N, ...)` and `(M, ...)`."""
    flat, known = generated.flatten(1).double(), true.flatten(1).double()
    found = [torch.cdist(part, known).min(1) for part in flat.split(block)]
    distances = torch.cat([part.values for part in found]) / math.sqrt(flat.shape[1])
    return Neighbors(torch.cat([part.indices for part in found]), distances)


def memorized_share(generated: Tensor, held_out: Tensor, true: Tensor) -> float:
    """The share of generated images that are nearer to a training image than half of the held-out images are: 1/2
    for images as new as those, 1 for copies. `(N, ...)`, `(L, ...)`, `(M, ...)`."""
    usual = nearest_neighbors(held_out, true).distances.median()
    return float((nearest_neighbors(generated, true).distances < usual).double().mean())
