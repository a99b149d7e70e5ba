"""Actions of every kind of space are recorded as vectors, and what the environment receives is what was recorded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from vidpred.data.prepared.format import PreparedFrames
from vidpred.errors import ConfigError
from vidpred.planning.envs.action_spaces import ActionVectors
from vidpred.planning.envs.gymnasium_env import GymnasiumEnv
from vidpred.planning.plan import PlanConfig
from vidpred.planning.record import Recording, record
from vidpred.planning.solvers import CategoricalCEMSolver, Problem

ACTIONS: dict[str, spaces.Space[Any]] = {
    "discrete": spaces.Discrete(3),
    "minus": spaces.Discrete(3, start=-1),
    "one": spaces.Discrete(3, start=1),
    "multi": spaces.MultiDiscrete([3, 2]),
    "multi-start": spaces.MultiDiscrete([3, 2], start=[-1, 5]),
    "multi-table": spaces.MultiDiscrete([[3, 2], [4, 5]]),
    "binary": spaces.MultiBinary(2),
    "binary-table": spaces.MultiBinary([2, 3]),
    "box": spaces.Box(-2, 2, (2,)),
    "scalar": spaces.Box(-2, 2, ()),
    "table": spaces.Box(-2, 2, (2, 2), np.float64),
    "integers": spaces.Box(-2, 2, (1,), np.int64),
    "bytes": spaces.Box(0, 3, (2,), np.uint8),
    "unbounded": spaces.Box(-np.inf, np.inf, (1,)),
}
SIZES = {
    "discrete": 3, "minus": 3, "one": 3, "multi": 5, "multi-start": 5, "multi-table": 14, "binary": 2,
    "binary-table": 6, "box": 2, "scalar": 1, "table": 4, "integers": 1, "bytes": 2, "unbounded": 1,
}  # fmt: skip
OBSERVATIONS: dict[str, spaces.Space[Any]] = {
    "vector": spaces.Box(-np.inf, np.inf, (1,), np.float32),
    "number": spaces.Box(-np.inf, np.inf, (), np.float32),
    "dict": spaces.Dict({"pixels": spaces.Box(0, 255, (8, 8, 3), np.uint8), "place": spaces.Box(-9e9, 9e9, (1,))}),
    "dicts": spaces.Dict({"place": spaces.Box(-9e9, 9e9, (1,)), "goal": spaces.Box(-9e9, 9e9, (3,))}),
    "image": spaces.Box(0, 255, (8, 8, 3), np.uint8),
}


class Line(gymnasium.Env[Any, Any]):
    """A state that is the sum of the values of all actions; invalid actions are refused."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, kind: str = "box", seen: str = "vector", render_mode: str | None = None) -> None:
        self.render_mode, self.total = render_mode, 0.0
        self.action_space, self.observation_space = ACTIONS[kind], OBSERVATIONS[seen]
        self.seen = seen

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.total = 0.0
        return self.observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        self.total += float(np.sum(action))
        return self.observation(), 0.0, False, False, {}

    def observation(self) -> Any:
        place, image = np.array([self.total], np.float32), np.zeros((8, 8, 3), np.uint8)
        return {
            "vector": place, "number": place.reshape(()), "dict": {"pixels": image, "place": place},
            "dicts": {"place": place, "goal": np.zeros(3, np.float32)}, "image": image,
        }[self.seen]  # fmt: skip

    def render(self) -> np.ndarray:  # type: ignore[override]
        return np.full((16, 16, 3), int(self.total) % 256, np.uint8)


@pytest.fixture(autouse=True)
def environments() -> Iterator[None]:
    names = [*ACTIONS, *(f"see-{name}" for name in OBSERVATIONS)]
    for name in names:
        kind = {"seen": name[4:]} if name.startswith("see-") else {"kind": name}
        gymnasium.register(f"{name}-v0", entry_point=Line, max_episode_steps=12, kwargs=kind)
    yield
    for name in names:
        del gymnasium.registry[f"{name}-v0"]


def value(space: spaces.Space[Any], vector: np.ndarray) -> float:
    """Return the sum of the values of an action, worked from its vector by the definition of each space."""
    if isinstance(space, spaces.Discrete):
        return float(vector.argmax() + space.start)
    if isinstance(space, spaces.MultiDiscrete):
        ends = np.cumsum(space.nvec.ravel())
        assert vector.sum() == len(ends), "every choice is one-hot"
        chosen = np.flatnonzero(vector) - np.array([0, *ends[:-1]])
        return float((chosen + space.start.ravel()).sum())
    return float(vector.sum())


@pytest.mark.parametrize("kind", ACTIONS)
def test_recorded_actions_are_those_that_the_environment_received(tmp_path: Path, kind: str) -> None:
    summary = record(Recording(f"{kind}-v0", 3), tmp_path / "set", workers=1, progress=False)
    assert (summary.manifest.action_size, summary.manifest.state_size) == (SIZES[kind], 1)
    prepared = PreparedFrames(tmp_path / "set", summary.manifest, "train")
    moves = []
    for clip in prepared.clips:
        totals, actions = prepared.states(clip)[:, 0], prepared.actions(clip)[:-1]
        expected = [value(ACTIONS[kind], vector) for vector in actions]
        np.testing.assert_allclose(np.diff(totals), expected, atol=1e-4)
        moves += expected
    assert len(set(moves)) > 1


@pytest.mark.parametrize("kind", ACTIONS)
def test_vectors_are_the_actions_nearest_to_them(kind: str) -> None:
    """A planner's vectors are not exactly one-hot, binary or whole."""
    space = ACTIONS[kind]
    space.seed(3)
    vectors = ActionVectors(space, "--env x")
    for _ in range(20):
        action = space.sample()
        vector = vectors.encode(action)
        assert vector.shape == vectors.low.shape == vectors.high.shape == (SIZES[kind],)
        np.testing.assert_array_equal(vectors.decode(vector), action)
        assert space.contains(vectors.decode(vector))
        assert space.contains(vectors.decode(vector + 100)), "also outside the bounds"
        if not isinstance(space, spaces.Box) or kind in ("integers", "bytes"):
            off = vectors.decode(vector + np.random.default_rng(0).uniform(-0.3, 0.3, vector.shape))
            np.testing.assert_array_equal(off, action)
            assert space.contains(off)


@pytest.mark.parametrize(("seen", "key", "size"), [
    ("vector", None, 1), ("number", None, 1), ("dict", None, 1), ("dict", "place", 1), ("dicts", "place", 1),
    ("dicts", "goal", 3), ("image", None, 0),
])  # fmt: skip
def test_the_state_is_the_vector_of_the_observation(tmp_path: Path, seen: str, key: str | None, size: int) -> None:
    summary = record(Recording(f"see-{seen}-v0", 2, state_key=key), tmp_path / "set", workers=1, progress=False)
    assert summary.manifest.state_size == size


def test_what_is_unclear_or_unsupported_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, key, message in (
        ("see-dicts-v0", None, r"several vectors \[env=see-dicts-v0\]; set state to one of goal, place"),
        ("see-dicts-v0", "plaice", r"no vector .*\[state=plaice\]; choose from goal, place"),
        ("see-dict-v0", "pixels", r"\[state=pixels\]; choose from place"),
        ("see-vector-v0", "place", r"no dictionary \[state=place\]"),
    ):
        with pytest.raises(ConfigError, match=message):
            GymnasiumEnv(name, None, key)
    monkeypatch.setitem(ACTIONS, "box", spaces.Text(3))
    with pytest.raises(ConfigError, match=r"unsupported action space Text.* \[env=box-v0\]; it must be Box, Discrete"):
        GymnasiumEnv("box-v0")
    with pytest.raises(ConfigError, match=r"no bounds \[env=unbounded-v0\]"):
        _ = GymnasiumEnv("unbounded-v0").bounds


def test_cem_plans_discrete_actions_by_categories() -> None:
    env = GymnasiumEnv("multi-v0")
    solver = PlanConfig().make_solver(env)
    assert isinstance(solver, CategoricalCEMSolver)
    assert solver.choices == (3, 2)
    assert not isinstance(PlanConfig().make_solver(GymnasiumEnv("box-v0")), CategoricalCEMSolver)

    def cost(plans: torch.Tensor) -> torch.Tensor:  # cheapest: the last option of both choices, always
        return -(plans @ torch.tensor([0.0, 1.0, 2.0, 0.0, 1.0])).sum(-1)

    plan = solver.solve(Problem(cost, env.bounds, 1, 4), torch.Generator().manual_seed(0))
    assert [env.actions.decode(action.numpy()).tolist() for action in plan.actions[0]] == [[2, 1]] * 4
