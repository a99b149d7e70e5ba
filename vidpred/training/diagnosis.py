"""Diagnosis of a run from its own numbers: the table of checks, with why each finding matters and what to try."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vidpred.training import checks
from vidpred.training import remedies as to
from vidpred.training.checks import ADVERSARIAL, RECONSTRUCTION, History, RunSettings
from vidpred.training.remedies import Remedy

Group = Literal["data", "learning", "adversary", "results", "frames", "images"]
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

    Texts may contain {frames} and {predictions}, see `History.word`.

    Attributes:
        title: Name of the fault.
        severity: See `Severity`.
        group: What it is about; "frames" is for frame predictors only, "images" for generators of images only.
        keys: The logged numbers that the check reads; none if it reads the settings only.
        check: Returns what was observed; None if the check passes.
        why: Why it matters.
        remedies: What to try; those that the run's settings allow are given.
    """

    title: str
    severity: Severity
    group: Group
    keys: tuple[str, ...]
    check: Callable[[History], str | None]
    why: str
    remedies: tuple[Remedy, ...]

    def applies(self, history: History) -> bool:
        """Return whether the check is for the run's kind, which predicts frames or makes images."""
        return self.group not in ("frames", "images") or (self.group == "images") == history.makes_images

    def run(self, history: History) -> Diagnosis | None:
        """Return the diagnosis of a run, with the remedies that its settings allow; None if the check passes."""
        observed = self.check(history) if self.applies(history) else None
        if observed is None:
            return None
        remedy = "; ".join(remedy.text for remedy in self.remedies if remedy.condition(history))
        title, observed, why, remedy = map(history.word, (self.title, observed, self.why, remedy))
        return Diagnosis(title, self.severity, observed, why, remedy, self.keys)


INPUT = ("monitor/input_min", "monitor/input_max", "monitor/input_std")
PREDICTION = ("monitor/prediction_min", "monitor/prediction_max")
ACCURACY = ("discriminator/accuracy", "discriminator/accuracy_real", "discriminator/accuracy_fake")
CHECKS: tuple[Check, ...] = (
    Check(
        "values that are not finite", "serious", "learning", ("monitor/non_finite",), checks.non_finite,
        "a single one makes every weight useless at the next update",
        (Remedy("lower the learning rates"), Remedy("set training.grad_clip_norm=1", to.lacks_clipping),
         Remedy("if the {frames} contain it, fix the data")),
    ),
    Check(
        "{frames} outside [0, 1]", "serious", "data", INPUT, checks.out_of_range,
        "{predictions} lie in [0, 1] and can never reach such {frames}; losses and metrics assume this range",
        (Remedy("pass uint8 in [0, 255] or float in [0, 1]: divide by 255, or undo a scaling to [-1, 1]"),),
    ),
    Check(
        "slow data", "warning", "data", ("waiting_for_data",), checks.waits_for_data,
        "the processor or GPU that trains is idle while the next batch is read, decoded and cropped",
        (Remedy("set data.num_workers=2, or as many as there are idle cores", to.reads_in_turn),
         Remedy("raise data.num_workers if there are idle cores", to.reads_ahead),
         Remedy("decode once, with `vidpred prepare folder FOLDER TARGET --cache`, and train on TARGET",
                to.of_videos)),
    ),
    Check(
        "constant {frames}", "serious", "data", INPUT, checks.constant_frames,
        "there is nothing to learn",
        (Remedy("look at images/ in the run folder and at the data; the usual cause is a reader or a crop that yields "
                "one color"),),
    ),
    Check(
        "{frames} scaled twice", "serious", "data", INPUT, checks.scaled_twice,
        "such {frames} are practically black",
        (Remedy("divide by 255 only once: vidpred scales uint8 {frames}"),),
    ),
    Check(
        "{frames} of 0 and 1 only", "warning", "data", ("monitor/input_extremes",), checks.only_extremes,
        "{frames} that were clipped or converted to booleans have lost all values in between",
        (Remedy("unless the data is black and white, scale it before clipping or converting it"),),
    ),
    Check(
        "{predictions} outside [0, 1]", "serious", "results", PREDICTION, checks.predictions_out_of_range,
        "they are clipped when rendered or fed back, so training and inference use different {predictions}",
        (Remedy("end a custom generator with a squashing function, and return [0, 1], not [-1, 1] or [0, 255]"),),
    ),
    Check(
        "no gradient from the discriminator", "serious", "adversary", ADVERSARIAL, checks.no_gradient,
        "the generator cannot learn from its adversary, which only costs time",
        (Remedy("do not detach {predictions} in the discriminator or run it under no_grad; freeze its weights "
                "instead"),),
    ),
    Check(
        "the generator does not learn", "serious", "learning", (*RECONSTRUCTION, *ADVERSARIAL), checks.nothing_learns,
        "without a gradient no weight changes",
        (Remedy("look for detached tensors, frozen weights or dead units; against these lower "
                "training.generator.learning_rate"),),
    ),
    Check(
        "dead units", "warning", "learning", ("monitor/dead_units",), checks.dead_units,
        "ReLUs that are 0 for every input never recover, so this layer stopped learning",
        (Remedy("lower training.generator.learning_rate (Adam: 3e-4), raise training.schedule.warmup_steps, and start "
                "again"),),
    ),
    Check(
        "a discriminator without an adversarial loss", "note", "adversary", (), checks.only_features,
        "the discriminator trains, but the generator only matches its features",
        (Remedy("if this is unintended, set objective.adversarial.weight=0.05"),),
    ),
    Check(
        "an adversary that never starts", "warning", "adversary", (), checks.never_starts,
        "its weight is 0 in every step",
        (Remedy("lower objective.adversarial.start or train longer"),),
    ),
    Check(
        "an adversary without effect", "warning", "adversary", (*RECONSTRUCTION, *ADVERSARIAL),
        checks.adversary_negligible,
        "the generator follows the reconstruction losses alone and blurs",
        (Remedy("raise objective.adversarial.weight"),
         Remedy("set objective.adversarial.loss=bce, whose gradient does not vanish when the discriminator is "
                "confident", to.is_minimax)),
    ),
    Check(
        "an adversary that dominates the reconstruction", "warning", "adversary", (*RECONSTRUCTION, *ADVERSARIAL),
        checks.adversary_dominates,
        "{predictions} may look real and be unrelated to their targets",
        (Remedy("lower objective.adversarial.weight"),),
    ),
    Check(
        "a perfect discriminator", "serious", "adversary", (*ACCURACY, "discriminator/saturated"),
        checks.perfect_discriminator,
        "a discriminator that is always certain gives the generator no useful gradient",
        (Remedy("lower training.discriminator.learning_rate"),
         Remedy("set objective.adversarial.loss=bce, whose gradient does not vanish then", to.is_minimax),
         Remedy("set objective.adversarial.r1_weight=0.1", to.lacks_penalty),
         Remedy("set objective.adversarial.real_label=0.9", to.can_smooth_labels),
         Remedy("set discriminator.spectral_norm=true", to.lacks("spectral_norm")),
         Remedy("check that the generator learns")),
    ),
    Check(
        "a discriminator that does not learn", "warning", "adversary",
        (*ACCURACY, "monitor/motion", "monitor/energy"), checks.blind_discriminator,
        "an accuracy of one half is right only if {predictions} are as good as the true {frames}",
        (Remedy("set discriminator.name=patch", to.can_use_patches),
         Remedy("raise training.discriminator.learning_rate, or lower its penalties")),
    ),
    Check(
        "oscillating adversarial training", "warning", "adversary", ACCURACY, checks.oscillation,
        "generator and discriminator cycle instead of improving",
        (Remedy("lower both learning rates"),
         Remedy("set training.generator.betas=[0.5,0.99] and training.discriminator.betas=[0.5,0.99]", to.uses_adam),
         Remedy("set objective.adversarial.r1_weight=0.1", to.lacks_penalty),
         Remedy("set objective.history_weight=1e-4", to.lacks_history)),
    ),
    Check(
        "mode collapse", "serious", "images", ("monitor/diversity", "monitor/nearest", "monitor/draws",
                                               "validation/covered"), checks.mode_collapse,
        "different noise gives the same few samples, each of which the discriminator accepts as real",
        (Remedy("set discriminator.minibatch_kernels=10, which compares the samples of a batch",
                to.lacks("minibatch_kernels")),
         Remedy("set objective.adversarial.feature_matching_weight=1", to.lacks_matching),
         Remedy("set objective.adversarial.r1_weight=0.1", to.lacks_penalty),
         Remedy("train wgan_gp.yaml, whose critic also ranks bad samples", to.for_images),
         Remedy("train gaussians_r1.yaml or gaussians_wgan_gp.yaml", to.for_points),
         Remedy("lower training.generator.learning_rate, and start again: collapse rarely heals")),
    ),
    Check(
        "constant predictions", "serious", "frames", ("monitor/diversity",), checks.constant_predictions,
        "the generator has collapsed: its output does not depend on its input",
        (Remedy("check that the context reaches the output"), Remedy("lower training.generator.learning_rate"),
         Remedy("lower objective.adversarial.weight, and start from a run without an adversary (training.init_from)",
                to.has_adversary)),
    ),
    Check(
        "samples that are all alike", "warning", "frames", ("monitor/draws",), checks.samples_alike,
        "the model ignores its noise and predicts one future even if several are possible",
        (Remedy("check that the noise reaches the output"),
         Remedy("set objective.num_samples=2 and objective.other_samples_weight=0.1, which keep the noise in use; an "
                "adversary alone does not", to.can_sample),
         Remedy("raise objective.num_samples or train longer", to.trains_on_several_samples)),
    ),
    Check(
        "predictions that stand still", "serious", "frames", ("monitor/motion",), checks.still,
        "the generator copies the last context frame, which scores well if little moves but predicts nothing",
        (Remedy("train on regions that move (data.min_motion=0.001) and on longer times (data.frame_skip=2)",
                to.of_videos), Remedy("train longer")),
    ),
    Check(
        "predictions worse than copying", "serious", "frames", ("validation/psnr_over_copy_last",),
        checks.below_copying,
        "repeating the last context frame costs nothing and is nearer to the true frames",
        (Remedy("train longer"),
         Remedy("train motion.yaml instead, which moves pixels of the context frames", to.lacks_flow)),
    ),
    Check(
        "predictions worse than optical flow", "note", "frames", ("validation/psnr_over_optical_flow",),
        checks.below_flow,
        "moving the last context frame by its optical flow needs no training and is nearer to the true frames",
        (Remedy("train longer"),
         Remedy("train motion.yaml instead, which starts from optical flow", to.lacks_flow)),
    ),
    Check(
        "blurred {predictions}", "warning", "results", ("monitor/energy", "monitor/energy_last"), checks.blurred,
        "the model makes a mean of several possible {frames}, or has not learned the details",
        (Remedy("train longer or a larger model"),
         Remedy("set objective.lp_exponent=1", to.uses_squares), Remedy("set objective.gdl_weight=1", to.lacks_gdl),
         Remedy("set objective.adversarial.weight=0.05", to.lacks_adversary),
         Remedy("use predict --sharpness 1 or motion_sharp.yaml", to.has_dial)),
    ),
    Check(
        "noisy {predictions}", "warning", "results", ("monitor/energy",), checks.noisy,
        "{predictions} have edges that the true {frames} lack: noise or a checkerboard",
        (Remedy("train longer with a falling learning rate (training.schedule.shape=cosine)", to.is_not_decaying),
         Remedy("lower objective.adversarial.weight", to.has_frame_losses),
         Remedy("set objective.adversarial.r1_weight=0.1", to.lacks_penalty)),
    ),
)  # fmt: skip


def diagnose(lines: Sequence[Mapping[str, Any]], settings: RunSettings) -> list[Diagnosis]:
    """Return the findings of all checks on a run, the most severe first; none if it looks well.

    Args:
        lines: The lines of its metrics.jsonl.
        settings: Its settings.
    """
    history = History(lines, settings)
    found = [finding for check in CHECKS if (finding := check.run(history))]
    order = ("serious", "warning", "note")
    return sorted(found, key=lambda finding: order.index(finding.severity))


def checked_titles(lines: Sequence[Mapping[str, Any]], settings: RunSettings) -> tuple[list[str], list[str]]:
    """Return the titles of the run's checks that had numbers to read, and of those that had none."""
    history, keys = History(lines, settings), {key for line in lines for key in line}
    checked = {
        history.word(check.title): not check.keys or not keys.isdisjoint(check.keys)
        for check in CHECKS
        if check.applies(history)
    }
    return [title for title, has in checked.items() if has], [title for title, has in checked.items() if not has]
