"""LPIPS, FID and FVD of predictors, computed while an evaluation makes its predictions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidpred.evaluation.frechet import Moments, distance
from vidpred.evaluation.metric_networks import KINDS, MetricNetwork, to_bytes, to_three_channels


def load_learned(files: Mapping[str, Path | None], device: torch.device) -> NetworkMetrics | None:
    """Load the networks that have a file, by kind (a key of `KINDS`); None without any. Raises ConfigError."""
    found = {kind: file for kind, file in files.items() if file is not None}
    return NetworkMetrics(found, device) if found else None


class NetworkMetrics:
    """Metrics by networks, updated with every rollout.

    Each draw of a window counts as one prediction. A model's FID compares all predicted frames, and its FVD all
    predicted videos, with the true ones.
    """

    def __init__(self, files: dict[str, Path], device: torch.device) -> None:
        """Load the networks.

        Args:
            files: Kind (a key of `KINDS`) -> file.
            device: Where the networks run.

        Raises:
            ConfigError: See `MetricNetwork`.
        """
        self.networks = {kind: MetricNetwork(kind, file, device) for kind, file in files.items()}
        self.distances: dict[str, list[list[float]]] = {}  # model -> LPIPS of every frame, by step
        self.features: dict[tuple[str, str], Moments] = {}  # kind, model ("": true frames) -> features

    def add_target(self, future: Tensor) -> None:
        """Add the true future frames of a window, `(1, K, C, H, W)` in [0, 1]."""
        self._add_features("", future)

    def update(self, name: str, draws: Iterable[Iterable[Tensor]], future: Tensor) -> Iterator[Iterator[Tensor]]:
        """Yield the rollouts of a model unchanged, and measure each when its last frame has been taken.

        Args:
            name: The model's name.
            draws: Rollouts of one window, each of frames `(1, C, H, W)` in [0, 1].
            future: The true frames, `(1, K, C, H, W)`.
        """
        for draw in draws:
            yield self._updated(name, draw, future)

    def _updated(self, name: str, draw: Iterable[Tensor], future: Tensor) -> Iterator[Tensor]:
        frames = []
        for frame in draw:
            frames.append(frame)
            yield frame
        predicted = torch.stack(frames, 1).float()
        self._add_features(name, predicted)
        if "lpips" in self.networks:
            pair = (to_three_channels(video[0].float()) * 2 - 1 for video in (predicted, future))
            distances = self.networks["lpips"](*pair).mean(1).tolist()
            by_step = self.distances.setdefault(name, [[] for _ in distances])
            for step, value in enumerate(distances):
                by_step[step].append(value)

    def _add_features(self, name: str, video: Tensor) -> None:
        images = to_bytes(to_three_channels(video[0].float()))
        inputs = {"fid": images, "fvd": images.transpose(0, 1)[None].float()}
        for kind, batch in inputs.items():
            if kind in self.networks:
                self.features.setdefault((kind, name), Moments()).add(self.networks[kind](batch))

    def compute(self) -> dict[str, dict[str, Any]]:
        """Return model -> metric ("lpips", "fid", "fvd") -> its value and "n".

        LPIPS has "mean", a list with one value for every frame ahead, and n counts samples. FID and FVD have "value",
        None if there are too few samples, and n counts frames (FID) or videos (FVD).
        """
        names = list(dict.fromkeys([*self.distances, *(name for _, name in self.features if name)]))
        found: dict[str, dict[str, Any]] = {name: {} for name in names}
        for name, by_step in self.distances.items():
            means = [sum(values) / len(values) for values in by_step]
            found[name]["lpips"] = {"mean": means, "n": len(by_step[0])}
        for (kind, name), moments in self.features.items():
            if name:
                value = distance(moments, self.features[kind, ""])
                found[name][kind] = {"value": None if math.isnan(value) else value, "n": moments.count}
        return found

    def about(self) -> dict[str, dict[str, str]]:
        """Return kind -> {"definition", "file"} of each metric."""
        return {
            kind: {"definition": KINDS[kind].definition, "file": network.file.name}
            for kind, network in self.networks.items()
        }

    def to_json(self) -> dict[str, Any]:
        """Return `about` and `compute` as plain values under "learned"."""
        return {"learned": {"about": self.about(), "models": self.compute()}}

    def table(self) -> str:
        """Return lines for the terminal: LPIPS of the first and last frame, FID and FVD, each with its n."""
        lines = [f"{KINDS[kind].title}: {about['definition']}: {about['file']}" for kind, about in self.about().items()]
        found = self.compute()
        width = max(len(name) for name in found)
        for name, numbers in found.items():
            cells = []
            for kind, number in numbers.items():
                values = number.get("mean", [number.get("value")])
                ends = dict.fromkeys((values[0], values[-1]))
                shown = " .. ".join("-" if value is None else f"{value:.4f}" for value in ends)
                cells.append(f"{KINDS[kind].title} {shown} (n={number['n']})")
            lines.append(f"{name:<{width}}  " + "   ".join(cells))
        return "\n".join(lines)
