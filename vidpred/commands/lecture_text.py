"""The sentences of `vidpred lecture`, which follow from its numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from vidpred.commands import lecture_line as line
from vidpred.commands.lecture_line import LineTraining
from vidpred.commands.run_lecture import Variant

LEAST = -math.log(4)  # the value of the game at the equilibrium
NOTICEABLE = 0.02  # difference of two values of the game
COVERED = 0.1  # share of the data's density at a mode that a model needs to cover it
STARVED = 0.05  # mean D of generated points below which the minimax loss has practically no gradient


def explain_values(learned: LineTraining) -> str:
    """Describe how the value of the game came near its minimum, and why it is not there."""
    late = list(learned.trace.values())[-max(2, len(learned.trace) // 3) :]
    last, low, high = late[-1], min(late), max(late)
    rise = max(after - min(late[:place]) for place, after in enumerate(late) if place)
    if rise > NOTICEABLE:
        moves = (
            f"the rest is the training: in its last third V goes up and down between {low:.3f} and {high:.3f}, because "
            "at constant learning rates G moves to where D is high, D follows, and nothing stops them at the minimum"
        )
    elif high - low > NOTICEABLE:
        moves = f"the rest is what is left to learn: in the last third V still falls, from {late[0]:.3f} to {last:.3f}"
    else:
        moves = f"the rest stays: in the last third of the training V hardly moves, from {late[0]:.3f} to {last:.3f}"
    return (
        f"V has its minimum, -log 4 = {LEAST:.4f}, only where the model equals the data; elsewhere it is larger by "
        f"twice their Jensen-Shannon divergence, here by {last - LEAST:.3f} after the last step. Of this, "
        f"{learned.of_data - LEAST:.3f} comes from the estimate of a density from {line.SAMPLES:,} samples, as "
        f"samples of the data show; {moves}."
    )


def explain_divergence(name: str, mean: float, std: float) -> str:
    """Describe the Gaussian that minimizes one direction of the divergence."""
    centers = np.array(line.CENTERS)
    inside = line.gaussian(centers, mean, std) > COVERED * line.data_density(centers)
    why = {
        "KL(p | q)": "it is large where the data has density and the model has none, so no mode may be left out",
        "KL(q | p)": "it is large where the model has density and the data has none, so the gap must stay empty",
    }[name]
    modes = {0: "neither mode", 1: "one mode", 2: "both modes and the gap between them"}[int(inside.sum())]
    return f"The Gaussian that minimizes {name} covers {modes} (mean {mean:.1f}, standard deviation {std:.1f}): {why}."


def explain_modes(tried: Mapping[str, Variant]) -> str:
    """Describe which variants cover all Gaussians, and what the minimax loss did."""
    most = max(one.covered for one in tried.values())
    all_of = [name for name, one in tried.items() if one.covered == most]
    fewer = [f"{name} ({one.covered})" for name, one in tried.items() if one.covered < most]
    rest = f"; fewer are covered by {_listed(fewer)}" if fewer else ""
    sentences = [f"{most} of 8 Gaussians are covered by {_listed(all_of)}{rest}."]
    best, worst = (pick(tried.items(), key=lambda item: item[1].good) for pick in (max, min))
    if best[1].good > worst[1].good:
        sentences.append(
            f"Good points range from {worst[1].good:.0%} ({worst[0]}) to {best[1].good:.0%} ({best[0]}); this is one "
            "seed, so small differences mean nothing."
        )
    minimax = tried.get("minimax loss")
    if minimax is not None and minimax.d_of_fake is not None:
        mean, least = minimax.d_of_fake
        seen = f"on these points D of generated points was {mean:.2f} on average and never below {least:.2f}"
        sentences.append(
            f"The minimax loss covers {minimax.covered}: "
            + (
                f"its gradient vanishes only where D is near 0, and {seen}, so the generator always had a gradient. "
                "The loss fails where D becomes certain, which did not happen on this set."
                if least > STARVED
                else f"{seen}, where its gradient vanishes (see above), so the generator learned from few of the steps."
            )
        )
    return " ".join(sentences)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
