"""The data workers of a training: asked to stop, lost, late; and which file they were reading."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch.utils.data import DataLoader

from vidpred.data.batch import Batch
from vidpred.data.videos.containers import printable
from vidpred.data.videos.worker_status import WorkerNotes, report_status
from vidpred.errors import DataError

WORKER_GRACE_SECONDS = 60


@contextmanager
def closing_workers(loader: DataLoader[Batch]) -> Iterator[Iterator[Batch]]:
    """The loader's batches; its workers are gone when the block ends, however it ends.

    An exception that somebody keeps would keep the iterator too, and with it workers that do not end at a stop signal:
    the interpreter's exit would wait for them.
    """
    batches: Any = iter(loader)
    try:
        yield batches
    finally:
        if loader.num_workers:
            batches._shutdown_workers()  # torch has no public name for it


def worker_failure(error: RuntimeError, batches: Any, notes: WorkerNotes, seconds: float) -> DataError | None:
    """What became of a data worker that died or let the training wait too long, and of which file; None for any other
    error. The workers are ended: one that hangs would let the training hang in turn."""
    workers: list[BaseProcess] = list(getattr(batches, "_workers", []))
    late = str(error).startswith("DataLoader timed out")
    if not late and not str(error).startswith("DataLoader worker (pid"):
        return None
    dead = [number for number, worker in enumerate(workers) if worker.exitcode is not None and not late]
    asked = {number: note for number in dead or range(len(workers)) if (note := notes.reading(number))}
    note = max(asked.values(), key=lambda note: note.seconds, default=None)
    where = f"[{printable(note.path)}]" if note else "[between two files]"
    end_workers(workers)
    if late:
        return DataError(
            f"a data worker gave nothing for data.timeout_seconds={seconds:g} while reading {where}; "
            "see whether the file can be read, or raise the limit"
        )
    codes = sorted({worker.exitcode for worker in (workers[number] for number in dead) if worker.exitcode})
    how = ", ".join(f"killed by signal {-code}" if code < 0 else f"exit code {code}" for code in codes) or "killed"
    return DataError(
        f"a data worker ended ({how}) while reading {where}; "
        "leave the file out, or lower data.num_workers or data.video.cache_mb if memory ran out"
    )


def end_workers(workers: Sequence[BaseProcess]) -> None:
    """At once. torch's handler, which raises an error for every worker that dies, is not asked meanwhile."""
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join(WORKER_GRACE_SECONDS)
    signal.signal(signal.SIGCHLD, handler)


def prepare_worker(notes: str, worker: int) -> None:
    """Data workers outlive a stop signal by long enough for the main process to fetch its batch and save; an alarm,
    which ends a process that does not catch it, sees to it that they do end."""
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(WORKER_GRACE_SECONDS))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    report_status(notes, worker)
