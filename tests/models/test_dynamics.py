"""The linear map of states: exact in a linear world, bounded in one that explodes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vidpred.data.prepared.format import value_statistics
from vidpred.models.dynamics import REACH, StateDynamics

KEEP = np.array([[0.9, 0.2, 0.0], [-0.1, 0.8, 0.0], [0.0, 0.0, 1.0]])  # the third value never changes
PUSH, DRIFT = np.array([[2.0, 0.0], [0.3, -1.0], [0.0, 0.0]]), np.array([4.0, -3.0, 0.0])


def sequences(with_actions: bool, count: int = 6, length: int = 30) -> list[tuple[np.ndarray, np.ndarray | None]]:
    random = np.random.default_rng(0)
    found: list[tuple[np.ndarray, np.ndarray | None]] = []
    for _ in range(count):
        moves = random.normal(5, 3, (length - 1, 2)) * with_actions
        states = [np.array([*random.normal(0, 10, 2), 0.1])]
        for move in moves:
            states.append(KEEP @ states[-1] + PUSH @ move + DRIFT)
        found.append((np.array(states), moves if with_actions else None))
    return found


def mean_and_deviation(rows: list[np.ndarray]) -> tuple[list[float], list[float]]:
    found = value_statistics(rows)
    return found["mean"], found["deviation"]


def fitted(data: list[tuple[np.ndarray, np.ndarray | None]], action_size: int) -> StateDynamics:
    dynamics = StateDynamics(data[0][0].shape[1], action_size)
    dynamics.states.fit(*mean_and_deviation([states for states, _ in data]))
    if dynamics.actions is not None:
        dynamics.actions.fit(*mean_and_deviation([moves for _, moves in data if moves is not None]))
    dynamics.fit(data)
    return dynamics


@pytest.mark.parametrize("with_actions", [False, True])
def test_a_linear_world_is_recovered(with_actions: bool) -> None:
    dynamics = fitted(sequences(with_actions), 2 * with_actions)
    states, moves = torch.tensor([[3.0, -7.0, 0.1], [10.0, 2.0, 0.1]]), torch.tensor([[4.0, 6.0], [9.0, -1.0]])
    expected = states.numpy() @ KEEP.T + moves.numpy() @ PUSH.T * with_actions + DRIFT
    found = dynamics(states, moves if with_actions else None)
    torch.testing.assert_close(found, torch.from_numpy(expected).float(), rtol=1e-4, atol=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(dynamics(states, moves if with_actions else None), found)


def test_unfitted_and_constant_states_stay() -> None:
    states = torch.tensor([[1.0, -2.0, 7.0]])
    torch.testing.assert_close(StateDynamics(3)(states), states)
    redundant = [(states, np.concatenate([moves, moves], 1)) for states, moves in sequences(True) if moves is not None]
    dynamics = fitted(redundant, 4)  # makes the squares singular twice over
    moves = torch.tensor([[1.0, 2.0, 1.0, 2.0]])
    expected = KEEP @ [1, -2, 0.1] + PUSH @ [1, 2] + DRIFT
    torch.testing.assert_close(
        dynamics(torch.tensor([[1.0, -2.0, 0.1]]), moves)[0], torch.from_numpy(expected).float(), rtol=1e-4, atol=1e-3
    )
    assert dynamics(torch.tensor([[1.0, -2.0, 0.9]]), moves)[0, 2] == pytest.approx(0.9, abs=1e-5)


def test_long_rollouts_stay_where_the_data_is() -> None:
    doubling = [(np.array([[1.0], [2.0], [4.0], [8.0]]) * sign, None) for sign in (1, -1)]
    dynamics = fitted(doubling, 0)
    state = torch.tensor([[3.0]])
    for _ in range(100):
        state = dynamics(state)
    std = np.concatenate([rows for rows, _ in doubling]).std()
    assert float(state) == pytest.approx(REACH * std, rel=1e-4)
    far = [(np.array([[0.0]] * 999 + [[1000.0]]), None)]
    assert float(fitted(far, 0).reach) == pytest.approx(999**0.5, rel=1e-3), "clamps states of the training data"


def test_gradients_pass_to_the_actions() -> None:
    dynamics = fitted(sequences(True), 2)
    moves = torch.zeros(1, 2, requires_grad=True)
    dynamics(torch.tensor([[0.0, 0.0, 0.1]]), moves)[0, 0].backward()
    torch.testing.assert_close(moves.grad, torch.tensor([[2.0, 0.0]]), rtol=1e-4, atol=1e-4)
