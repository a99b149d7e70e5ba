"""A planner in the interface of LeRobot's policies, without importing that package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vidpred.planning.controller import MPCController
from vidpred.planning.inputs import Cost

IMAGE, STATE = "observation.image", "observation.state"


class PlanningPolicy:
    """A controller as a LeRobot policy: `reset` before each episode, then `select_action(observation)` for each step.

    Each row of an observation is another robot or environment, with its own controller.
    """

    def __init__(
        self, controller: MPCController, cost: Cost, image_key: str | Sequence[str] | None = None, seed: int = 0
    ) -> None:
        """Store the planner.

        Args:
            controller: The controller, which is copied for each row.
            cost: The cost of predicted frames.
            image_key: Key of the images in observations, or keys of several cameras, which are stacked along the
                channels; None: the only one that begins with "observation.image".
            seed: Seed of the search of row 0; row i has seed + i.
        """
        self.controller, self.cost, self.image_key, self.seed = controller, cost, image_key, seed
        self.rows: list[MPCController] = []

    def reset(self) -> None:
        """Start new episodes."""
        self.rows = []

    @torch.no_grad()
    def select_action(self, batch: Mapping[str, Any]) -> Tensor:
        """Return the next actions `(B, A)`.

        Args:
            batch: Images `(B, C, H, W)`, uint8 or float in [0, 1], under the image key; for a model that takes states,
                "observation.state" `(B, S)`.

        Raises:
            ValueError: An entry is missing or has another shape, or the number of rows changes during episodes.
        """
        images = self._images(batch)
        states = batch.get(STATE) if self.controller.model.state_size else None
        if self.controller.model.state_size and states is None:
            raise ValueError(f"the model takes states, and the observation has no {STATE!r}; it has {sorted(batch)}")
        if not self.rows:
            self.rows = [replace(self.controller, seed=self.seed + row) for row in range(len(images))]
        if len(self.rows) != len(images):
            raise ValueError(f"{len(images)} images after {len(self.rows)} before; call reset before other episodes")
        return torch.stack([
            one.act(image, self.cost, None if states is None else torch.as_tensor(states)[row])
            for row, (one, image) in enumerate(zip(self.rows, images, strict=True))
        ])  # fmt: skip

    def _images(self, batch: Mapping[str, Any]) -> Tensor:
        given = self.image_key
        keys = [given] if isinstance(given, str) else given or [key for key in batch if key.startswith(IMAGE)]
        if (given is None and len(keys) != 1) or not set(keys) <= set(batch):
            raise ValueError(f"expected one image, {given or IMAGE}; the observation has {sorted(batch)}")
        views = [torch.as_tensor(batch[key]) for key in keys]
        for key, images in zip(keys, views, strict=True):
            if images.dim() != 4:
                raise ValueError(f"{key} must be (B, C, H, W), not {tuple(images.shape)}")
        return torch.cat(views, 1)
