"""Settings of the training loop and of the run folder's checkpoints."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from vidpred.bounds import MOST_SAMPLES, MOST_SECONDS
from vidpred.settings import Settings, with_home


class OptimizerSettings(Settings):
    """Settings of one network's optimizer."""

    name: Literal["sgd", "rmsprop", "adam", "adamw"] = Field("adam", description="Optimizer of this network.")
    learning_rate: float = Field(
        1e-3, gt=0, description="Largest learning rate, which the schedule multiplies by a factor up to 1."
    )
    momentum: float = Field(
        0.0, ge=0, lt=1, description="Momentum of sgd and rmsprop; adam and adamw have betas instead."
    )
    betas: tuple[float, float] = Field(
        (0.9, 0.99),
        description="Decay rates, in [0, 1), of adam's and adamw's averages of the gradient and of its square.",
    )
    weight_decay: float = Field(
        0.0,
        ge=0,
        description="Weight decay: a multiple of the weights in the gradient or, for adamw, decoupled from it.",
    )

    @field_validator("betas")
    @classmethod
    def _decay_rates(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= rate < 1 for rate in value):
            raise ValueError(f"decay rates are at least 0 and below 1, not {', '.join(f'{rate:g}' for rate in value)}")
        return value


class ScheduleSettings(Settings):
    """Settings of the factor of a learning rate: warm-up to 1, hold, then decay."""

    shape: Literal["constant", "linear", "cosine"] = Field(
        "linear",
        description="Shape of the learning rate's decay from `hold` on: none, a straight line, or half a cosine.",
    )
    warmup_steps: int = Field(
        0, ge=0, description="Number of steps over which the learning rate's factor first rises to 1. 0: no warm-up."
    )
    hold: float = Field(
        0.6,
        ge=0,
        le=1,
        description="Fraction of the training steps after which the learning rate begins to decay; not for constant.",
    )
    final: float = Field(
        0.1, ge=0, le=1, description="Factor of the learning rate at the end of the training; not for constant."
    )


class TrainingSettings(Settings):
    """Settings of the training loop."""

    steps: int = Field(2000, ge=1, description="Total number of training steps; a resumed run continues up to it.")
    batch_size: int = Field(
        16, ge=1, le=MOST_SAMPLES, description="Number of samples in a batch, summed over all processes."
    )
    gradient_accumulation_steps: int = Field(
        1,
        ge=1,
        description="Number of batches whose gradients are averaged in every training step, which needs the memory of "
        "one. The effective batch size is this times training.batch_size. Only statistics of a batch (batch norm, "
        "spectral norm's iterations) and random draws differ from those of one large batch.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Device; auto uses the GPU if there is one.")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Precision of the forward pass; auto is bfloat16 if the hardware computes it natively, else "
        "float32. float16, for GPUs without bfloat16, scales losses so that gradients do not vanish.",
    )
    generator: OptimizerSettings = Field(OptimizerSettings(), description="The generator's optimizer.")
    discriminator: OptimizerSettings = Field(OptimizerSettings(), description="The discriminator's optimizer.")
    schedule: ScheduleSettings = Field(ScheduleSettings(), description="Schedule of the learning rates.")
    discriminator_schedule: ScheduleSettings | None = Field(
        None, description="Schedule of the discriminator's learning rate. null: the same as training.schedule."
    )
    grad_clip_norm: float | None = Field(
        None, gt=0, description="Maximum norm of a network's gradient; larger gradients are clipped. null: no limit."
    )
    ema_decay: float = Field(
        0.995,
        ge=0,
        lt=1,
        description="Largest decay per step of the averaged weights, which predictions use; in step n, from 0, it "
        "is at most (1 + n) / (10 + n). 0: no average.",
    )
    validate_every: int = Field(
        500, ge=0, description="Steps between validations, which measure the metrics of best_by. 0: never."
    )
    validation_windows: int = Field(
        16, ge=1, le=MOST_SAMPLES, description="Number of windows of the validation split that a validation measures."
    )
    best_by: Literal["psnr", "psnr_moving", "ssim", "last"] = Field(
        "psnr_moving",
        description="Validation metric that selects the best checkpoint; `last` selects the newest, which suits runs "
        "with an adversary, because PSNR prefers blurry frames.",
    )
    early_stopping_patience: int | None = Field(
        None,
        ge=1,
        description="End the run after this many validations in a row without a rise of the metric of "
        "training.best_by. null: never.",
    )
    early_stopping_min_delta: float = Field(
        0.0, ge=0, description="Rise of the metric that early stopping ignores, in the metric's unit."
    )
    image_every: int = Field(
        500,
        ge=0,
        description="Steps between images of the training's predictions or samples, in the run folder. 0: never.",
    )
    log_every: int = Field(10, ge=1, description="Steps between lines in metrics.jsonl.")
    monitor_every: int = Field(
        50, ge=0, description="Steps between the measurements that `vidpred doctor` reads. 0: never."
    )
    profile: bool = Field(
        False,
        description="Whether to measure where the time goes: profile.json in the run folder gets the seconds of every "
        "stage of the training and the most expensive operations of three steps, profile_trace.json.gz these "
        "operations in order, for trace viewers such as Perfetto. On a GPU this costs speed.",
    )
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = Field(
        (),
        description="Experiment trackers that receive losses, validation metrics, images and predicted videos, as in "
        "[tensorboard, wandb]. Each is an extra of that name.",
    )
    peer_timeout_seconds: float = Field(
        1800.0,
        gt=0,
        le=MOST_SECONDS,
        description="Seconds that a process waits for the others before the run ends with exit code 6. Others wait "
        "while the main process scans the data and validates.",
    )
    init_from: str | None = Field(
        None,
        description="Run or checkpoint folder to take the initial weights from; `pretrained`: the weights that come "
        "with the package (motion.yaml).",
    )

    _home = field_validator("init_from")(with_home)

    @field_validator("trackers", mode="before")
    @classmethod
    def _one_tracker(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_early_stopping(self) -> Self:
        if self.early_stopping_patience is not None and not self.validate_every:
            raise ValueError("early_stopping_patience: there are no validations; set training.validate_every=500")
        if self.early_stopping_patience is not None and self.best_by == "last":
            raise ValueError("early_stopping_patience: best_by=last is no metric; set training.best_by=psnr_moving")
        return self


class CheckpointSettings(Settings):
    """Settings of the run folder's checkpoints."""

    every: int = Field(500, ge=1, description="Steps between checkpoints. The last step is always saved.")
    keep: int = Field(2, ge=1, description="Number of newest checkpoints to keep, in addition to the best one.")
