"""Data workers of a training: stop signals, crashes and timeouts, and the file that a lost worker was reading."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vidpred.data.batch import Batch
from vidpred.data.videos.worker_status import WorkerNotes, report_status
from vidpred.errors import DataError, printable
from vidpred.processes.interrupts import children_ignore_interrupts, handling_signals
from vidpred.processes.parent_watch import end_with_parent

WORKER_GRACE_SECONDS = 60
MARGIN_SECONDS = 1.0  # for torch's own timeout


class Batches:
    """The batches of a loader, each within the loader's timeout.

    Torch limits only the wait for a message; it would wait forever for the tensors of a worker that stopped after its
    message. So the workers are killed after the timeout, which ends every wait.
    """

    def __init__(self, loader: DataLoader[Batch]) -> None:
        with children_ignore_interrupts():
            self._batches: Any = iter(loader)
        self._seconds = loader.timeout
        self.late = False  # whether a batch did not arrive in time

    @property
    def workers(self) -> list[BaseProcess]:
        """The processes that make the batches."""
        return list(getattr(self._batches, "_workers", []))

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if not self._seconds:
            return next(self._batches)  # type: ignore[no-any-return]
        alarm = threading.Timer(self._seconds + MARGIN_SECONDS, self._end)
        alarm.daemon = True
        alarm.start()
        try:
            return next(self._batches)  # type: ignore[no-any-return]
        finally:
            alarm.cancel()

    def _end(self) -> None:
        self.late = True
        for worker in self.workers:
            worker.kill()

    def close(self) -> None:
        """End the worker processes, also stopped ones, for which the interpreter would wait at its exit."""
        if workers := self.workers:
            self._batches._shutdown_workers()  # torch has no public name for it
            end_workers(workers)


@contextmanager
def closing_workers(loader: DataLoader[Batch]) -> Iterator[Batches]:
    """Yield the loader's batches, and end its workers with the block, even if it fails.

    A stored exception would keep the iterator alive, and with it workers that ignore stop signals.
    """
    batches = Batches(loader)
    try:
        yield batches
    finally:
        batches.close()


def worker_failure(error: Exception, batches: Batches, notes: WorkerNotes, seconds: float) -> DataError | None:
    """Explain a data worker that died or timed out, and end all workers, since one that hangs would block the exit.

    Args:
        error: The error that torch raised.
        batches: The loader's iterator.
        notes: The files that the workers are reading.
        seconds: The timeout, for the message.

    Returns:
        The error to raise; None if `error` has another cause.
    """
    workers = batches.workers
    late = batches.late or str(error).startswith("DataLoader timed out")
    dead = [number for number, worker in enumerate(workers) if worker.exitcode is not None and not late]
    if not late and not dead and not str(error).startswith("DataLoader worker (pid"):
        return None
    reading = {number: note for number in dead or range(len(workers)) if (note := notes.reading(number))}
    note = max(reading.values(), key=lambda note: note.seconds, default=None)
    where = f"[{printable(note.path)}]" if note else "[between two files]"
    end_workers(workers)
    if late:
        return DataError(
            f"a data worker returned nothing for data.timeout_seconds={seconds:g} while reading {where}; "
            "check that the file can be read, or raise the limit"
        )
    codes = sorted({worker.exitcode for worker in (workers[number] for number in dead) if worker.exitcode})
    how = ", ".join(f"killed by signal {-code}" if code < 0 else f"exit code {code}" for code in codes) or "killed"
    return DataError(
        f"a data worker ended ({how}) while reading {where}; "
        "remove the file, or lower data.num_workers or data.video.cache_mb if memory ran out"
    )


def end_workers(workers: Sequence[BaseProcess]) -> None:
    """Kill workers, without torch's SIGCHLD handler, which raises an error for every worker that dies."""
    with handling_signals(signal.SIG_DFL, ("SIGCHLD",)):
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.join(WORKER_GRACE_SECONDS)


def prepare_worker(pages: Tensor, worker: int) -> None:
    """Prepare signals, threads and status of a data worker.

    On SIGTERM and SIGHUP it keeps running for 60 s so that the main process can fetch its batch and save; then an
    alarm ends it. It never outlives the main process.
    """
    end_with_parent()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: signal.alarm(WORKER_GRACE_SECONDS))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    report_status(pages, worker)
