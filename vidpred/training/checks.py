"""The rules of `diagnose`: each a small function of a run's numbers.

A rule reads the lines of metrics.jsonl and the settings, and says what it saw, or nothing. It speaks only of what
lasts: the second half of the steps that it is shown. What gets better on its own is not a finding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

from vidpred.training.objectives import ObjectiveSettings
from vidpred.training.settings import TrainingSettings

EARLY, MATURE = 50, 200  # steps before which predictions say nothing; before which they may still be poor
NEGLIGIBLE, DROWNING = 0.01, 20.0  # the adversary's gradient as a share of the reconstruction's
PERFECT, SURE = 0.99, 0.9  # accuracy of a perfect discriminator, and how much of what it says it is sure of
HIGH, LOW, BIAS, SWINGS = 0.9, 0.6, 0.5, 4  # between what an oscillating discriminator goes back and forth, how often
SCORED = 200  # images over which its accuracy is averaged before that is asked
CONSTANT, STILL, BLURRED, NOISY = 0.1, 0.2, 0.25, 3.0  # diversity, motion and sharpness as shares of the truth's
LAST_BLURRED = 0.5  # sharpness of the last predicted frame: blends of displaced candidates have .4 eight frames ahead
ALIKE = 0.05  # the distance of two draws, as a share of their distance from the truth
BETTER = 1.2  # by what factor a share comes closer to 1, from one quarter of the run to the next, if it is on its way
ADVERSARIAL = ("monitor/gradient_adversarial", "monitor/gradient_feature_matching")
RECONSTRUCTION = ("monitor/gradient_lp", "monitor/gradient_gdl")


@dataclass(frozen=True)
class History:
    """A run as its rules see it."""

    lines: Sequence[Mapping[str, Any]]
    objective: ObjectiveSettings
    training: TrainingSettings
    frames: int | None = None  # predicted in training; None: not said

    @property
    def last_step(self) -> int:
        return max((int(line["step"]) for line in self.lines), default=0)

    def points(self, key: str) -> list[tuple[int, float]]:
        """(step, value) of every line that has a number there."""
        return [(int(line["step"]), float(line[key])) for line in self.lines if isinstance(line.get(key), int | float)]

    def values(self, key: str) -> list[float]:
        return [value for _, value in self.points(key)]

    def late(self, key: str, least: int = 2) -> list[float]:
        """The values of the second half of the steps; none where there are fewer than `least`."""
        first = min((int(line["step"]) for line in self.lines), default=0)
        found = [value for step, value in self.points(key) if step > (first + self.last_step) / 2]
        return found if len(found) >= least else []

    def settled(self, key: str) -> float | None:
        """The late mean of a number whose best value is 1, once the run is mature and unless it is on its way there."""
        late = self.late(key, 4)
        if not late or self.last_step < MATURE:
            return None
        before, after = fmean(late[: len(late) // 2]), fmean(late[len(late) // 2 :])
        better = after > before * BETTER if before < 1 else after < before / BETTER
        return None if better else after


def non_finite(history: History) -> str | None:
    for line in history.lines:
        count = line.get("monitor/non_finite", 0)
        broken = [key for key, value in line.items() if isinstance(value, float) and not math.isfinite(value)]
        broken = [key for key in broken if not key.startswith("validation/")]  # PSNR of equal images is infinite
        if count or broken:
            what = f"{count:g} values of frames and predictions" if count else ", ".join(broken)
            return f"{what} not finite at step {line['step']}"
    return None


def out_of_range(history: History) -> str | None:
    lowest, highest = history.values("monitor/input_min"), history.values("monitor/input_max")
    if lowest and highest and (min(lowest) < -0.01 or max(highest) > 1.01):
        return f"frames in [{min(lowest):.3g}, {max(highest):.3g}]"
    return None


def _is_constant(history: History) -> bool:
    spreads, highest = history.values("monitor/input_std"), history.values("monitor/input_max")
    return bool(spreads) and max(spreads) <= 0.01 * max(map(abs, highest), default=0)


def constant_frames(history: History) -> str | None:
    if not _is_constant(history):
        return None
    return f"all values of all frames measured are {max(history.values('monitor/input_max')):.3g}"


def scaled_twice(history: History) -> str | None:
    highest = max(history.values("monitor/input_max"), default=1.0)
    if highest > 0.02 or min(history.values("monitor/input_min"), default=0) < 0 or _is_constant(history):
        return None
    return f"no value of a frame above {highest:.2g}, which is {highest * 255:.2g} / 255"


def only_extremes(history: History) -> str | None:
    shares = history.values("monitor/input_extremes")
    if not shares or min(shares) < 0.999 or _is_constant(history):
        return None
    return f"{min(shares):.2%} of the values of frames are exactly 0 or 1"


def predictions_out_of_range(history: History) -> str | None:
    lowest, highest = history.late("monitor/prediction_min"), history.late("monitor/prediction_max")
    if lowest and highest and (min(lowest) < -0.2 or max(highest) > 1.2):
        return f"predictions in [{min(lowest):.3g}, {max(highest):.3g}]"
    return None


def no_gradient(history: History) -> str | None:
    for key in ADVERSARIAL:
        norms = history.values(key)
        if norms and max(norms) == 0:
            name = key.removeprefix("monitor/gradient_")
            return f"the gradient of {name} at the generator is 0 in all {len(norms)} measurements"
    return None


def nothing_learns(history: History) -> str | None:
    keys = {key for line in history.lines for key in line if key.startswith("monitor/gradient_")}
    late = [history.late(key) for key in keys]
    if any(late) and all(max(values, default=0) == 0 for values in late):
        return "the gradients of all losses at the generator are 0"
    return None


def only_features(history: History) -> str | None:
    settings = history.objective
    if settings.has_discriminator and settings.adversary.weight == 0:
        weight = settings.adversary.feature_matching_weight
        return f"objective.adversarial.weight=0 beside objective.adversarial.feature_matching_weight={weight:g}"
    return None


def never_starts(history: History) -> str | None:
    settings, steps = history.objective, history.training.steps
    if settings.adversary.weight > 0 and settings.adversary.start >= steps:
        return f"objective.adversarial.start={settings.adversary.start} in a run of {steps} steps"
    return None


def _adversary_share(history: History) -> float | None:
    """The norm of the adversary's gradients over that of the reconstruction's, once its weight is whole."""
    whole = history.objective.adversary.start + history.objective.adversary.ramp
    shares = []
    for line in history.lines:
        own, other = (sum(line.get(key, 0) for key in keys) for keys in (ADVERSARIAL, RECONSTRUCTION))
        if line["step"] > max(whole, 1) and other > 0 and any(key in line for key in ADVERSARIAL):
            shares.append(own / other)
    late = shares[len(shares) // 2 :]
    return fmean(late) if len(late) >= 2 else None


def adversary_negligible(history: History) -> str | None:
    share = _adversary_share(history)
    if share is None or not 0 < share < NEGLIGIBLE:
        return None
    return f"the adversary's gradient at the generator is {share:.2g} of that of l_p and GDL"


def adversary_drowns(history: History) -> str | None:
    share = _adversary_share(history)
    if share is None or share <= DROWNING:
        return None
    return f"the adversary's gradient at the generator is {share:.0f} times that of l_p and GDL"


def perfect_discriminator(history: History) -> str | None:
    accuracy, saturated = history.late("discriminator/accuracy", 5), history.late("discriminator/saturated", 5)
    if not accuracy or fmean(accuracy) < PERFECT or (saturated and fmean(saturated) < SURE):
        return None
    said = f", {fmean(saturated):.0%} of its logits saturated" if saturated else ""
    return f"the discriminator tells true and predicted frames apart in {fmean(accuracy):.1%} of all cases{said}"


def blind_discriminator(history: History) -> str | None:
    accuracy = history.late("discriminator/accuracy", 5)
    poor = still(history) or blurred(history)
    if not accuracy or not poor or not 0.45 <= fmean(accuracy) <= 0.55:
        return None
    return f"the discriminator is right in {fmean(accuracy):.1%} of all cases, as if by tossing a coin, though {poor}"


def oscillation(history: History) -> str | None:
    real, fake = history.late("discriminator/accuracy_real", 10), history.late("discriminator/accuracy_fake", 10)
    window = max(3, -(-SCORED // (2 * history.training.batch_size)))
    series = {
        f"accuracy goes back and forth between {LOW} and {HIGH}": (
            [(r + f) / 2 for r, f in zip(real, fake, strict=False)], LOW, HIGH,
        ),
        "discriminator takes all frames for true, then all for predicted": (
            [r - f for r, f in zip(real, fake, strict=False)], -BIAS, BIAS,
        ),
    }  # fmt: skip
    for what, (values, low, high) in series.items():
        swings = count_swings(smooth(values, window), low, high)
        if swings >= SWINGS:
            return f"the discriminator's {what}, {swings} times" if what[0] == "a" else f"the {what}, {swings} times"
    return None


def smooth(values: Sequence[float], window: int) -> list[float]:
    """Means of `window` values that follow each other, as many as there are."""
    return [fmean(values[start : start + window]) for start in range(len(values) - window + 1)]


def count_swings(values: Sequence[float], low: float, high: float) -> int:
    """How often a series goes from `low` or below to `high` or above or back."""
    sides = [value >= high for value in values if value <= low or value >= high]
    return sum(one != other for one, other in pairwise(sides))


def constant_predictions(history: History) -> str | None:
    shares = history.late("monitor/diversity")
    if not shares or max(shares) > CONSTANT or history.last_step < EARLY:
        return None
    return f"predictions of different clips differ by {max(shares):.1%} of what the true frames differ by"


def draws_alike(history: History) -> str | None:
    share = history.settled("monitor/draws")
    if share is None or share > ALIKE:
        return None
    return f"two draws of one clip's future differ by {share:.1%} of what they differ from the truth by"


def still(history: History) -> str | None:
    share = history.settled("monitor/motion")
    if share is None or share > STILL:
        return None
    return f"predictions change {share:.1%} as much from the last known frame as the true frames do"


def blurred(history: History) -> str | None:
    share, last = history.settled("monitor/sharpness"), history.settled("monitor/sharpness_last")
    if last is not None and last <= LAST_BLURRED:
        place = f"at frame {history.frames}" if history.frames else "in the last predicted frame"
        return f"blurry: energy {last:.2f} {place} where something moves (true frames: 1); PSNR alone hides it"
    if share is None or share > BLURRED:
        return None
    return f"where something moves, predictions have {share:.1%} of the true frames' squared-gradient energy"


def noisy(history: History) -> str | None:
    share = history.settled("monitor/sharpness")
    if share is None or share < NOISY:
        return None
    return f"where something moves, predictions have {share:.1f} times the true frames' squared-gradient energy"
