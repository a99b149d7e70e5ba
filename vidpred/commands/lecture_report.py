"""The page of `vidpred lecture`: plots and tables, with the sentences of `lecture_text`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vidpred.commands import lecture_line
from vidpred.commands.lecture_line import LINE
from vidpred.commands.lecture_text import LEAST, explain_divergence, explain_modes, explain_values
from vidpred.commands.run_lecture import loss_gradients, try_remedies
from vidpred.data.worlds.points import POINTS
from vidpred.files import write_file
from vidpred.media.html_page import Page
from vidpred.media.plots import save_figure
from vidpred.version import __version__

EXTENT = 3.3  # of the plane in plots, from the center
COLUMNS = 5  # plots side by side
SCORES = (0.01, 0.1, 0.5, 0.9)  # D of a generated image, in the table of gradients


def run_lecture(folder: Path, steps: int = 1500, point_steps: int = 2500) -> str:
    """Compute all numbers, write lecture.html and lecture.json, and return what was found.

    Args:
        folder: Folder of the page and of the runs.
        steps: Steps of the GAN on the line.
        point_steps: Steps of each GAN on eight Gaussians.

    Raises:
        VidpredError: A training failed, or the folder cannot be written to.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # networks this small are slower with several threads
    try:
        numbers, found = write_page(folder, steps, point_steps)
    finally:
        torch.set_num_threads(threads)
    write_file(folder / "lecture.json", json.dumps(numbers, indent=1) + "\n")
    return "\n".join([*found, f"open {folder / 'lecture.html'}"])


def write_page(folder: Path, steps: int, point_steps: int) -> tuple[dict[str, Any], list[str]]:
    """Compute all numbers and write the page; return the numbers, and a paragraph on each section."""
    folder.mkdir(parents=True, exist_ok=True)
    page = Page("What a GAN learns", "Every number, image and sentence was computed when this page was made.")
    values, about_values = line_section(page, folder, steps)
    about_gradients = gradient_section(page, folder)
    divergences, about_divergences = divergence_section(page, folder)
    variants, about_modes = modes_section(page, folder, point_steps)
    page.write(folder / "lecture.html", f"vidpred {__version__}, torch {torch.__version__}: vidpred lecture")
    numbers = {"values": values, "divergences": divergences, "remedies": variants}
    return numbers, [about_values, about_gradients, about_divergences, about_modes]


def line_section(page: Page, folder: Path, steps: int) -> tuple[dict[str, float], str]:
    """Write the section on the GAN on the line; return values of the game and the text."""
    p, learned = lecture_line.data_density(LINE), lecture_line.learn_on_the_line(steps)
    equilibrium = lecture_line.value(p, p)

    def line(axes: Any, number: int) -> None:
        step, samples, scores = learned.shown[number]
        q = lecture_line.smoothed(samples)
        axes.plot(LINE, p, label="data p")
        axes.plot(LINE, q, label="model q")
        axes.plot(LINE, scores, "--", label="D")
        axes.plot(LINE, lecture_line.best_discriminator(p, q), ":", label="p / (p + q)")
        axes.set(title=f"step {step}, V = {learned.trace[step]:.2f}", ylim=(0, 1.3))
        if number == 0:
            axes.legend(fontsize=7)

    page.heading("Learning, on the real line")
    page.image(draw(folder / "line.png", len(learned.shown), line), "Data, model, D, and the optimal D.")
    rows = [[f"step {step}", f"{learned.trace[step]:.3f}"] for step, _, _ in learned.shown]
    rows += [["samples of the data", f"{learned.of_data:.3f}"], ["model = data", f"{equilibrium:.4f}"]]
    page.table(["", "V"], rows, "Value of the game with the optimal D: mean of log D(data) + mean of log(1 - D(model))")
    page.text(text := explain_values(learned))

    def trace(axes: Any, number: int) -> None:
        axes.plot(*zip(*learned.trace.items(), strict=True), marker=".")
        axes.axhline(LEAST, color="black", linestyle=":")
        axes.set(xlabel="step", ylabel="V", title="V during training; dotted: -log 4")

    page.image(draw(folder / "trace.png", 1, trace), "The value of the game throughout the training.")
    values = {str(step): learned.trace[step] for step, _, _ in learned.shown}
    return {**values, "samples of the data": learned.of_data, "equilibrium": equilibrium}, text


def gradient_section(page: Page, folder: Path) -> str:
    """Write the section on the gradients of the generator losses; return the text."""
    gradients = loss_gradients()

    def slopes(axes: Any, number: int) -> None:
        for name, (scores, gradient) in gradients.items():
            axes.plot(scores, gradient, label=name)
        axes.set(xlabel="D of a generated image", ylabel="|gradient| at the logit")
        axes.legend(fontsize=7)

    page.heading("Why not the minimax loss")
    page.image(draw(folder / "gradients.png", 1, slopes), "The gradient of both losses of the generator")
    found = {name: [float(np.interp(score, *both)) for score in SCORES] for name, both in gradients.items()}
    rows = [[name, *(f"{value:.3f}" for value in values)] for name, values in found.items()]
    page.table(["D of a generated image", *(f"{score:g}" for score in SCORES)], rows, "|gradient| at the logit of D")
    minimax, other = found.values()
    text = (
        f"While D recognizes a generated image (D = {SCORES[0]:g}), the minimax loss changes by {minimax[0]:.3f} per "
        f"unit of the logit and the other loss by {other[0]:.3f}, {other[0] / minimax[0]:.0f} times as much: a "
        "generator that is far behind learns almost nothing from the minimax loss. "
        f"Where D is undecided (0.5), the two are {minimax[2]:.3f} and {other[2]:.3f}."
    )
    page.text(text)
    return text


def divergence_section(page: Page, folder: Path) -> tuple[dict[str, tuple[float, float, float]], str]:
    """Write the section on the Kullback-Leibler divergence; return the closest Gaussians and the text."""
    found = {"KL(p | q)": lecture_line.closest_gaussian(False), "KL(q | p)": lecture_line.closest_gaussian(True)}

    def closest(axes: Any, number: int) -> None:
        name, (mean, std, divergence) = list(found.items())[number]
        axes.plot(LINE, lecture_line.data_density(LINE), label="data p")
        axes.plot(LINE, lecture_line.gaussian(LINE, mean, std), label="closest q")
        axes.set(title=f"{name} = {divergence:.2f}")
        axes.legend(fontsize=7)

    page.heading("Two directions of one divergence")
    page.image(
        draw(folder / "divergences.png", 2, closest), "The Gaussian with the least divergence, in each direction"
    )
    rows = [[name, *(f"{number:.2f}" for number in numbers)] for name, numbers in found.items()]
    page.table(["minimized", "mean of q", "standard deviation of q", "divergence"], rows)
    page.text(text := " ".join(explain_divergence(name, *numbers[:2]) for name, numbers in found.items()))
    return found, text


def modes_section(page: Page, folder: Path, steps: int) -> tuple[dict[str, dict[str, Any]], str]:
    """Write the section on covered modes; return the numbers of the variants and the text."""
    tried = try_remedies(folder / "runs", steps)

    def scatter(axes: Any, number: int) -> None:
        name, variant = list(tried.items())[number]
        axes.scatter(*POINTS["eight_gaussians"].centers.T, s=60, facecolors="none", edgecolors="tab:green")
        axes.scatter(*variant.points.T, s=2)
        axes.set(xlim=(-EXTENT, EXTENT), ylim=(-EXTENT, EXTENT))
        axes.set_title(f"{name}: {variant.covered} of 8", fontsize=8)

    page.heading("Missing modes")
    page.image(draw(folder / "modes.png", len(tried), scatter), f"Eight Gaussians, {steps} steps each, one seed")
    rows = [
        [name, str(one.covered), f"{one.good:.1%}", "-" if one.accuracy is None else f"{one.accuracy:.0%}"]
        for name, one in tried.items()
    ]
    caption = "1,000 points; good: within 3 standard deviations; accuracy of D: mean over the training"
    page.table(["", "Gaussians covered", "good points", "accuracy of D"], rows, caption)
    page.text(text := explain_modes(tried))
    numbers = {
        name: {"covered": one.covered, "good": one.good, "accuracy": one.accuracy} for name, one in tried.items()
    }
    return numbers, text


def draw(path: Path, plots: int, plot: Callable[[Any, int], None]) -> Path:
    """Draw rows of plots, each by `plot(axes, number)`."""
    from matplotlib.figure import Figure

    columns, rows = min(plots, COLUMNS), -(-plots // COLUMNS)
    figure = Figure(figsize=(3.2 * columns, 2.9 * rows), layout="constrained")
    for number in range(plots):
        plot(figure.add_subplot(rows, columns, number + 1), number)
    save_figure(figure, path)
    return path
