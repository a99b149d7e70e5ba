"""What a run's own numbers say is wrong with it: the rules in one table, with why each matters and what to try."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vidpred.training import checks
from vidpred.training.checks import ADVERSARIAL, RECONSTRUCTION, History
from vidpred.training.objectives import ObjectiveSettings
from vidpred.training.settings import TrainingSettings

Severity = Literal["serious", "warning", "note"]  # it will not work; it will not work well; is it meant?


@dataclass(frozen=True)
class Diagnosis:
    """Something wrong: what was seen, why it matters, what to try; keys: the logged numbers that show it."""

    title: str
    severity: Severity
    observed: str
    why: str
    remedy: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """A row of the table: what may be wrong, how grave that is, the numbers that the check reads (none: the settings),
    and what a user should know."""

    title: str
    severity: Severity
    keys: tuple[str, ...]
    check: Callable[[History], str | None]
    why: str
    remedy: str

    def ask(self, history: History) -> Diagnosis | None:
        observed = self.check(history)
        return Diagnosis(self.title, self.severity, observed, self.why, self.remedy, self.keys) if observed else None


INPUT = ("monitor/input_min", "monitor/input_max", "monitor/input_std")
PREDICTION = ("monitor/prediction_min", "monitor/prediction_max")
ACCURACY = ("discriminator/accuracy", "discriminator/accuracy_real", "discriminator/accuracy_fake")
CHECKS: tuple[Check, ...] = (
    Check(
        "values that are not finite", "serious", ("monitor/non_finite",), checks.non_finite,
        "one of them makes every weight useless in the next update",
        "lower the learning rates, set training.grad_clip_norm=1; if it is in the frames, mend the data",
    ),
    Check(
        "frames outside [0, 1]", "serious", INPUT, checks.out_of_range,
        "predictions lie in [0, 1] and can never reach such frames; losses and metrics assume the range",
        "hand over uint8 in [0, 255] or float in [0, 1]: divide by 255, or undo a scaling to [-1, 1]",
    ),
    Check(
        "constant frames", "serious", INPUT, checks.constant_frames,
        "there is nothing to predict",
        "look at the run's images and at the videos; a reader or a crop that yields one colour is the usual cause",
    ),
    Check(
        "frames scaled twice", "serious", INPUT, checks.scaled_twice,
        "to the model such frames are black",
        "divide by 255 once: uint8 frames are scaled by vidpred itself",
    ),
    Check(
        "frames of 0 and 1 only", "warning", ("monitor/input_extremes",), checks.only_extremes,
        "frames that were clipped or turned into booleans have lost what lies between",
        "unless the videos are black and white, scale them before they are clipped or converted",
    ),
    Check(
        "predictions outside [0, 1]", "serious", PREDICTION, checks.predictions_out_of_range,
        "they are cut off when they are shown and fed back, so training and use see different images",
        "end a generator of your own with a squashing function, and return [0, 1], not [-1, 1] or [0, 255]",
    ),
    Check(
        "no gradient from the discriminator", "serious", ADVERSARIAL, checks.no_gradient,
        "the generator cannot learn from its adversary; the run is one without, only slower",
        "do not detach images in the discriminator, nor run it under no_grad; freeze its weights instead",
    ),
    Check(
        "the generator does not learn", "serious", (*RECONSTRUCTION, *ADVERSARIAL), checks.nothing_learns,
        "without a gradient no weight changes",
        "look for detached tensors, frozen weights, or units that are all dead: lower training.generator.learning_rate",
    ),
    Check(
        "a discriminator without an adversarial loss", "note", (), checks.only_features,
        "the discriminator trains, but the generator only matches its features",
        "if that is not meant, set objective.adversarial.weight=0.05",
    ),
    Check(
        "an adversary that never begins", "warning", (), checks.never_starts,
        "its weight is 0 to the end",
        "lower objective.adversarial.start or train longer",
    ),
    Check(
        "an adversary without weight", "warning", (*RECONSTRUCTION, *ADVERSARIAL), checks.adversary_negligible,
        "the generator follows the reconstruction alone and blurs",
        "raise objective.adversarial.weight; with objective.adversarial.loss=minimax, take bce, whose gradient does "
        "not vanish where the discriminator is sure",
    ),
    Check(
        "an adversary that drowns the reconstruction", "warning", (*RECONSTRUCTION, *ADVERSARIAL),
        checks.adversary_drowns,
        "predictions may look real and have nothing to do with the clip",
        "lower objective.adversarial.weight",
    ),
    Check(
        "a perfect discriminator", "serious", (*ACCURACY, "discriminator/saturated"), checks.perfect_discriminator,
        "an adversary that is never in doubt says nothing about the way to better predictions",
        "lower training.discriminator.learning_rate, set objective.adversarial.r1_weight=0.1, "
        "objective.adversarial.real_label=0.9 or discriminator.spectral_norm=true; see that the generator learns",
    ),
    Check(
        "a discriminator that sees nothing", "warning", (*ACCURACY, "monitor/motion", "monitor/sharpness"),
        checks.blind_discriminator,
        "one half is right where predictions are as good as the truth; here it only fails to learn",
        "raise training.discriminator.learning_rate, lower its penalties, or take a larger discriminator.size",
    ),
    Check(
        "an oscillating game", "warning", ACCURACY, checks.oscillation,
        "the players go round in circles instead of getting better",
        "lower both learning rates or the betas (0.5), set objective.adversarial.r1_weight=0.1 or "
        "objective.history_weight=1e-4",
    ),
    Check(
        "constant predictions", "serious", ("monitor/diversity",), checks.constant_predictions,
        "the generator has collapsed: it paints the same whatever it is shown",
        "see that the context reaches the output; lower training.generator.learning_rate or "
        "objective.adversarial.weight, and begin with a run without an adversary (training.init_from)",
    ),
    Check(
        "draws that are all alike", "warning", ("monitor/draws",), checks.draws_alike,
        "the noise is ignored: where several futures are possible the model has one, whatever is drawn",
        "set objective.num_samples=2 and objective.other_samples_weight=0.1, which keep it in use; an adversary "
        "alone does not",
    ),
    Check(
        "predictions that stand still", "serious", ("monitor/motion",), checks.still,
        "the generator copies the last known frame, which scores well where little moves and predicts nothing",
        "train on what moves (data.crop_size, data.min_motion), raise data.frame_skip or train longer",
    ),
    Check(
        "blurred predictions", "warning", ("monitor/sharpness", "monitor/sharpness_last"), checks.blurred,
        "a mean over possible futures, or a model that has not learnt the details",
        "train longer or a larger model; then lp_exponent=1, gdl_weight and adversarial.weight of the objective; with "
        "model.name=motion, predict --sharpness 1 and motion_sharp.yaml",
    ),
    Check(
        "noisy predictions", "warning", ("monitor/sharpness",), checks.noisy,
        "edges that the truth does not have: noise or a checkerboard that fools the discriminator",
        "lower objective.adversarial.weight, set objective.adversarial.r1_weight=0.1",
    ),
)  # fmt: skip


def diagnose(
    lines: Sequence[Mapping[str, Any]],
    objective: ObjectiveSettings,
    training: TrainingSettings,
    frames: int | None = None,
) -> list[Diagnosis]:
    """Return what is wrong according to the lines of a metrics.jsonl, the gravest first.

    frames: how many are predicted in training, for the message; None: not said.
    """
    history = History(lines, objective, training, frames)
    found = [finding for rule in CHECKS if (finding := rule.ask(history))]
    order = ("serious", "warning", "note")
    return sorted(found, key=lambda finding: order.index(finding.severity))


def looked_at(lines: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Titles of the rules that had numbers to read, and of those that had none."""
    keys = {key for line in lines for key in line}
    seen = {rule.title: not rule.keys or not keys.isdisjoint(rule.keys) for rule in CHECKS}
    return [title for title, has in seen.items() if has], [title for title, has in seen.items() if not has]
