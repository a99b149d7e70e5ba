"""Parts of a forward pass in parallel threads."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Barrier, current_thread

import pytest
import torch

from vidpred.models.worker_threads import WorkerThreads


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("threads", "count", "each"), [(1, 1, 1), (2, 2, 1), (7, 4, 1), (8, 4, 2)])
def test_pytorchs_threads_are_divided(threads: int, count: int, each: int) -> None:
    workers = WorkerThreads()
    torch.set_num_threads(threads)
    together = Barrier(count, timeout=30)

    def work(part: int) -> tuple[int, int]:
        together.wait()  # none of the parts ends before all run
        return part, torch.get_num_threads()

    assert workers.count == count
    assert workers.map(work, range(count)) == [(part, each) for part in range(count)]
    assert torch.get_num_threads() == threads, "of this thread"


def test_the_number_of_threads_may_change() -> None:
    workers, here = WorkerThreads(), current_thread()
    for threads in (2, 1, 3):
        torch.set_num_threads(threads)
        found = workers.map(lambda part: current_thread(), range(3))
        assert (here in found) == (threads == 1)
        assert torch.get_num_threads() == threads


@pytest.mark.parametrize("threads", [1, 2])
def test_modes_of_the_caller_hold_and_errors_reach_it(threads: int) -> None:
    torch.set_num_threads(threads)
    workers, weight = WorkerThreads(), torch.ones(4, 4, requires_grad=True)

    def work(part: int) -> torch.Tensor:
        return torch.ones(4, 4) @ weight

    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        values = workers.map(work, range(2))
    assert all(value.is_inference() and value.dtype == torch.bfloat16 for value in values)
    assert not any(value.is_inference() or value.requires_grad for value in workers.map(work, range(2)))
    with pytest.raises(ZeroDivisionError):
        workers.map(lambda part: 1 // part, range(2))


def test_a_worker_waits_for_another_one() -> None:
    """It has one thread of PyTorch, which is no reason for other workers."""
    torch.set_num_threads(2)
    workers = WorkerThreads()

    def work(part: int) -> tuple[object, object]:
        pool = workers.pool()
        assert pool is not None
        return current_thread(), pool.submit(current_thread).result(timeout=30)

    ((first, second),) = workers.map(work, [0])
    assert first is not second
    assert {first, second} >= set(workers.map(lambda part: current_thread(), range(2)))
