"""Processes of one run that wait for each other, have the same data and fail together."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator

from vidpred.data.sources import Source, evenly_spaced
from vidpred.errors import DataError, MainProcessError, VidpredError

COMPARED_WINDOWS = 1000  # whose clips' names are compared between processes


@contextmanager
def main_process_first(accelerator: Accelerator) -> Iterator[None]:
    """Run the block on the main process first, then on the others, even if it fails there."""
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
    try:
        yield
    finally:
        if accelerator.is_main_process:
            accelerator.wait_for_everyone()


@contextmanager
def all_or_none(accelerator: Accelerator) -> Iterator[None]:
    """Let the block fail on all processes if it fails on one, so that none waits for the others.

    Raises:
        MainProcessError: The block failed on another process.
    """
    failure: VidpredError | None = None
    try:
        yield
    except VidpredError as error:
        failure = error
    code = torch.tensor(failure.exit_code if failure else 0, device=accelerator.device)
    if accelerator.num_processes > 1:
        code = accelerator.gather(code[None]).max()
    if failure is not None:
        raise failure
    if int(code):
        raise MainProcessError(int(code))


def check_data_of_processes(accelerator: Accelerator, source: Source, sharded: bool) -> None:
    """Check that all processes train on the same windows, or on parts with the same classes.

    Args:
        accelerator: The connected processes.
        source: The training data of this process.
        sharded: Whether every machine has its own part; then only the classes have to agree.

    Raises:
        DataError: They differ.
        MainProcessError: The same, on the other processes.
    """
    if accelerator.num_processes == 1:
        return
    names = [] if sharded else [source.clip_name(index) for index in evenly_spaced(len(source), COMPARED_WINDOWS)]
    content = json.dumps([0 if sharded else len(source), list(source.classes), names])
    own = torch.tensor([[len(source), zlib.crc32(content.encode())]], device=accelerator.device)
    found = accelerator.gather(own).tolist()
    if len({digest for _, digest in found}) > 1:
        counts = ", ".join(f"{count:,}" for count, _ in found[:8])
        remedy = (
            "give all parts the same classes"
            if sharded
            else "give every machine the same files, or set data.sharded=true if each has its own part"
        )
        if not accelerator.is_main_process:
            raise MainProcessError(DataError.exit_code)  # the message once
        raise DataError(f"the training data of the processes differ [data.root: {counts} windows]; {remedy}")
