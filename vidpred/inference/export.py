"""Trained models as files for other runtimes: ONNX, and programs of torch.export (.pt2)."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from vidpred.checkpoint import hash_file
from vidpred.errors import ConfigError, install_extra, one_line
from vidpred.files import atomic_write, check_output
from vidpred.inference.predictor import Predictor
from vidpred.models.export_steps import exported_step
from vidpred.models.exported_step import ExportedStep, Port, Sizes
from vidpred.version import __version__

Format = Literal["onnx", "pt2"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "pt2": ".pt2"}
METADATA = "vidpred"  # key in an ONNX file; vidpred.json in a .pt2 file
OPSET = 20  # of ONNX, the first with grid sampling of linear weights
TOLERANCE = 1e-4  # largest difference of an output from the model's, in float32
# Smallest sides to try: a side above the multiple that a model pads to needs no special case.
SHORTEST_SIDES = (9, 17, 33, 65)
TRACED, CHECKED = Sizes(2, 72, 88), Sizes(3, 69, 91)


class Export(NamedTuple):
    """A written file.

    Attributes:
        path: The file.
        metadata: Its description, which the file holds as JSON too.
        difference: Largest difference of its outputs from the model's, on inputs of another size.
    """

    path: Path
    metadata: dict[str, Any]
    difference: float


def export(
    model: Predictor | str | Path,
    path: str | Path,
    format: Format | None = None,
    checkpoint: str = "best",
    overwrite: bool = False,
) -> Export:
    """Write a trained model as a file that other runtimes run: one step of a rollout, or images from noise.

    Frames of any size, and batches of any length. The file is run once, on inputs of another size than it was traced
    with, and compared with the model before it is given its name.

    Args:
        model: A predictor, or a run's folder or name.
        path: The file.
        format: "onnx", or "pt2" for torch.export; None: by the suffix of the path.
        checkpoint: Checkpoint of a run: "best", "last" or "step-500".
        overwrite: Replace an existing file.

    Raises:
        ConfigError: The suffix is another, a package is missing, or the model cannot be exported.
        StorageError: The run cannot be loaded, or the file cannot be written.
    """
    target = Path(path)
    by_suffix: list[Format] = [name for name, suffix in SUFFIXES.items() if suffix == target.suffix.lower()]
    kind = format or (by_suffix[0] if by_suffix else "onnx")
    check_output(target, overwrite, "--output", (SUFFIXES[kind],))
    if kind == "onnx":
        require_onnx()
    predictor = model if isinstance(model, Predictor) else Predictor.load(model, checkpoint, "cpu")
    state = {} if predictor.checkpoint is None else predictor.checkpoint.state
    with predictor.on_cpu(), hide_export_output(), torch.no_grad():
        step = exported_step(predictor.generator, state).cpu().eval()
        if kind == "onnx" and not step.as_onnx:
            raise ConfigError(f"this model cannot become ONNX [{predictor.name}]; choose --format pt2 and a file .pt2")
        program, shortest = trace(step, predictor.name)
        described = describe(predictor, step, shortest)
        with atomic_write(target, durable=True) as temporary:
            write = write_onnx if kind == "onnx" else write_pt2
            try:
                write(program, step, described, temporary)
                difference = largest_difference(step, temporary, kind)
            except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
                raise export_error(predictor.name, kind, error) from None
            if not difference <= TOLERANCE:
                raise ConfigError(
                    f"the exported model differs from the run by {difference:.1e} [{predictor.name}, {kind}], "
                    f"more than {TOLERANCE:g}; nothing was written; predict with vidpred instead"
                )
    return Export(target, described, difference)


def require_onnx() -> None:
    """Check that the packages of the extra are installed. Raises ConfigError."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            import_module(package)
        except ImportError:
            raise ConfigError(f"ONNX needs the package {package}; {install_extra('export')}") from None


def trace(step: ExportedStep, name: str) -> tuple[torch.export.ExportedProgram, int]:
    """Return the program of a step and the shortest side that its frames may have. Raises ConfigError."""
    example = step.example(TRACED)
    failure: Exception | None = None
    for shortest in SHORTEST_SIDES:
        sides = {"batch": torch.export.Dim("batch"), **{
            side: torch.export.Dim(side, min=shortest) for side in ("height", "width")
        }}  # fmt: skip
        specs = tuple(
            {index: sides[side] for index, side in enumerate(port.shape) if isinstance(side, str)}
            for port in step.inputs
        )
        try:
            # Conditions that the tracer cannot prove for all sizes are checked when a .pt2 file runs.
            program = torch.export.export(
                step, example, dynamic_shapes=(specs,), strict=False, prefer_deferred_runtime_asserts_over_guards=True
            )
            return program, shortest
        except Exception as error:  # torch's tracer has many kinds
            failure = failure or error
    assert failure is not None
    raise export_error(name, "torch.export", failure)


def export_error(name: str, kind: str, error: Exception) -> ConfigError:
    """Return the error of a model that cannot be exported.

    Args:
        name: Name of the model.
        kind: Name of the format.
        error: The cause.
    """
    reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
    return ConfigError(
        f"this model cannot be exported to {kind} ({type(error).__name__}: {one_line(ValueError(reason))[:80]}) "
        f"[{name}]; predict with vidpred instead"
    )


def describe(predictor: Predictor, step: ExportedStep, shortest: int) -> dict[str, Any]:
    """Return the description that an exported file holds: inputs, outputs, sizes, actions, origin."""
    found = predictor.checkpoint
    state = {} if found is None else found.state
    generator = predictor.generator
    return {
        "vidpred": __version__,
        "torch": torch.__version__,
        "model": type(generator).__name__,
        "run": predictor.name,
        "step": predictor.step,
        "weights_sha256": weights_hash(predictor),
        "inputs": [port_entry(port) for port in step.inputs],
        "outputs": [port_entry(port) for port in step.outputs],
        "shortest_side": shortest if generator.history_len else None,
        "frame_size": state.get("frame_size") or (list(generator.shape[1:]) if not generator.history_len else None),
        "action_names": state.get("action_names") or [],
        "action_bounds": state.get("action_bounds"),
        "sharpness": generator.sharpness,
    }


def port_entry(port: Port) -> dict[str, Any]:
    """Return an input or output as plain values for the description: name, shape, dtype, range, meaning."""
    return {**port._asdict(), "shape": list(port.shape)}


def weights_hash(predictor: Predictor) -> str:
    """Return the sha256 of the weights: that of the checkpoint's file if there is one."""
    if predictor.checkpoint is not None:
        return hash_file(predictor.checkpoint.path / "ema.safetensors")
    tensors = {name: tensor.cpu().contiguous() for name, tensor in predictor.generator.state_dict().items()}
    return sha256(safetensors.torch.save(tensors)).hexdigest()


def write_onnx(
    program: torch.export.ExportedProgram, step: ExportedStep, described: dict[str, Any], path: Path
) -> None:
    """Write a program as an ONNX file, with the description in its metadata."""
    names = [[port.name for port in ports] for ports in (step.inputs, step.outputs)]
    converted = torch.onnx.export(
        program, (), input_names=names[0], output_names=names[1], opset_version=OPSET, dynamo=True, verbose=False
    )
    assert converted is not None
    for values, ports in ((converted.model.graph.inputs, step.inputs), (converted.model.graph.outputs, step.outputs)):
        for value, port in zip(values, ports, strict=True):  # names of dimensions instead of the tracer's symbols
            for index, side in enumerate(port.shape):
                assert value.shape is not None
                value.shape[index] = side
    converted.model.metadata_props[METADATA] = json.dumps(described)
    converted.save(path)


def write_pt2(program: torch.export.ExportedProgram, step: ExportedStep, described: dict[str, Any], path: Path) -> None:
    """Write a program as a file of torch.export, with the description as an extra file in it."""
    written = io.BytesIO()  # on a full disk, torch aborts the process
    torch.export.save(program, written, extra_files={f"{METADATA}.json": json.dumps(described)})
    path.write_bytes(written.getbuffer())


def largest_difference(step: ExportedStep, path: Path, kind: Format) -> float:
    """Run a file on inputs of another size than traced; return its largest absolute difference from the model."""
    inputs = step.example(CHECKED, seed=1)
    expected = step(*inputs)
    outputs = run_onnx(path, step, inputs) if kind == "onnx" else torch.export.load(path).module()(*inputs)
    largest = torch.stack([(a - b).abs().max() for a, b in zip(expected, outputs, strict=True)])
    return float(largest.max())  # NaN if any is


def run_onnx(path: Path, step: ExportedStep, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Run an ONNX file on the CPU; return its outputs in the order of the step's `outputs`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    fed = {port.name: values.numpy() for port, values in zip(step.inputs, inputs, strict=True)}
    return [torch.from_numpy(values) for values in session.run(None, fed)]


@contextmanager
def hide_export_output() -> Iterator[None]:
    """Hide the tracers' warnings and logs: failures are raised, and results are compared."""
    loggers = [logging.getLogger(name) for name in ("torch", "torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(action="ignore"):
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
