"""The whole configuration: the sections composed, loaded from a YAML preset and dotted overrides."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.models.build import DISCRIMINATORS, GENERATORS, AnyJudge, AnyModel
from vidpred.models.discriminators import DiscriminatorSettings
from vidpred.models.multiscale import GeneratorSettings
from vidpred.models.settings import JudgeSettings, ModelSettings
from vidpred.settings import Settings, flatten
from vidpred.training.objectives import ObjectiveSettings
from vidpred.training.settings import CheckpointSettings, TrainingSettings

# Sections that are one of several kinds, chosen by their name.
CHOICES: dict[str, Mapping[str, Any]] = {"model": GENERATORS, "discriminator": DISCRIMINATORS}


class Config(Settings):
    """Everything that a run is made of. `vidpred config PRESET` prints it with the origin of every value."""

    seed: int = Field(0, ge=0)
    run: str = "runs/default"
    data: DataSettings = DataSettings()
    model: AnyModel = GeneratorSettings()
    discriminator: AnyJudge = DiscriminatorSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    training: TrainingSettings = TrainingSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        weights = self.objective
        reconstruction = (weights.lp_weight, weights.gdl_weight, weights.log_weight, weights.pixel_entropy_weight)
        if not any(reconstruction) and not self.model.fitted:
            if not weights.has_discriminator:
                raise ValueError("objective: all weights are 0; set objective.lp_weight=1")
            if weights.adversarial_start and not weights.feature_matching_weight:
                raise ValueError("objective.adversarial_start: nothing is learnt before it; set objective.lp_weight=1")
        if weights.has_discriminator and self.data.patch_size is None:
            raise ValueError("data.patch_size: an adversary judges square patches; set data.patch_size=32")
        if weights.draws > 1 and not self.model.noise_channels:
            raise ValueError(
                "objective.draws: without noise all draws are the same; set model.noise_channels=1 or objective.draws=1"
            )
        if weights.wrong_pairs and self.training.batch_size < 2:
            raise ValueError("objective.wrong_pairs: needs training.batch_size of 2 or more")
        return self

    @model_validator(mode="after")
    def _frames(self) -> Self:
        networks: dict[str, ModelSettings | JudgeSettings] = {"model": self.model}
        if self.objective.has_discriminator:
            networks["discriminator"] = self.discriminator
        for section, network in networks.items():
            if network.needs_frames and not self.data.context_frames:
                others = [name for name, kind in CHOICES[section].items() if not kind.needs_frames]
                raise ValueError(
                    f"{section}.name: {network.name} needs known frames; set data.context_frames=4, or "
                    f"{section}.name={'|'.join(others)} for pictures from noise"
                )
            if not network.needs_frames and self.data.context_frames:
                raise ValueError(
                    f"data.context_frames: {section}.name={network.name} knows no frames; set data.context_frames=0"
                )
        if self.objective.kl_weight and not self.model.has_encoder:
            raise ValueError("objective.kl_weight: only an encoder's code costs something; set model.name=vae")
        if self.objective.class_weight and not getattr(self.discriminator, "classes", 0):
            raise ValueError("objective.class_weight: the discriminator has no classes; set discriminator.classes")
        if self.model.state_size and self.data.flip:
            raise ValueError("data.flip: mirrored frames would contradict the states (model.state_size); set false")
        if not self.data.context_frames and max(self.data.pred_frames, self.data.step, self.data.unroll) > 1:
            raise ValueError("data.context_frames: 0 needs data.pred_frames=1, data.step=1 and data.unroll=1")
        return self


@dataclass(frozen=True)
class LoadedConfig:
    """A config with the origin of each value: dotted key -> "default", "FILE:LINE" or "command line"."""

    config: Config
    origins: dict[str, str]


def load_config(path: str | Path | None = None, overrides: Mapping[str, Any] | Iterable[str] = ()) -> Config:
    """Read a preset (by name) or a YAML file (by path) and apply overrides.

    path: "ucf101.yaml" finds the shipped preset unless a file of that name lies here. None: the defaults.
    overrides: a mapping of dotted keys, or strings "key=value" whose values are read as YAML, but for paths (data.root,
    run, ...), which are taken as they stand.
    Raises ConfigError naming file, key and the nearest valid name.
    """
    return load_with_origins(path, overrides).config


def load_with_origins(path: str | Path | None, overrides: Mapping[str, Any] | Iterable[str] = ()) -> LoadedConfig:
    """`load_config`, and where each value came from."""
    tree: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if path is not None:
        file = find_preset(path)
        tree = read_yaml(file, origins)
    for key, value in _parse_overrides(overrides):
        # A mapping sets what it names and leaves the rest of its section as it was.
        for leaf, inner in flatten(value, f"{key}.") if isinstance(value, Mapping) else [(key, value)]:
            _check_key(leaf, "command line")
            _assign(tree, leaf, inner)
            origins[leaf] = "command line"
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error, origins, path)) from None
    return LoadedConfig(config, {key: origins.get(key, "default") for key, _ in flatten(config.model_dump())})


def preset_folder() -> Path:
    """Where the shipped presets lie: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).parent / "configs"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "configs"


def find_preset(path: str | Path) -> Path:
    """A file by path, else a shipped preset by name (with or without .yaml). Raises ConfigError."""
    file = Path(path)
    if file.is_file():
        return file
    presets = {preset.name: preset for preset in sorted(preset_folder().glob("*.yaml"))}
    if file.parent == Path("."):
        for name in (file.name, f"{file.name}.yaml"):
            if name in presets:
                return presets[name]
    near = difflib.get_close_matches(file.name, presets, 1, 0.5)
    hint = f"; did you mean {near[0]}?" if near else f"; presets: {', '.join(presets)}"
    raise ConfigError(f"no such config file or preset [{path}]{hint}")


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML 1.1 without its silent surprises: a key given twice is refused, 1e-4 is a number."""


def _construct_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"duplicate key '{key}'", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)
# YAML 1.1 reads 1e-4 (no point) as a string.
_UniqueKeyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_yaml(file: Path, origins: dict[str, str]) -> dict[str, Any]:
    """Read a mapping; notes "FILE:LINE" for every value in origins. Raises ConfigError with file and line."""
    try:
        text = file.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=_UniqueKeyLoader)
        tree = yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else str(file)
        problem = getattr(error, "problem", None) or "no valid YAML"
        raise ConfigError(f"{problem} [{where}]; mend the line") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the config [{file}]: {error}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"a config is a mapping of keys to values [{file}]; see `vidpred config`")
    _note_lines(node, "", file.name, origins)
    for key in origins:
        _check_key(key, origins[key])
    return tree


def _note_lines(node: yaml.Node | None, prefix: str, name: str, origins: dict[str, str]) -> None:
    if isinstance(node, yaml.MappingNode) and node.value:
        for key, value in node.value:
            _note_lines(value, f"{prefix}.{key.value}".lstrip("."), name, origins)
    elif prefix and node is not None:
        origins[prefix] = f"{name}:{node.start_mark.line + 1}"


def _parse_overrides(overrides: Mapping[str, Any] | Iterable[str]) -> Iterable[tuple[str, Any]]:
    if isinstance(overrides, Mapping):
        yield from overrides.items()
        return
    for item in overrides:
        key, separator, text = item.partition("=")
        if not separator:
            raise ConfigError(f"an override is written key=value, as in training.steps=100 [{item}]")
        key = key.strip()
        _check_key(key, "command line")
        if not text.strip():
            raise ConfigError(f"an empty value [{item}]; if none is meant, write {key}=null")
        yield key, parse_text(text) if key in _text_keys(Config, "") else _parse_yaml(text, item)


def _parse_yaml(text: str, item: str) -> Any:
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.YAMLError:
        raise ConfigError(f"cannot read the value [{item}]; quote it as YAML") from None


def parse_text(text: str) -> str | None:
    """A path as it stands, whatever YAML would make of `clips #1` or 2024; null is none, quotes are taken off."""
    if text == "null":
        return None
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        value = _parse_yaml(text, text)
        return value if isinstance(value, str) else text
    return text


def _check_key(key: str, where: str) -> None:
    """Raises ConfigError unless the dotted key exists; names the nearest one."""
    known = _known_keys(Config, "")
    if key in known:
        return
    # The right name in the wrong section, or else a name spelled alike.
    near = [name for name in known if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    near = near or difflib.get_close_matches(key, known, 1, 0.5)
    hint = f"; did you mean {near[0]}?" if near else "; `vidpred config` lists the keys"
    raise ConfigError(f"unknown key [{key}] ({where}){hint}")


def _known_keys(section: type[BaseModel], prefix: str) -> list[str]:
    keys = []
    for name, field in section.model_fields.items():
        keys.append(prefix + name)
        for kind in sections_of(field.annotation):
            keys += _known_keys(kind, f"{prefix}{name}.")
    return list(dict.fromkeys(keys))


def sections_of(annotation: Any) -> list[type[BaseModel]]:
    """The settings classes that a field may hold: several where it is a choice, none where it is a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for part in get_args(annotation) for section in sections_of(part)]


def _text_keys(section: type[BaseModel], prefix: str) -> set[str]:
    """The dotted keys of settings that are free text: paths."""
    fields = section.model_fields
    keys = {prefix + name for name, field in fields.items() if field.annotation in (str, str | None)}
    for name, field in fields.items():
        for kind in sections_of(field.annotation):
            keys |= _text_keys(kind, f"{prefix}{name}.")
    return keys


def _assign(tree: dict[str, Any], key: str, value: Any) -> None:
    *sections, name = key.split(".")
    for section in sections:
        if not isinstance(tree.get(section), dict):
            tree[section] = {}
        tree = tree[section]
    tree[name] = value


def _explain(error: ValidationError, origins: dict[str, str], path: str | Path | None) -> str:
    """Pydantic's first complaint as one line: key, what was expected, what was given, where."""
    problem = error.errors()[0]
    # Locations may run on into lists and unions; the key is the part that the tree knows.
    parts = [str(part) for part in problem["loc"]]
    if problem["type"] == "union_tag_invalid":
        return _unknown_choice(parts[0], problem["ctx"]["tag"], origins, path)
    if len(parts) > 1 and parts[1] in CHOICES.get(parts[0], {}):
        del parts[1]  # which kind of section it is
    known = set(_known_keys(Config, ""))
    while parts and ".".join(parts) not in known:
        parts.pop()
    key = ".".join(parts)
    where = origins.get(key) or (str(path) if path else "defaults")
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    given = problem.get("input")
    if problem["type"] == "missing" and isinstance(given, list | tuple):  # every setting has a default: a short tuple
        message = f"{_length(parts)} values are wanted"
    shown = "" if isinstance(given, dict | BaseModel) else f", got {given!r}"
    return f"{f'[{key}] ' if key else ''}{message}{shown} ({where})"


def _unknown_choice(section: str, name: str, origins: dict[str, str], path: str | Path | None) -> str:
    where = origins.get(f"{section}.name") or str(path)
    near = difflib.get_close_matches(name, CHOICES[section], 1, 0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"[{section}.name] choose from {', '.join(CHOICES[section])}, got {name!r} ({where}){hint}"


def _length(parts: list[str]) -> int:
    """How many values the tuple at this key holds."""
    section: Any = Config
    for part in parts[:-1]:
        section = section.model_fields[part].annotation
    return len(get_args(section.model_fields[parts[-1]].annotation))


def as_yaml(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")


def to_yaml(config: Config) -> str:
    """The resolved config as YAML that `load_config` reads back to an equal config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=100)


def describe(loaded: LoadedConfig) -> str:
    """The resolved config, a line a value, with where it came from."""
    values = {key: as_yaml(value) for key, value in flatten(loaded.config.model_dump(mode="json"))}
    left = max(len(f"{key}: {value}") for key, value in values.items())
    return "\n".join(f"{f'{key}: {value}':<{left}}  # {loaded.origins[key]}" for key, value in values.items())
