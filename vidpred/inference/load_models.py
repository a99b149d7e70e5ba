"""Models of several runs and of the user's own generators, for commands that compare them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import nn

from vidpred.checkpoint import find_checkpoint
from vidpred.data.build import trained_clips
from vidpred.data.recorded_splits import has_recorded_splits, warn_if_unrecorded, with_root
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError, counted, printable
from vidpred.inference.own_generator import import_generator, own_predictor
from vidpred.inference.predictor import Predictor, Run, choose_device, read_sections

FRAME_KEYS = ("channels", "frame_skip", "video_settings.fps")  # settings that choose the frames of a video
Data = str | Path | Mapping[str, Any]


def load_predictors(
    runs: Sequence[Path],
    checkpoint: str = "best",
    device: str = "auto",
    sharpness: float | None = None,
    generators: Sequence[str] = (),
    context_frames: int | None = None,
    data: DataSettings | None = None,
    models: Sequence[str] = (),
) -> list[Predictor]:
    """Load several runs, shared models and own generators onto one device. Errors name the options.

    Args:
        runs: Run or checkpoint folders, or names; see `Predictor.load`.
        checkpoint: Checkpoint of the runs.
        device: Where to load them.
        sharpness: See `Predictor.set_sharpness`.
        generators: Own generators as package.module:NAME, see `import_generator`. One with which a run was trained
            gets the weights of that run.
        context_frames: For own generators without such an attribute; None: that of the first run.
        data: Settings of the frames for own generators; None: those of the first run.
        models: Names, folders or repositories of the Hub, with @REVISION, see `Predictor.from_pretrained`.

    Raises:
        ConfigError, StorageError: A model cannot be loaded.
    """
    place = choose_device(device, "--device ")
    modules = {name: import_generator(name) for name in generators}
    predictors = []
    for run in runs:
        trained = own_generator_of(run, checkpoint)
        name = next((name for name, module in modules.items() if type(module).__qualname__ == trained), None)
        module = modules.pop(name) if name is not None else None
        predictors.append(Predictor.load(run, checkpoint, device, module if isinstance(module, nn.Module) else None))
    for model in models:
        name, _, revision = model.partition("@")
        predictors.append(Predictor.from_pretrained(name, revision or None, checkpoint, device))
    first = predictors[0].data if predictors else None
    base, context_frames = data or first, context_frames or (first.context_frames if first else None)
    predictors += [own_predictor(module, context_frames, base, name) for name, module in modules.items()]
    for predictor in predictors:
        predictor.generator.to(place)
        if sharpness is not None:
            predictor.set_sharpness(sharpness)
    return predictors


def own_data(
    runs: Sequence[str | Path], generators: Sequence[str], root: str | None, size: int | None
) -> DataSettings | None:
    """Return the data settings for own generators without runs; None: those of the first run.

    Raises:
        ConfigError: There is no model, or own generators have no data.
    """
    if not runs and not generators:
        raise ConfigError("no model; give a run, --model NAME or --generator package.module:NAME (see --help)")
    if runs:
        return None
    if root is None:
        raise ConfigError("own generators have no data; give a folder of videos: --data FOLDER")
    return DataSettings(root=root, size=size)


def own_generator_of(run: Path, checkpoint: str) -> str | None:
    """Return the class of the custom generator that a run was trained with; None for a generator of the settings."""
    return find_checkpoint(run, checkpoint).state.get("own_generator")


def as_predictors(models: Any, data: Data | None = None) -> list[Predictor]:
    """Return predictors of models of any kind, with the data that is given.

    Args:
        models: A predictor, a run's folder or name, a finished training or an own generator; or several of these, in a
            list or by name.
        data: A folder of videos, a prepared data set, or settings of the section `data` that replace those of the runs;
            None: those of the runs. Own generators take those of the first run.

    Raises:
        ConfigError: A setting is wrong, or an own generator has no data or no number of context frames.
        StorageError: A run cannot be loaded.
    """
    changes: dict[str, Any] = dict(data) if isinstance(data, Mapping) else {} if data is None else {"root": str(data)}
    loaded = [(name, _loaded(model)) for name, model in _named(models)]
    first = next((model.data for _, model in loaded if isinstance(model, Predictor)), None)
    if first is None and "root" not in changes:
        raise ConfigError("own generators have no data; give a folder of videos: --data FOLDER")
    found = []
    for name, model in loaded:
        if isinstance(model, Predictor):
            own = _changed(model.data, changes)
            same = own is model.data and name in (None, model.name)
            found.append(model if same else Predictor(
                model.generator, own, name or model.name, model.step, model.classes, model.checkpoint
            ))  # fmt: skip
        else:
            context_frames = changes.get("context_frames", first.context_frames if first else None)
            found.append(own_predictor(model, context_frames, _changed(first or DataSettings(), changes), name))
    return found


@contextmanager
def evaluation_mode(models: Any) -> Iterator[None]:
    """Set modules among models (see `as_predictors`) to evaluation mode within a block, for callers that train them."""
    parts = [model.generator if isinstance(model, Predictor) else model for _, model in _named(models)]
    training = [part for model in parts if isinstance(model, nn.Module) for part in model.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _named(models: Any) -> list[tuple[str | None, Any]]:
    """Return models, one or several in a list or by name, with their names."""
    if isinstance(models, Mapping):
        return list(models.items())
    return [(None, model) for model in (models if isinstance(models, list | tuple) else [models])]


def warn_without_splits(predictor: Predictor) -> None:
    """Warn if a model is measured on the data of its run, which stores no splits of them. Raises StorageError."""
    if predictor.checkpoint is not None and predictor.data.root is not None:
        trained, _ = read_sections(predictor.checkpoint)
        if trained.root == predictor.data.root:
            warn_if_unrecorded(predictor.data, predictor.name)


def _loaded(model: Any) -> Any:
    """Load a run by its folder or name, or a finished training; return other models unchanged."""
    if isinstance(model, Run):
        return model.predictor()
    return Predictor.load(model) if isinstance(model, str | Path) else model


def _changed(settings: DataSettings, changes: Mapping[str, Any]) -> DataSettings:
    """Return the settings with changes. Raises ConfigError."""
    if not changes:
        return settings
    moved = with_root(settings, changes.get("root"))
    try:
        found = DataSettings.model_validate({**moved.model_dump(), **changes})
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(["data", *map(str, problem["loc"])])
        raise ConfigError(f"[{key}] {problem['msg']}, got {problem.get('input')!r}") from None
    rate, own = (one.video_settings.fps for one in (found, settings))
    if rate != own and has_recorded_splits(found):
        raise ConfigError(
            f"the splits that the run stores count frames at another rate [data.video.fps={rate}, the run's is {own}]; "
            "remove it, or give other data"
        )
    return found


def check_same_data(predictors: Sequence[Predictor], mend: str, keys: Sequence[str] = FRAME_KEYS) -> None:
    """Check that runs have the same data settings. Raises ConfigError, whose message ends with `mend`."""
    for key in keys:
        found: dict[str, list[str]] = {}
        for name, predictor in by_name(predictors).items():
            value = attrgetter(key)(predictor.data)
            found.setdefault("null" if value is None else str(value), []).append(name)
        if len(found) > 1:
            values = "; ".join(f"{', '.join(names)}: {value}" for value, names in found.items())
            raise ConfigError(f"the runs differ [data.{key.replace('_settings', '')}] ({values}); {mend}")


def refuse_trained(predictors: Sequence[Predictor], data: DataSettings, split: str) -> None:
    """Check that no run was trained on other data than its own that is measured, by its content. Raises ConfigError."""
    for predictor in predictors:
        seen = sorted(trained_clips(predictor.data, data, split))
        if seen:
            named = ", ".join(map(printable, seen[:3]))
            parts = counted(len(seen), "clip" if data.context_frames else "image")
            raise ConfigError(
                f"{predictor.name} was trained on {parts} of the {split} split [{data.root}]: "
                f"{named}; remove them, or give the folder that it was trained on, whose splits it stores"
            )


def by_name(predictors: Sequence[Predictor]) -> dict[str, Predictor]:
    """Return the predictors by name, in order; if any two names are equal, all are numbered: a (1), a (2), b (3)."""
    names = [predictor.name for predictor in predictors]
    if len(set(names)) < len(names):
        names = [f"{name} ({place})" for place, name in enumerate(names, 1)]
    return dict(zip(names, predictors, strict=True))
