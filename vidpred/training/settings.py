"""Settings of the training loop and of the run folder's checkpoints."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vidpred.settings import Settings


class OptimizerSettings(Settings):
    """One network's optimizer. momentum is read by sgd and rmsprop, betas by adam and adamw."""

    name: Literal["sgd", "rmsprop", "adam", "adamw"] = "adam"
    learning_rate: float = Field(1e-3, gt=0)
    momentum: float = Field(0.0, ge=0, lt=1)
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = Field(0.0, ge=0)


class ScheduleSettings(Settings):
    """What a learning rate is multiplied by: up over warmup_steps, 1 until the fraction `hold` of the run, then down to
    `final` along a straight line or half a cosine."""

    shape: Literal["constant", "linear", "cosine"] = "linear"
    warmup_steps: int = Field(0, ge=0)
    hold: float = Field(0.6, ge=0, le=1)
    final: float = Field(0.1, ge=0, le=1)


class TrainingSettings(Settings):
    """The training loop.

    steps: batches of batch_size samples (over all processes), each of which trains every network, or, with
    objective.discriminator_steps, the generator less often.
    device: auto takes the GPU where there is one. precision: auto is bfloat16 where the hardware computes it natively.
    generator, discriminator: their optimizers; schedule: what multiplies their learning rates; discriminator_schedule:
    one of its own for the discriminator's (none: the same).
    clip_norm: gradients longer than this are shortened. ema_decay: of the averaged weights, which predictions use.
    validate_every, picture_every, log_every: in steps, 0 is never. validation_windows: windows of one validation.
    monitor_every: steps between the measurements that `vidpred doctor` reads (0: none); they change no weight.
    best_by: the validation number that chooses the best checkpoint; `last` takes the newest (the right choice with an
    adversary: PSNR would choose the blurriest). tensorboard: write its files, too.
    start_from: another run whose weights to begin with; `pretrained`: those that come with the package (motion.yaml).
    """

    steps: int = Field(2000, ge=1)
    batch_size: int = Field(16, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    generator: OptimizerSettings = OptimizerSettings()
    discriminator: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    discriminator_schedule: ScheduleSettings | None = None
    clip_norm: float | None = Field(None, gt=0)
    ema_decay: float = Field(0.995, ge=0, lt=1)
    validate_every: int = Field(500, ge=0)
    validation_windows: int = Field(16, ge=1)
    best_by: Literal["psnr", "psnr_moving", "ssim", "last"] = "psnr_moving"
    picture_every: int = Field(500, ge=0)
    log_every: int = Field(10, ge=1)
    monitor_every: int = Field(50, ge=0)
    tensorboard: bool = False
    start_from: str | None = None


class CheckpointSettings(Settings):
    """every: steps between checkpoints; the last step is always kept. keep: how many of the newest to keep, beside
    the best one."""

    every: int = Field(500, ge=1)
    keep: int = Field(2, ge=1)
