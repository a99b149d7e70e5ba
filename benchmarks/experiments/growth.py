"""How time and memory grow with the size of the input: pixels, batch, context, frames ahead and scales.

Every point is measured in a separate process, on one thread: the median time of some calls, and by how much the
process's peak of resident memory exceeds its memory before the first call. A slope of 1 in the log-log plot is linear
growth.
"""

from __future__ import annotations

import math
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.experiments.base import Experiment
from benchmarks.gpu_harness import build_trainer, random_batch
from benchmarks.markdown import Results, grid
from vidpred.config import load_config
from vidpred.inference.predictor import Predictor
from vidpred.media.plots import save_figure
from vidpred.models.build import build_generator
from vidpred.models.rollout import rollout
from vidpred.processes.memory import keep_freed_memory

NAME = "speed: growth"
CALLS, SLOPE_POINTS = 3, 3  # timed calls of a point; largest points to which a slope is fitted
CPU = torch.device("cpu")
ADVERSARIAL = {"objective.adversarial.weight": 0.05, "training.monitor_every": 0, "data.root": "-"}


@dataclass(frozen=True)
class Size:
    """The size of an input: frames are `side` pixels high and wide."""

    side: int = 64
    batch: int = 4
    context: int = 4
    ahead: int = 1
    scales: int = 3

    @property
    def pixels(self) -> int:
        """Pixels of a frame."""
        return self.side**2


def training_step(size: Size) -> Callable[[], object]:
    """Return the adversarial step of a multi-scale generator and its discriminators."""
    own = {
        "data.crop_size": size.side, "data.size": size.side, "data.context_frames": size.context,
        "data.pred_frames": size.ahead, "model.scales": size.scales, "training.batch_size": size.batch,
    }  # fmt: skip
    config = load_config("release.yaml", {**ADVERSARIAL, **own})
    trainer, batch = build_trainer(config, CPU, "float32"), random_batch(config, size.batch, size.side, CPU)
    return lambda: trainer.train_step(config.training.steps - 1, batch)


def multiscale_prediction(size: Size) -> Callable[[], object]:
    """Return a rollout of a multi-scale generator."""
    own = {"data.crop_size": size.side, "data.size": size.side, "data.context_frames": size.context}
    config = load_config("release.yaml", {"data.root": "-", "model.scales": size.scales, **own})
    generator = build_generator(config.model, config.data).eval()
    context = torch.rand(size.batch, size.context, 3, size.side, size.side)
    return torch.inference_mode()(lambda: rollout(generator, context, size.ahead))


def motion_prediction(size: Size) -> Callable[[], object]:
    """Return a prediction with the shipped weights, of smooth frames that move by two pixels a frame."""
    predictor = Predictor.load("pretrained", device="cpu")
    coarse = torch.rand(1, 3, size.side // 8 + 2, size.side // 8 + 2, generator=torch.Generator().manual_seed(0))
    image = torch.nn.functional.interpolate(coarse, size=(2 * size.side,) * 2, mode="bicubic").clamp(0, 1)
    frames = [image[..., : size.side, 2 * number : 2 * number + size.side] for number in range(size.context)]
    clip = torch.stack(frames, 1)
    # Equal samples would be computed once.
    clips = torch.cat([clip * (1 - 0.02 * number) for number in range(size.batch)])
    return lambda: predictor.predict(clips, num_frames=size.ahead)


KINDS: dict[str, Callable[[Size], Callable[[], object]]] = {
    "training step, multi-scale with adversary": training_step,
    "prediction, multi-scale": multiscale_prediction,
    "prediction, motion": motion_prediction,
}
VARIED: dict[str, dict[str, Sequence[int]]] = {
    "training step, multi-scale with adversary": {
        "side": (32, 48, 64, 96, 128), "batch": (1, 2, 4, 8, 16), "context": (2, 4, 8, 16), "ahead": (1, 2, 4, 8),
        "scales": (1, 2, 3, 4),
    },
    "prediction, multi-scale": {
        "side": (32, 64, 128, 256), "batch": (1, 2, 4, 8, 16), "context": (2, 4, 8, 16), "ahead": (1, 2, 4, 8, 16),
        "scales": (1, 2, 3, 4),
    },
    "prediction, motion": {
        "side": (64, 128, 256, 512), "batch": (1, 2, 4, 8), "context": (3, 5, 10, 20), "ahead": (1, 2, 4, 8),
    },
}  # fmt: skip
LABELS = {
    "side": "pixels", "batch": "samples in a batch", "context": "context frames", "ahead": "frames ahead",
    "scales": "scales",
}  # fmt: skip


def memory(key: str) -> float:
    """Return a size of this process in MB: VmRSS (now) or VmHWM (the peak)."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(f"{key}:")) / 1024


def measure_point(kind: str, size: Size) -> dict[str, float]:
    """Measure one point in this process: median seconds of a call, and MB that it needs."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as the command does
    call = KINDS[kind](size)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = memory("VmRSS")
    call()
    seconds = []
    for _ in range(CALLS):
        began = time.process_time()
        call()
        seconds.append(time.process_time() - began)
    used = max(0.0, memory("VmHWM") - before)  # the kernel's counters lag behind by some pages
    return {"seconds": round(statistics.median(seconds), 6), "megabytes": round(used, 2)}


def measure(folder: Path, seed: int) -> dict[str, Any]:
    """Measure all points, draw the plot, and return the points."""
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    context = multiprocessing.get_context("spawn")
    for kind, varied in VARIED.items():
        found[kind] = {}
        for name, values in varied.items():
            points = []
            for value in values:
                size = Size(**{name: value})
                with ProcessPoolExecutor(1, context) as pool:  # a separate process
                    numbers = pool.submit(measure_point, kind, size).result()
                points.append({"size": getattr(size, "pixels" if name == "side" else name), **numbers})
                print(kind, name, points[-1], flush=True)
            found[kind][name] = points
    draw(found, Path("docs/assets/growth_of_cost.webp"))
    return {"points": found}


def slope(points: Sequence[Mapping[str, float]], what: str) -> float:
    """Return the slope of a line fitted to the logarithms of the largest points."""
    largest = points[-SLOPE_POINTS:]
    sizes, values = ([math.log(max(point[key], 1e-9)) for point in largest] for key in ("size", what))
    return float(np.polyfit(sizes, values, 1)[0])


def draw(found: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]], path: Path) -> None:
    """Draw time and memory against every quantity, with linear growth for comparison."""
    from matplotlib.figure import Figure

    drawn = {name: label for name, label in LABELS.items() if any(name in varied for varied in found.values())}
    figure = Figure(figsize=(3.2 * len(drawn), 6.5), layout="constrained")
    panels = figure.subplots(2, len(drawn), squeeze=False)
    colors = {kind: f"C{number}" for number, kind in enumerate(found)}
    for row, (what, unit) in zip(panels, (("seconds", "seconds"), ("megabytes", "MB")), strict=True):
        for panel, (name, label) in zip(row, drawn.items(), strict=True):
            shown = {kind: varied[name] for kind, varied in found.items() if name in varied}
            ends = []
            for kind, points in shown.items():
                sizes, values = ([point[key] for point in points] for key in ("size", what))
                panel.loglog(sizes, values, ".-", color=colors[kind], label=kind)
                panel.loglog(sizes, [values[-1] * size / sizes[-1] for size in sizes], ":", color="gray", lw=0.8)
                panel.text(sizes[-1], values[-1], f" {slope(points, what):.2f}", color=colors[kind], fontsize="small")
                ends += [sizes[0], sizes[-1]]
            panel.set(xlabel=label, ylabel=unit)
            panel.set_xlim(min(ends) / 1.3, max(ends) * 2.2)
            panel.set_xticks([min(ends), max(ends)], [f"{size:,}" for size in (min(ends), max(ends))], minor=False)
            panel.set_xticks([], minor=True)
    lines = {line.get_label(): line for panel in panels.flat for line in panel.get_lines() if line.get_label() in found}
    figure.legend(lines.values(), lines.keys(), loc="outside upper center", ncols=len(lines))
    save_figure(figure, path, dpi=75)


def table(results: Results) -> str:
    """Return the slopes of time and memory as a Markdown table."""
    points = results[NAME, 0].values["points"]
    rows = [
        [kind, label, f"{varied[name][0]['size']:,} - {varied[name][-1]['size']:,}",
         *(f"{slope(varied[name], what):.2f}" for what in ("seconds", "megabytes"))]
        for kind, varied in points.items()
        for name, label in LABELS.items()
        if name in varied
    ]  # fmt: skip
    return grid(["", "grows with", "from - to", "slope of the time", "slope of the memory"], rows)


GROWTH_EXPERIMENTS = [Experiment(NAME, 0, measure)]
