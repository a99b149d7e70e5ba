"""Files of networks: TorchScript (torch.jit.save) and exported programs (torch.export.save), told apart by content."""

from __future__ import annotations

import logging
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidpred.errors import UNREADABLE, ConfigError, one_line
from vidpred.files import check_regular

SAVE = "save it with torch.jit.trace(network, example).save(FILE.pt) or torch.export.save(program, FILE.pt2)"


def load_module(file: Path, option: str, expected: str, device: torch.device | str = "cpu") -> Any:
    """Load a network of either kind, recognized by its content.

    Args:
        file: The file.
        option: Text of the option or setting that gave the file, for errors.
        expected: What the network must be, for errors.
        device: Where to load it.

    Raises:
        ConfigError: The file is absent, or holds no network.
    """
    try:
        check_regular(file)
    except FileNotFoundError:
        raise ConfigError(f"no such file [{option}]; it is {expected}") from None
    except OSError as error:
        raise ConfigError(f"cannot read the network: {error.strerror} [{option}]; it is {expected}") from None
    content = _content(file)
    if content:
        raise ConfigError(f"{content}, not a network [{option}]; {SAVE}; it is {expected}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's own, on the format of TorchScript files
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.filterwarnings("ignore", "The given buffer is not writable")  # torch 2.10, on its own buffers
            if _names(file) & {"archive_format"}:
                return _exported(file).to(device)
            return torch.jit.load(str(file), map_location=device).eval()
    except Exception as error:  # torch's readers raise errors of many types
        raise ConfigError(f"cannot read the network ({one_line(error)[:100]}) [{option}]; {SAVE}") from None


def _exported(file: Path) -> Any:
    """Load an exported program, also within `torch.device("meta")`, and without the warnings that torch logs."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with torch.device("cpu"):
            return torch.export.load(file).module()
    finally:
        logging.disable(disabled)


def run_network(network: Any, inputs: Sequence[Tensor], option: str, advice: str, **arguments: bool) -> Any:
    """Return a network's output.

    Args:
        network: The user's network; any exception of it becomes a ConfigError.
        inputs: Tensors, the first of them images or videos.
        option: Text of the option or setting that gave its file, for errors.
        advice: What to do about a network that does not take the inputs, for errors.
        arguments: Keyword arguments of the network.

    Raises:
        ConfigError: The network raised an exception, as one that does not take the inputs does.
    """
    try:
        return network(*inputs, **arguments)
    except Exception as error:
        kind = "videos" if inputs[0].ndim == 5 else "images"
        raise ConfigError(
            f"the network does not take {kind} {tuple(inputs[0].shape)} ({one_line(error)[:100]}) [{option}]; {advice}"
        ) from None


def checked_maps(found: Any, option: str, expected: str) -> list[Tensor]:
    """Return a network's output as a list of feature maps `(N, C, h, w)`.

    Args:
        found: The output.
        option: Text of the option or setting that gave the network's file, for errors.
        expected: What the network must be, for errors.

    Raises:
        ConfigError: It is anything else.
    """
    several = isinstance(found, list | tuple) and len(found) > 0
    if not several or not all(isinstance(part, Tensor) and part.ndim == 4 for part in found):
        raise ConfigError(f"the network returns no list of feature maps [{option}]; it must be {expected}")
    return list(found)


def _content(file: Path) -> str:
    """Return what a file holds if it is no network; empty for a network."""
    names = _names(file)
    if names & {"archive_format", "constants.pkl"}:
        return ""
    if "data.pkl" in names or file.suffix in (".safetensors", ".pth", ".ckpt", ".h5"):
        return "weights without their network"
    return "an ONNX file" if file.suffix == ".onnx" else "neither TorchScript nor an exported program"


def _names(file: Path) -> set[str]:
    """Return the names in an archive of torch; none for other files."""
    try:
        with zipfile.ZipFile(file) as archive:
            return {name.rpartition("/")[2] for name in archive.namelist()}
    except UNREADABLE:
        return set()
