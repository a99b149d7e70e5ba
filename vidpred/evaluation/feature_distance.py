"""Distance of two images in the feature space of a given network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

FeatureNetwork = Callable[
    [Tensor], Sequence[Tensor]
]  # images (N, 3, H, W) in [0, 1] -> feature maps (N, C_l, h_l, w_l)


class FeatureDistance:
    """Squared distance of unit-normalized features, as in Zhang et al. 2018 (arXiv 1801.03924) without learned weights.

    At every position of every feature map, the features of both images are divided by their length over the channels;
    the squared differences are summed over channels, averaged over positions and summed over the maps.
    Numbers of different networks are not comparable, and none of them is LPIPS, which has weights fitted to human
    answers (`vidpred.evaluation.network_metrics`).
    """

    def __init__(self, network: FeatureNetwork) -> None:
        """Store the network.

        Args:
            network: Takes images `(N, 3, H, W)` float in [0, 1], scales them as it needs and returns feature maps.
        """
        self.network = network

    @torch.inference_mode()
    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Compute the distance of each pair.

        Args:
            prediction: `(N, C, H, W)` float in [0, 1], C = 1 or 3; gray images are repeated to three channels.
            target: Images of the same shape.

        Returns:
            `(N,)` float32 from 0, for equal features, to at most 4 times the number of maps.
        """
        if prediction.shape != target.shape or prediction.ndim != 4 or prediction.shape[1] not in (1, 3):
            shapes = f"{tuple(prediction.shape)} and {tuple(target.shape)}"
            raise ValueError(f"prediction and target must both be (N, C, H, W) of one shape, C = 1 or 3, not {shapes}")
        pair = [images.float().expand(-1, 3, -1, -1) for images in (prediction, target)]
        return map_distance(*(self.network(images) for images in pair))


def map_distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Compute the distances `(N,)` of pairs of images from their feature maps, two lists of `(N, C, h, w)`."""
    return sum_of([squared_difference(*maps) for maps in zip(first, second, strict=True)])


def squared_difference(first: Tensor, second: Tensor) -> Tensor:
    """Compute the squared distance of unit features `(N, C, h, w)`, averaged over positions: `(N,)`."""
    return (unit_length(first.float()) - unit_length(second.float())).square().sum(1).mean((1, 2))


def unit_length(features: Tensor) -> Tensor:
    """Divide features `(N, C, h, w)` by their length over the channels; features of length 0 stay 0."""
    return torch.div(features, torch.linalg.vector_norm(features, dim=1, keepdim=True).clamp(min=1e-10))


def sum_of(terms: Sequence[Tensor]) -> Tensor:
    """Return the elementwise sum of tensors of one shape."""
    return torch.stack(list(terms)).sum(0)
