"""Several trainings at once on one machine without a GPU: a process and a share of the cores each, one progress bar."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from pathlib import Path

import torch
from tqdm import tqdm

from vidpred.checkpoint import read_metrics
from vidpred.config import Config
from vidpred.run import train

LOG = "train.log"  # in the run folder: what a training that shares the terminal would have printed
POLL_SECONDS = 0.5


def train_together(configs: Sequence[Config], title: str, threads: int | None = None) -> None:
    """Train all of them, or resume; the first listed start first.

    threads: of each training (None: torch's own choice where one runs at a time, else one each). Small networks gain
    little from a second core, so that two trainings at once are nearly twice as fast as one after the other. With a
    GPU, or a single core, they run one after the other. Raises the first failure, after ending the others.
    """
    processes = min(len(os.sched_getaffinity(0)), len(configs))
    if processes < 2 or torch.cuda.is_available():
        for config in configs:
            train(config)
        return
    total = sum(config.training.steps for config in configs)
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(train_quietly, config, threads or 1) for config in configs]
        with tqdm(total=total, desc=title, unit="step", file=sys.stderr, dynamic_ncols=True) as bar:
            while True:
                done, pending = wait(jobs, POLL_SECONDS, FIRST_EXCEPTION)
                bar.update(sum(steps_done(config) for config in configs) - bar.n)
                if not pending or any(job.exception() for job in done):
                    break
        for job in pending:
            job.cancel()
    for job in jobs:
        if not job.cancelled():
            job.result()


def train_quietly(config: Config, threads: int) -> None:
    """Train with stderr in the run folder's log."""
    torch.set_num_threads(threads)
    folder = Path(config.run)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOG).open("a") as log:
        os.dup2(log.fileno(), sys.stderr.fileno())
        train(config)


def steps_done(config: Config) -> int:
    """How far a run has come, by its log of numbers."""
    lines = read_metrics(Path(config.run))
    return min(int(lines[-1]["step"]), config.training.steps) if lines else 0
