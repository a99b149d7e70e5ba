"""Parallel trainings on a machine without a GPU, each in its own process, with one progress bar."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch
from tqdm import tqdm

from vidpred.checkpoint import read_metrics
from vidpred.config import Config
from vidpred.errors import StoppedError
from vidpred.processes.interrupts import children_ignore_interrupts, stopping_on_signals
from vidpred.processes.parent_watch import SAVE_SECONDS
from vidpred.processes.pool import available_cores, can_spawn, end_processes, lost_process, processes_of, spawn_pool
from vidpred.run import train

LOG = "train.log"  # in the run folder: the stderr of a parallel training
POLL_SECONDS = 0.5


def train_together(configs: Sequence[Config], title: str, threads: int | None = None) -> None:
    """Train or resume all runs, in parallel unless there is a GPU or a single core.

    Small networks gain little from a second core, so two parallel trainings take little longer than one.

    Args:
        configs: The runs, in the order in which they start.
        title: Title of the progress bar.
        threads: Threads of each parallel training; None: one.

    Raises:
        VidpredError: A training failed; the others are ended.
        StoppedError: A signal stopped the trainings; those that had begun saved a checkpoint.
    """
    count = min(available_cores(), len(configs))
    if count < 2 or torch.cuda.is_available() or not can_spawn():
        for config in configs:
            train(config)
        return
    stop = threading.Event()
    with stopping_on_signals(stop.set), spawn_pool(count, SAVE_SECONDS) as pool:
        with children_ignore_interrupts():
            jobs = [pool.submit(train_quietly, config, threads or 1) for config in configs]
        processes = processes_of(pool)
        try:
            _wait_for(jobs, configs, title, stop.is_set)
        except BrokenProcessPool:
            raise lost_process(processes, "more memory") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            if not all(job.done() for job in jobs):
                end_processes(processes, SAVE_SECONDS)


def _wait_for(
    jobs: Sequence[Future[None]], configs: Sequence[Config], title: str, is_stopped: Callable[[], bool]
) -> None:
    """Show the progress of trainings until all have ended. Raises the error of one that failed, or StoppedError."""
    total = sum(config.training.steps for config in configs)
    with tqdm(total=total, desc=title, unit="step", file=sys.stderr, dynamic_ncols=True) as bar:
        pending = set(jobs)
        while pending:
            done, pending = wait(pending, POLL_SECONDS, FIRST_EXCEPTION)
            bar.update(sum(steps_done(config) for config in configs) - bar.n)
            for job in done:
                job.result()
            if is_stopped() and pending:
                raise StoppedError("the trainings were stopped; the same command resumes them from their checkpoints")


def train_quietly(config: Config, threads: int) -> None:
    """Train with stderr redirected to the run folder's log."""
    torch.set_num_threads(threads)
    folder = Path(config.run)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOG).open("a") as log:
        os.dup2(log.fileno(), sys.stderr.fileno())
        train(config)


def steps_done(config: Config) -> int:
    """Return the number of steps that a run has done, by its metrics.jsonl."""
    lines = read_metrics(Path(config.run))
    return min(int(lines[-1]["step"]), config.training.steps) if lines else 0
