"""The JSON files of a run as models, which check the types of untrusted files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from vidpred.files import read_json

MOST_JSON_BYTES = 64 << 20


class Record(BaseModel):
    """The base: types are not converted, numbers are finite, and unknown entries are kept."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, protected_namespaces=())

    @classmethod
    def read(cls, file: Path) -> Self:
        """Return the content of a file. Raises OSError, or ValueError for other types or values."""
        try:
            return cls.model_validate(read_json(file, MOST_JSON_BYTES))
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(map(str, problem["loc"]))[:40]
            raise ValueError(f"wrong types or values ({field or 'not a mapping'})") from None


def _none_if_empty(value: Any) -> Any:
    return None if value == {} and isinstance(value, dict) else value


def _valid_bounds(bounds: list[list[float]]) -> list[list[float]]:
    low, high = bounds
    if len(low) != len(high) or any(least > most for least, most in zip(low, high, strict=True)):
        raise ValueError("wrong bounds")
    return bounds


Steps = Annotated[int, Field(ge=0, lt=1 << 62)]
Positive = Annotated[float, Field(gt=0)]
Bounds = Annotated[list[list[float]], Field(min_length=2, max_length=2)]
Size = Annotated[int, Field(gt=0, lt=1 << 31)]


class Mark(Record):
    """The metric of a best checkpoint."""

    metric: str = ""
    value: float


class BestRecord(Mark):
    """The content of best.json."""

    step: Steps


class ScheduleState(Record):
    """See `training.optimizers.Schedule`."""

    steps: Annotated[Steps, Field(ge=1)] = 1
    limits: dict[str, float] = {}
    growth: float = 0.0


class StoppingState(Record):
    """See `training.early_stopping.EarlyStopping`."""

    best: float | None
    best_step: Steps
    waited: Steps


class ScalerState(Record):
    """The state of a torch.amp.GradScaler."""

    scale: Positive
    growth_factor: Positive
    backoff_factor: Positive
    growth_interval: Size
    growth_tracker: Steps = Field(alias="_growth_tracker")


class CheckpointState(Record):
    """The content of state.json; null stands for an absent entry."""

    step: Steps
    best: Mark = Mark(value=0.0)
    own_generator: str | None = None
    processes: Steps | None = None
    classes: list[str] | None = None
    action_names: list[str] | None = None
    frame_size: Annotated[list[Size], Field(min_length=2, max_length=2)] | None = None
    action_bounds: Annotated[Bounds, AfterValidator(_valid_bounds)] | None = None
    schedule: ScheduleState | None = None
    early_stopping: Annotated[StoppingState | None, BeforeValidator(_none_if_empty)] = None
    scalers: dict[str, ScalerState] | None = None
    data: str | None = None
    credits: str | None = None

    @model_validator(mode="after")
    def _names_of_all_actions(self) -> Self:
        if self.action_bounds and self.action_names and len(self.action_names) != len(self.action_bounds[0]):
            raise ValueError("another number of names than actions")
        return self


class FileRecord(Record):
    """A file in a manifest."""

    bytes: Steps
    sha256: str


class CheckpointManifest(Record):
    """The content of manifest.json."""

    files: dict[str, FileRecord]


class ExitRecord(Record):
    """The content of exit.json."""

    code: int
    message: str


class DivergenceRecord(Record):
    """The content of diverged-step-N-process-P.json."""

    step: Steps
    network: str
    gradient_norm: str
    losses: dict[str, str]
