"""Feature distances with a simple network."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.evaluation.test_protocols import Drift
from vidpred.errors import ConfigError
from vidpred.evaluation.feature_distance import FeatureDistance, unit_length
from vidpred.evaluation.metric_networks import feature_network
from vidpred.evaluation.protocols import Measurement, evaluate_models
from vidpred.models.baselines import CopyLast


def colors_and_halves(images: Tensor) -> list[Tensor]:
    """Return two feature maps: the pixels, and their left half."""
    return [images, images[..., : images.shape[-1] // 2]]


def test_only_the_direction_of_pixels_counts() -> None:
    """Red and green are orthogonal unit vectors: squared distance 2 in the pixels where they differ."""
    red = torch.zeros(1, 3, 2, 4)
    red[:, 0] = 1.0
    changed = red.clone()
    changed[0, :, 0, 0] = torch.tensor([0.0, 0.5, 0.0])  # one of 8 pixels, and one of 4 in the left half
    distance = FeatureDistance(colors_and_halves)
    assert distance(changed, red).item() == pytest.approx(2 / 8 + 2 / 4)
    assert distance(0.3 * red, red).item() == pytest.approx(0, abs=1e-10)


def test_each_image_has_its_own_distance_and_gray_is_repeated() -> None:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    distance = FeatureDistance(colors_and_halves)
    pair = distance(torch.stack([images[0], images[0]]), images)
    assert pair[0] == 0
    assert pair[1] > 0
    assert distance(images[:, :1], images[:, 1:2]).tolist() == pytest.approx([0, 0], abs=1e-6)  # all grays are alike


def test_features_of_length_zero_stay_zero() -> None:
    assert unit_length(torch.zeros(1, 3, 2, 2)).abs().max() == 0
    distance = FeatureDistance(colors_and_halves)(torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4))
    assert distance.item() == pytest.approx(2)  # of two maps


def test_mismatched_shapes_raise() -> None:
    with pytest.raises(ValueError, match="one shape"):
        FeatureDistance(colors_and_halves)(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 5))
    with pytest.raises(ValueError, match="C = 1 or 3"):
        FeatureDistance(colors_and_halves)(torch.rand(1, 2, 4, 4), torch.rand(1, 2, 4, 4))


class Maps(nn.Module):
    """Two feature maps, as from a file for `--feature-distance`."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images, images[..., :4]]


def test_a_network_from_a_file_adds_a_metric(tmp_path: Path) -> None:
    file = tmp_path / "maps.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Maps()).save(str(file))
    network = feature_network(file, torch.device("cpu"))
    source = Drift(frames=4)
    result = evaluate_models({"copy last": CopyLast()}, source, Measurement(2, network=network))
    assert result.protocol.metrics[-1] == "features"
    window = torch.from_numpy(source.window(0)).permute(0, 3, 1, 2).float() / 255
    single = evaluate_models({"copy last": CopyLast()}, Drift(4, windows=1), Measurement(2, network=network))
    expected = 100 * FeatureDistance(Maps())(window[1:2], window[3:4]).item()
    assert single.scores["copy last"].overall["features"][1].mean == pytest.approx(expected, rel=1e-5)


def test_a_network_without_feature_maps_raises(tmp_path: Path) -> None:
    file = tmp_path / "one.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(nn.Identity()).save(str(file))
    network = feature_network(file, torch.device("cpu"))
    assert network is not None
    with pytest.raises(ConfigError, match="no list of feature maps .feature_distance="):
        network(torch.rand(1, 3, 8, 8))
    assert feature_network(None, torch.device("cpu")) is None
