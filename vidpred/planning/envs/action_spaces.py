"""Gymnasium's action spaces as vectors, for recordings, models and planners."""

from __future__ import annotations

from typing import Any

import numpy as np

from vidpred.errors import ConfigError


class ActionVectors:
    """The actions of a Box, Discrete, MultiDiscrete or MultiBinary space as float vectors `(A,)`.

    A Box is flattened. Every choice of a Discrete or MultiDiscrete space is one-hot, its first component standing for
    the lowest value (`start`). MultiBinary actions are zeros and ones.

    Attributes:
        low: Lower bounds of the components, `(A,)` float32; may be infinite.
        high: Upper bounds.
    """

    def __init__(self, space: Any, where: str) -> None:
        """Store the space. Raises ConfigError, with the option `where`, for other spaces."""
        from gymnasium import spaces

        self.space = space
        self.sizes: list[int] = []  # of the one-hot groups
        if isinstance(space, spaces.Discrete):
            self.sizes, self.start = [int(space.n)], np.array([space.start])
        elif isinstance(space, spaces.MultiDiscrete):
            self.sizes, self.start = np.ravel(space.nvec).tolist(), np.ravel(getattr(space, "start", 0 * space.nvec))
        elif not isinstance(space, spaces.Box | spaces.MultiBinary):
            raise ConfigError(
                f"unsupported action space {space} [{where}]; it must be Box, Discrete, MultiDiscrete or MultiBinary"
            )
        self.is_binary = isinstance(space, spaces.MultiBinary)
        if isinstance(space, spaces.Box):
            self.low, self.high = np.ravel(space.low).astype(np.float32), np.ravel(space.high).astype(np.float32)
        else:
            count = sum(self.sizes) if self.sizes else int(np.prod(space.shape))
            self.low, self.high = np.zeros(count, np.float32), np.ones(count, np.float32)

    def encode(self, action: Any) -> np.ndarray:
        """Return an action of the space as a vector `(A,)` float64."""
        values = np.ravel(action)
        if not self.sizes:
            return values.astype(np.float64)
        chosen = (values - self.start).astype(int).tolist()
        return np.concatenate([np.eye(size)[one] for size, one in zip(self.sizes, chosen, strict=True)])

    def decode(self, vector: np.ndarray) -> Any:
        """Return the action of the space that is nearest to a vector `(A,)`."""
        space, dtype = self.space, self.space.dtype
        if self.sizes:
            groups = np.split(vector, np.cumsum(self.sizes)[:-1])
            values = np.array([int(np.argmax(group)) for group in groups]) + self.start
            return dtype.type(values[0]) if not space.shape else values.astype(dtype).reshape(space.shape)
        if self.is_binary:
            return (vector > 0.5).astype(dtype).reshape(space.shape)
        vector = np.rint(vector) if np.issubdtype(dtype, np.integer) else vector
        vector = np.clip(vector, self.space.low.ravel(), self.space.high.ravel())
        return vector.astype(dtype).reshape(space.shape)
