"""The checks of `diagnose`: small functions of a run's numbers.

A check reads the lines of metrics.jsonl and the settings, and returns what it observed, or None. Most read only the
second half of the steps, because early problems may pass: what is still improving is not a finding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any, Protocol

from vidpred.data.settings import DataSettings
from vidpred.data.worlds.points import POINTS
from vidpred.losses.gan_losses import ADVERSARIAL_LOSSES
from vidpred.models.settings import DiscriminatorSettings, ModelSettings
from vidpred.training.objectives import ObjectiveSettings
from vidpred.training.settings import TrainingSettings

EARLY, MATURE = 50, 200  # steps before which predictions mean nothing, and before which they may still be poor
NEGLIGIBLE, DOMINANT = 0.01, 20.0  # the adversary's gradient as a share of the reconstruction's
PERFECT, SATURATED = 0.99, 0.9  # accuracy of a perfect discriminator, and its share of saturated logits
HIGH, LOW, BIAS, SWINGS = 0.9, 0.6, 0.5, 4  # accuracies (or bias) of an oscillation's extremes, and their least number
SCORED = 200  # images over which accuracy is averaged to find oscillations
CONSTANT, STILL, BLURRED, NOISY = 0.1, 0.2, 0.25, 3.0  # diversity, motion and energy relative to the true frames
LAST_BLURRED = 0.5  # energy of the last predicted frame: blends of displaced candidates have .4 eight frames ahead
DEAD = 0.8  # share of a layer's units without gradient
# Distance of two samples, and of a sample from the nearest other one of its batch, relative to true images. On digits a
# collapsed DCGAN has .24 and .37; a healthy one starts at .15 and .23 and reaches .9 and 1.1 after 500 steps.
COLLAPSED, NEAREST = 0.3, 0.4
COVERED = 0.75  # share of a world's modes
ALIKE = 0.05  # distance between two samples, as a share of their distance from the true frames
BETTER = 1.2  # factor by which a share that is still improving approaches 1 from one quarter of the run to the next
WAITS = 0.2  # share of the time spent on waiting for data
BELOW = -1.0  # gain over a baseline in dB below which a model is clearly worse
GAINED = 0.5  # dB by which the gain rises in the second half of an unfinished run that is still improving
ADVERSARIAL = ("monitor/gradient_adversarial", "monitor/gradient_feature_matching")
RECONSTRUCTION = ("monitor/gradient_lp", "monitor/gradient_gdl")


class RunSettings(Protocol):
    """The sections of a config that a diagnosis reads."""

    @property
    def data(self) -> DataSettings:
        """The data settings."""

    @property
    def model(self) -> ModelSettings:
        """The generator's settings."""

    @property
    def discriminator(self) -> DiscriminatorSettings:
        """The discriminator's settings."""

    @property
    def objective(self) -> ObjectiveSettings:
        """The settings of the losses."""

    @property
    def training(self) -> TrainingSettings:
        """The settings of the training loop."""


@dataclass(frozen=True)
class History:
    """A run's numbers and settings, as the checks read them."""

    lines: Sequence[Mapping[str, Any]]
    settings: RunSettings

    @property
    def objective(self) -> ObjectiveSettings:
        """The settings of the losses."""
        return self.settings.objective

    @property
    def training(self) -> TrainingSettings:
        """The settings of the training."""
        return self.settings.training

    @property
    def makes_images(self) -> bool:
        """Whether the run makes images from noise instead of predicting frames."""
        return not self.settings.data.context_frames

    def word(self, text: str) -> str:
        """Fill in {frames} and {predictions}: images or points, and samples, in a run that makes these from noise."""
        made = "points" if self.settings.data.has_points else "images"
        words = (made, "samples") if self.makes_images else ("frames", "predictions")
        return text.replace("{frames}", words[0]).replace("{predictions}", words[1])

    @property
    def last_step(self) -> int:
        """The newest step with a line; 0 without lines."""
        return max((int(line["step"]) for line in self.lines), default=0)

    def points(self, key: str) -> list[tuple[int, float]]:
        """Return (step, value) of every line with a number under this key of metrics.jsonl, in order."""
        return [(int(line["step"]), float(line[key])) for line in self.lines if isinstance(line.get(key), int | float)]

    def values(self, key: str) -> list[float]:
        """Return the numbers under a key of metrics.jsonl, in order."""
        return [value for _, value in self.points(key)]

    def late(self, key: str, min_count: int = 2) -> list[float]:
        """Return a key's numbers from the second half of the steps; none if there are fewer than `min_count`."""
        first = min((int(line["step"]) for line in self.lines), default=0)
        found = [value for step, value in self.points(key) if step > (first + self.last_step) / 2]
        return found if len(found) >= min_count else []

    def settled(self, key: str) -> float | None:
        """Return the late mean of a number whose best value is 1; None in young runs and while it still improves."""
        late = self.late(key, 4)
        if not late or self.last_step < MATURE:
            return None
        before, after = fmean(late[: len(late) // 2]), fmean(late[len(late) // 2 :])
        better = after > before * BETTER if before < 1 else after < before / BETTER
        return None if better else after


def non_finite(history: History) -> str | None:
    """Find the first step with values that are not finite; return what was observed, None without it."""
    for line in history.lines:
        count = line.get("monitor/non_finite", 0)
        broken = [key for key, value in line.items() if isinstance(value, float) and not math.isfinite(value)]
        broken = [key for key in broken if not key.startswith("validation/")]  # PSNR of equal images is infinite
        if count or broken:
            what = f"{count:g} values of {{frames}} and {{predictions}}" if count else ", ".join(broken)
            return f"{what} not finite at step {line['step']}"
    return None


def out_of_range(history: History) -> str | None:
    """Find input frames outside [0, 1]; return what was observed, None without it."""
    lowest, highest = history.values("monitor/input_min"), history.values("monitor/input_max")
    if lowest and highest and (min(lowest) < -0.01 or max(highest) > 1.01):
        return f"{{frames}} in [{min(lowest):.3g}, {max(highest):.3g}]"
    return None


def _is_constant(history: History) -> bool:
    spreads, highest = history.values("monitor/input_std"), history.values("monitor/input_max")
    return bool(spreads) and max(spreads) <= 0.01 * max(map(abs, highest), default=0)


def constant_frames(history: History) -> str | None:
    """Find input frames that all have one value; return what was observed, None without it."""
    if not _is_constant(history):
        return None
    return f"all values of all measured {{frames}} are {max(history.values('monitor/input_max')):.3g}"


def scaled_twice(history: History) -> str | None:
    """Find input frames that were divided by 255 twice; return what was observed, None without it."""
    highest = max(history.values("monitor/input_max"), default=1.0)
    if highest > 0.02 or min(history.values("monitor/input_min"), default=0) < 0 or _is_constant(history):
        return None
    return f"no value of the {{frames}} is above {highest:.2g}, which is {highest * 255:.2g} / 255"


def only_extremes(history: History) -> str | None:
    """Find input frames whose values are almost all exactly 0 or 1; return what was observed, None without it."""
    shares = history.values("monitor/input_extremes")
    if not shares or min(shares) < 0.999 or _is_constant(history):
        return None
    return f"{min(shares):.2%} of the values of {{frames}} are exactly 0 or 1"


def predictions_out_of_range(history: History) -> str | None:
    """Find late predictions outside [0, 1]; return what was observed, None without it."""
    lowest, highest = history.late("monitor/prediction_min"), history.late("monitor/prediction_max")
    if lowest and highest and (min(lowest) < -0.2 or max(highest) > 1.2):
        return f"{{predictions}} in [{min(lowest):.3g}, {max(highest):.3g}]"
    return None


def no_gradient(history: History) -> str | None:
    """Find an adversarial term without any gradient at the generator; return what was observed, None without it."""
    for key in ADVERSARIAL:
        norms = history.values(key)
        if norms and max(norms) == 0:
            name = key.removeprefix("monitor/gradient_")
            return f"the gradient of {name} at the generator is 0 in all {len(norms)} measurements"
    return None


def nothing_learns(history: History) -> str | None:
    """Find a generator whose late gradients are all 0; return what was observed, None without it."""
    keys = {key for line in history.lines for key in line if key.startswith("monitor/gradient_")}
    late = [history.late(key) for key in keys]
    if any(late) and all(max(values, default=0) == 0 for values in late):
        return "the gradients of all losses at the generator are 0"
    return None


def dead_units(history: History) -> str | None:
    """Find a layer most of whose units receive no gradient late; return what was observed, None without it."""
    late = history.late("monitor/dead_units")
    if late and min(late) >= DEAD:
        return f"in one layer of the generator, {min(late):.0%} of the units receive no gradient"
    return None


def only_features(history: History) -> str | None:
    """Find a discriminator that is used for feature matching only; return what was observed, None without it."""
    settings = history.objective
    if settings.has_discriminator and settings.adversary.weight == 0:
        weight = settings.adversary.feature_matching_weight
        return f"objective.adversarial.weight=0 with objective.adversarial.feature_matching_weight={weight:g}"
    return None


def never_starts(history: History) -> str | None:
    """Find an adversary that would start after the last step; return what was observed, None without it."""
    settings, steps = history.objective, history.training.steps
    if settings.adversary.weight > 0 and settings.adversary.start >= steps:
        return f"objective.adversarial.start={settings.adversary.start} in a run of {steps} steps"
    return None


def _adversary_share(history: History) -> float | None:
    """Return the adversary's gradient norm over the reconstruction's, late and at the adversary's full weight."""
    full = history.objective.adversary.start + history.objective.adversary.ramp
    shares = []
    for line in history.lines:
        own, other = (sum(line.get(key, 0) for key in keys) for keys in (ADVERSARIAL, RECONSTRUCTION))
        if line["step"] > max(full, 1) and other > 0 and any(key in line for key in ADVERSARIAL):
            shares.append(own / other)
    late = shares[len(shares) // 2 :]
    return fmean(late) if len(late) >= 2 else None


def adversary_negligible(history: History) -> str | None:
    """Find an adversary with a much smaller gradient than the reconstruction; return what was observed, or None."""
    share = _adversary_share(history)
    if share is None or not 0 < share < NEGLIGIBLE:
        return None
    return f"the adversary's gradient at the generator is {share:.2g} of that of l_p and GDL"


def adversary_dominates(history: History) -> str | None:
    """Find an adversary with a much larger gradient than the reconstruction; return what was observed, or None."""
    share = _adversary_share(history)
    if share is None or share <= DOMINANT:
        return None
    return f"the adversary's gradient at the generator is {share:.0f} times that of l_p and GDL"


def perfect_discriminator(history: History) -> str | None:
    """Find a discriminator that is always right and, where that is measured, saturated; a critic should be right."""
    if ADVERSARIAL_LOSSES[history.objective.adversary.loss].boundary is None:
        return None
    accuracy, saturated = history.late("discriminator/accuracy", 5), history.late("discriminator/saturated", 5)
    if not accuracy or fmean(accuracy) < PERFECT or (saturated and fmean(saturated) < SATURATED):
        return None
    share = f", {fmean(saturated):.0%} of its logits are saturated" if saturated else ""
    return f"the discriminator classifies {fmean(accuracy):.1%} of true {{frames}} and {{predictions}} correctly{share}"


def blind_discriminator(history: History) -> str | None:
    """Find a discriminator no better than chance although predictions are poor; return what was observed, or None."""
    accuracy = history.late("discriminator/accuracy", 5)
    poor = still(history) or blurred(history)
    if not accuracy or not poor or not 0.45 <= fmean(accuracy) <= 0.55:
        return None
    return f"the discriminator's accuracy is {fmean(accuracy):.1%}, no better than chance, although {poor}"


def oscillation(history: History) -> str | None:
    """Find a discriminator whose accuracy or bias swings; return what was observed, None without it."""
    real, fake = history.late("discriminator/accuracy_real", 10), history.late("discriminator/accuracy_fake", 10)
    samples = history.training.batch_size * history.training.gradient_accumulation_steps
    window = max(3, -(-SCORED // (2 * samples)))
    series = {
        f"the discriminator's accuracy swings between {LOW} and {HIGH}": (
            [(r + f) / 2 for r, f in zip(real, fake, strict=False)], LOW, HIGH,
        ),
        "the discriminator swings between calling everything real and everything generated": (
            [r - f for r, f in zip(real, fake, strict=False)], -BIAS, BIAS,
        ),
    }  # fmt: skip
    for what, (values, low, high) in series.items():
        swings = count_swings(smooth(values, window), low, high)
        if swings >= SWINGS:
            return f"{what}, {swings} times"
    return None


def smooth(values: Sequence[float], window: int) -> list[float]:
    """Return the running means over `window` values, `len(values) - window + 1` of them."""
    return [fmean(values[start : start + window]) for start in range(len(values) - window + 1)]


def count_swings(values: Sequence[float], low: float, high: float) -> int:
    """Count how often a series moves from `low` or below to `high` or above, or back."""
    sides = [value >= high for value in values if value <= low or value >= high]
    return sum(one != other for one, other in pairwise(sides))


def constant_predictions(history: History) -> str | None:
    """Find predictions that hardly differ between clips; return what was observed, None without it."""
    shares = history.late("monitor/diversity")
    if not shares or max(shares) > CONSTANT or history.last_step < EARLY:
        return None
    return f"predictions of different clips differ by {max(shares):.1%} of the difference between their true frames"


def samples_alike(history: History) -> str | None:
    """Find samples of one clip's future that hardly differ; return what was observed, None without it."""
    share = history.settled("monitor/draws")
    if share is None or share > ALIKE:
        return None
    return f"two samples of one clip's future differ by {share:.1%} of their difference from the true frames"


def still(history: History) -> str | None:
    """Find predictions that hardly change from the last context frame; return what was observed, None without it."""
    share = history.settled("monitor/motion")
    if share is None or share > STILL:
        return None
    return f"predictions change from the last context frame by {share:.1%} of the change in the true frames"


def blurred(history: History) -> str | None:
    """Find predictions with much less edge energy than the true frames; return what was observed, None without it."""
    share, last = history.settled("monitor/energy"), history.settled("monitor/energy_last")
    if last is not None and last <= LAST_BLURRED:
        frames = history.settings.data.lead - 1 + history.settings.data.future_frames
        return (
            f"blurry: edge energy {last:.2f} at frame {frames} in moving regions (true frames: 1); PSNR alone hides it"
        )
    if share is None or share > BLURRED:
        return None
    return f"{_place(history)} have {share:.1%} of the true {{frames}}' squared-gradient energy"


def noisy(history: History) -> str | None:
    """Find predictions with much more edge energy than the true frames; return what was observed, None without it."""
    share = history.settled("monitor/energy")
    if share is None or share < NOISY:
        return None
    return f"{_place(history)} have {share:.1f} times the true {{frames}}' squared-gradient energy"


def _place(history: History) -> str:
    return "{predictions}" if history.makes_images else "in moving regions, {predictions}"


def mode_collapse(history: History) -> str | None:
    """Find a generator of images whose samples hardly differ from each other, or that misses modes of its world."""
    data, covered = history.settings.data, history.values("validation/covered")
    if data.has_points and covered and history.last_step >= MATURE:
        modes = len(POINTS[data.world_settings.name].centers)
        if covered[-1] <= modes * COVERED:
            return f"samples cover {covered[-1]:.0f} of {modes} modes"
    updates = history.last_step // history.objective.adversary.discriminator_steps
    if data.has_points or updates < MATURE:
        return None
    for key, bound, what in (
        ("monitor/diversity", COLLAPSED, "two samples differ by {:.1%} of the difference between two true images"),
        ("monitor/nearest", NEAREST, "the nearest other sample differs by {:.1%} of what it does for true images"),
        ("monitor/draws", ALIKE, "samples of opposite noise differ by {:.1%} of their difference from true images"),
    ):
        share = history.settled(key)
        if share is not None and share <= bound:
            return what.format(share)
    return None


def below_copying(history: History) -> str | None:
    """Find a model whose frames are further from the true ones than the last context frame is."""
    return _below(history, "copy_last", "copies of the last context frame")


def below_flow(history: History) -> str | None:
    """Find a model that is worse than optical flow, although it is better than copying."""
    return None if below_copying(history) else _below(history, "optical_flow", "optical flow")


def _below(history: History, baseline: str, name: str) -> str | None:
    gains = history.points(f"validation/psnr_over_{baseline}")
    if not gains or history.last_step < MATURE or gains[-1][1] > BELOW:
        return None
    step, gain = gains[-1]
    before = [value for at, value in gains if at <= step / 2]
    if history.last_step < history.training.steps and before and gain > before[-1] + GAINED:
        return None
    return f"at step {step}, the PSNR of validation frames is {-gain:.1f} dB below that of {name}"


def waits_for_data(history: History) -> str | None:
    """Find a training that often waits for its data."""
    shares = history.late("waiting_for_data", 4)
    if history.last_step < MATURE or not shares or fmean(shares) < WAITS:
        return None
    return f"the training waits for data {100 * fmean(shares):.0f} % of the time"
