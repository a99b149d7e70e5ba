"""Diagnosis of a run from its own numbers: the table of checks, with why each finding matters and what to try."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vidpred.training import checks
from vidpred.training.checks import ADVERSARIAL, RECONSTRUCTION, History
from vidpred.training.objectives import ObjectiveSettings
from vidpred.training.settings import TrainingSettings

Severity = Literal["serious", "warning", "note"]  # will not work; will not work well; may be unintended


@dataclass(frozen=True)
class Diagnosis:
    """A finding: what was observed, why it matters, what to try; `keys` are the logged numbers that show it."""

    title: str
    severity: Severity
    observed: str
    why: str
    remedy: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """A row of the table: a possible fault, the check that finds it, and advice.

    keys: The logged numbers that the check reads; none if it reads the settings only.
    """

    title: str
    severity: Severity
    keys: tuple[str, ...]
    check: Callable[[History], str | None]
    why: str
    remedy: str

    def run(self, history: History) -> Diagnosis | None:
        """Return the finding for a run; None if the check passes."""
        observed = self.check(history)
        return Diagnosis(self.title, self.severity, observed, self.why, self.remedy, self.keys) if observed else None


INPUT = ("monitor/input_min", "monitor/input_max", "monitor/input_std")
PREDICTION = ("monitor/prediction_min", "monitor/prediction_max")
ACCURACY = ("discriminator/accuracy", "discriminator/accuracy_real", "discriminator/accuracy_fake")
CHECKS: tuple[Check, ...] = (
    Check(
        "values that are not finite", "serious", ("monitor/non_finite",), checks.non_finite,
        "a single one makes every weight useless at the next update",
        "lower the learning rates, set training.grad_clip_norm=1; if the frames contain it, fix the data",
    ),
    Check(
        "frames outside [0, 1]", "serious", INPUT, checks.out_of_range,
        "predictions lie in [0, 1] and can never reach such frames; losses and metrics assume this range",
        "pass uint8 in [0, 255] or float in [0, 1]: divide by 255, or undo a scaling to [-1, 1]",
    ),
    Check(
        "constant frames", "serious", INPUT, checks.constant_frames,
        "there is nothing to predict",
        "inspect the run's images and the videos; the usual cause is a reader or a crop that yields one color",
    ),
    Check(
        "frames scaled twice", "serious", INPUT, checks.scaled_twice,
        "such frames are practically black",
        "divide by 255 only once: vidpred scales uint8 frames",
    ),
    Check(
        "frames of 0 and 1 only", "warning", ("monitor/input_extremes",), checks.only_extremes,
        "frames that were clipped or converted to booleans have lost all values in between",
        "unless the videos are black and white, scale them before clipping or converting them",
    ),
    Check(
        "predictions outside [0, 1]", "serious", PREDICTION, checks.predictions_out_of_range,
        "they are clipped when rendered and fed back, so training and inference use different images",
        "end a custom generator with a squashing function, and return [0, 1], not [-1, 1] or [0, 255]",
    ),
    Check(
        "no gradient from the discriminator", "serious", ADVERSARIAL, checks.no_gradient,
        "the generator cannot learn from its adversary, which only costs time",
        "do not detach images in the discriminator or run it under no_grad; freeze its weights instead",
    ),
    Check(
        "the generator does not learn", "serious", (*RECONSTRUCTION, *ADVERSARIAL), checks.nothing_learns,
        "without a gradient no weight changes",
        "look for detached tensors, frozen weights or dead units; against these lower training.generator.learning_rate",
    ),
    Check(
        "dead units", "warning", ("monitor/dead_units",), checks.dead_units,
        "rectifiers that are 0 for every input never recover, so this layer stopped learning",
        "lower training.generator.learning_rate (Adam: 3e-4), raise training.schedule.warmup_steps, and start again",
    ),
    Check(
        "a discriminator without an adversarial loss", "note", (), checks.only_features,
        "the discriminator trains, but the generator only matches its features",
        "if this is unintended, set objective.adversarial.weight=0.05",
    ),
    Check(
        "an adversary that never starts", "warning", (), checks.never_starts,
        "its weight is 0 in every step",
        "lower objective.adversarial.start or train longer",
    ),
    Check(
        "an adversary without effect", "warning", (*RECONSTRUCTION, *ADVERSARIAL), checks.adversary_negligible,
        "the generator follows the reconstruction losses alone and blurs",
        "raise objective.adversarial.weight; replace objective.adversarial.loss=minimax by bce, whose gradient does "
        "not vanish when the discriminator is confident",
    ),
    Check(
        "an adversary that dominates the reconstruction", "warning", (*RECONSTRUCTION, *ADVERSARIAL),
        checks.adversary_dominates,
        "predictions may look real and be unrelated to the clip",
        "lower objective.adversarial.weight",
    ),
    Check(
        "a perfect discriminator", "serious", (*ACCURACY, "discriminator/saturated"), checks.perfect_discriminator,
        "a discriminator that is always certain gives the generator no useful gradient",
        "lower training.discriminator.learning_rate, set objective.adversarial.r1_weight=0.1, "
        "objective.adversarial.real_label=0.9 or discriminator.spectral_norm=true; check that the generator learns",
    ),
    Check(
        "a discriminator that does not learn", "warning", (*ACCURACY, "monitor/motion", "monitor/sharpness"),
        checks.blind_discriminator,
        "an accuracy of one half is right only if predictions are as good as the true frames",
        "set discriminator.name=patch and objective.adversarial.balanced=true; or raise "
        "training.discriminator.learning_rate, or lower its penalties",
    ),
    Check(
        "oscillating adversarial training", "warning", ACCURACY, checks.oscillation,
        "generator and discriminator cycle instead of improving",
        "lower both learning rates or the betas (0.5), set objective.adversarial.r1_weight=0.1 or "
        "objective.history_weight=1e-4",
    ),
    Check(
        "constant predictions", "serious", ("monitor/diversity",), checks.constant_predictions,
        "the generator has collapsed: its output does not depend on its input",
        "check that the context reaches the output; lower training.generator.learning_rate or "
        "objective.adversarial.weight, and start from a run without an adversary (training.init_from)",
    ),
    Check(
        "samples that are all alike", "warning", ("monitor/draws",), checks.samples_alike,
        "the model ignores its noise and predicts one future even if several are possible",
        "set objective.num_samples=2 and objective.other_samples_weight=0.1, which keep the noise in use; an adversary "
        "alone does not",
    ),
    Check(
        "predictions that stand still", "serious", ("monitor/motion",), checks.still,
        "the generator copies the last context frame, which scores well if little moves but predicts nothing",
        "train on moving regions (data.crop_size, data.min_motion), raise data.frame_skip or train longer",
    ),
    Check(
        "predictions worse than copying", "serious", ("validation/psnr_over_copy_last",), checks.below_copying,
        "repeating the last context frame costs nothing and is nearer to the true frames",
        "train longer; train motion.yaml instead, which moves pixels of the context frames",
    ),
    Check(
        "predictions worse than optical flow", "note", ("validation/psnr_over_optical_flow",), checks.below_flow,
        "moving the last context frame by its optical flow needs no training and is nearer to the true frames",
        "train longer; train motion.yaml instead, which starts from optical flow",
    ),
    Check(
        "blurred predictions", "warning", ("monitor/sharpness", "monitor/sharpness_last"), checks.blurred,
        "the model predicts a mean over possible futures, or has not learned the details",
        "train longer or a larger model; then set lp_exponent=1, gdl_weight and adversarial.weight of the objective; "
        "with model.name=motion, use predict --sharpness 1 or motion_sharp.yaml",
    ),
    Check(
        "noisy predictions", "warning", ("monitor/sharpness",), checks.noisy,
        "predictions have edges that the true frames lack: noise or a checkerboard that fools the discriminator",
        "lower objective.adversarial.weight, set objective.adversarial.r1_weight=0.1",
    ),
)  # fmt: skip


def diagnose(
    lines: Sequence[Mapping[str, Any]],
    objective: ObjectiveSettings,
    training: TrainingSettings,
    frames: int | None = None,
) -> list[Diagnosis]:
    """Return the findings from the lines of a metrics.jsonl, the most severe first.

    Args:
        lines: The lines.
        objective: Settings of the run's losses.
        training: Settings of the run's training.
        frames: Number of frames predicted in training, for the messages; None: unknown.
    """
    history = History(lines, objective, training, frames)
    found = [finding for check in CHECKS if (finding := check.run(history))]
    order = ("serious", "warning", "note")
    return sorted(found, key=lambda finding: order.index(finding.severity))


def checked_titles(lines: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Return the titles of the checks that had numbers to read, and of those that had none."""
    keys = {key for line in lines for key in line}
    checked = {check.title: not check.keys or not keys.isdisjoint(check.keys) for check in CHECKS}
    return [title for title, has in checked.items() if has], [title for title, has in checked.items() if not has]
