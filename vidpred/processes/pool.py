"""Work distributed over processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Any

from tqdm import tqdm

from vidpred.errors import StorageError, name_options, names_options
from vidpred.processes.interrupts import children_ignore_interrupts, exiting_on_termination
from vidpred.processes.parent_watch import end_with_parent
from vidpred.processes.streams import protect_streams


def in_processes(
    work: Callable[[Any], Any], jobs: list[Any], workers: int | None, title: str, progress: bool, remedy: str = ""
) -> Iterator[Any]:
    """Yield (item, result) for every job, in the order in which they finish.

    Args:
        work: Function of a job.
        jobs: Tuples whose second element is the item.
        workers: Number of processes; None: one per core. A single one is this process, as it is where a spawned
            process could not import the main module (`can_spawn`).
        title: Title of the progress bar.
        progress: Whether to show the bar.
        remedy: What to use if a process is killed; by default fewer --workers.

    Raises:
        StorageError: A process was killed or did not start.
    """
    count = min(workers or available_cores(), len(jobs)) if can_spawn() else 1
    bar = tqdm(total=len(jobs), desc=title, unit="item", disable=not (progress and jobs))
    with bar:
        if count <= 1:
            for job in jobs:
                yield job[1], work(job)
                bar.update()
            return
        with exiting_on_termination(), spawn_pool(count) as pool:
            with children_ignore_interrupts():
                futures = {pool.submit(work, job): job[1] for job in jobs}
            processes = processes_of(pool)
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
                    bar.update()
            except BrokenProcessPool:
                raise lost_process(processes, remedy or f"fewer --workers than {count}") from None
            except BaseException:
                end_processes(processes, 0)
                raise
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def spawn_pool(count: int, save_seconds: float = 0.0) -> ProcessPoolExecutor:
    """Return a pool of processes that end with this one; for `save_seconds` see `end_with_parent`.

    They are spawned, because a forked process would share this one's open videos and locks.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        # A spawned process is importing a script that calls vidpred without a guard; `lost_process` explains it.
        os._exit(1)
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, context, initializer=_begin, initargs=(save_seconds, names_options()))


def _begin(save_seconds: float, by_command: bool) -> None:
    name_options(by_command)
    protect_streams()
    end_with_parent(save_seconds)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its processes


def processes_of(pool: ProcessPoolExecutor) -> list[BaseProcess]:
    """Return the processes of a pool that has work; the pool forgets them when one dies."""
    return list((pool._processes or {}).values())


def end_processes(processes: Iterable[BaseProcess], save_seconds: float) -> None:
    """End processes: with SIGTERM those that need `save_seconds` to save, and in the end with SIGKILL."""
    alive = [process for process in processes if process.is_alive()]
    if save_seconds:
        for process in alive:
            process.terminate()
        deadline = time.monotonic() + save_seconds
        for process in alive:
            process.join(max(0.0, deadline - time.monotonic()))
    for process in alive:
        process.kill()


def lost_process(processes: Iterable[BaseProcess], remedy: str) -> StorageError:
    """Return the error for a pool that lost a process.

    Args:
        processes: The processes of the pool.
        remedy: What to use on a machine without enough memory.
    """
    processes = list(processes)
    for process in processes:
        process.join(1)
    codes = [process.exitcode for process in processes if process.exitcode]
    if any(code > 0 for code in codes):  # not killed
        return StorageError(
            "a worker process could not start [exit code 1]; in a script, call vidpred under "
            '`if __name__ == "__main__":`, or use one worker'
        )
    return StorageError(
        f"a worker process was killed (out of memory?); run the same command again to continue, with {remedy}"
    )


def can_spawn() -> bool:
    """Return whether a spawned process can import the main module: not if it was read from standard input."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    return file is None or getattr(main, "__spec__", None) is not None or os.path.exists(file)


def is_command() -> bool:
    """Return whether this process is the `vidpred` command, whose main module a spawned process can import."""
    main = sys.modules.get("__main__")
    name = getattr(getattr(main, "__spec__", None), "name", None) or os.path.basename(getattr(main, "__file__", ""))
    return name in ("vidpred", "vidpred.__main__")


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
