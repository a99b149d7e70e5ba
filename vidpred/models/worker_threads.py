"""Parts of a forward pass in parallel threads of Python: operations on small tensors gain little from more threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, get_ident
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")
MOST_THREADS = 4  # only one of them at a time runs Python


class WorkerThreads:
    """Threads that PyTorch's threads are divided among, for operations without gradients."""

    def __init__(self) -> None:
        self._threads, self._pool = 1, ThreadPoolExecutor(1)
        self._workers: set[int] = set()  # identifiers of threads

    @property
    def count(self) -> int:
        """Number of worker threads: that of PyTorch's threads in an operation, up to `MOST_THREADS`."""
        return min(torch.get_num_threads(), MOST_THREADS)

    def pool(self) -> ThreadPoolExecutor | None:
        """Return the worker threads; None if PyTorch uses one thread. A worker may wait for one task of the others."""
        if get_ident() in self._workers:
            return self._pool
        threads, count = torch.get_num_threads(), self.count
        if threads != self._threads:
            all_started = Barrier(count)

            def begin() -> None:
                torch.set_num_threads(threads // count)
                torch.get_num_threads()  # at the first use in a thread PyTorch would set the number that holds then
                self._workers.add(get_ident())
                all_started.wait()

            self._pool.shutdown(wait=False)
            self._workers.clear()
            self._threads, self._pool = threads, ThreadPoolExecutor(count)
            for started in [self._pool.submit(begin) for _ in range(count)]:
                started.result()
            torch.set_num_threads(threads)  # MKL has one number for all threads
        return self._pool if threads > 1 else None

    def map(self, function: Callable[[Part], Result], parts: Iterable[Part]) -> list[Result]:
        """Return the function's values for every part, computed at the same time, in the modes of the calling thread.

        Raises:
            Exception: What the function raises.
        """
        inference, half = torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu")

        def compute(part: Part) -> Result:
            with torch.inference_mode(inference), torch.no_grad(), torch.autocast("cpu", dtype, half):
                return function(part)

        pool = self.pool()
        return [compute(part) for part in parts] if pool is None else list(pool.map(compute, parts))
