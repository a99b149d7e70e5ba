"""Work distributed over processes."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from tqdm import tqdm

from vidpred.errors import StorageError


def in_processes(
    work: Callable[[Any], Any], jobs: list[Any], workers: int | None, title: str, progress: bool
) -> Iterator[Any]:
    """Yield (item, result) for every job, in the order in which they finish.

    Args:
        work: Function of a job.
        jobs: Tuples whose second element is the item.
        workers: Number of processes; None: one per core. A single one is this process.
        title: Title of the progress bar.
        progress: Whether to show the bar.

    Raises:
        StorageError: A process was killed.
    """
    count = min(workers or len(os.sched_getaffinity(0)), len(jobs))
    bar = tqdm(total=len(jobs), desc=title, unit="item", disable=not (progress and jobs))
    with bar:
        if count <= 1:
            for job in jobs:
                yield job[1], work(job)
                bar.update()
            return
        # Spawned, because a forked process would share this one's open videos and locks.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(count, mp_context=context, initializer=_end_with_parent) as pool:
            futures = {pool.submit(work, job): job[1] for job in jobs}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
                    bar.update()
            except BrokenProcessPool:
                raise StorageError(
                    "a worker process was killed (out of memory?); run the same command again to continue, with fewer "
                    f"--workers than {count}"
                ) from None
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end_with_parent() -> None:
    """End this process when its parent is killed; otherwise it would wait for work forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
