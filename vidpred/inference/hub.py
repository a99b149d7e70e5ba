"""Models as folders to share, with a model card, and the Hugging Face Hub. No file contains a pickle."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from vidpred.checkpoint import (
    CONFIG,
    MANIFEST,
    PRETRAINED,
    Checkpoint,
    is_pretrained,
    read_config,
    save_tensors,
    write_manifest,
)
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError, StorageError, install_extra, one_line
from vidpred.files import atomic_write, read_bytes
from vidpred.inference.model_card import model_card
from vidpred.models.base import AdaptedGenerator, Generator
from vidpred.models.build import GENERATORS, count_parameters
from vidpred.settings import dump_yaml

FILES = ("*.safetensors", "*.json", "*.yaml", "README.md")
REASONS = {  # kind of error -> what it means
    "RepositoryNotFoundError": "no such repository, or it is private",
    "RevisionNotFoundError": "no such revision",
    "LocalEntryNotFoundError": "it is not in the cache, and the Hub cannot be reached",
    "OfflineModeIsEnabled": "it is not in the cache, and offline mode is set",
}
DATA_STATE = ("frame_size", "action_bounds", "action_names")  # entries of state.json about the training data
SHARED_STATE = ("own_generator", "data", "credits", *DATA_STATE)
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Paths of a machine -> whether their last part is kept.
PERSONAL = {("run",): True, ("data", "root"): True, ("data", "split_file"): False, ("training", "init_from"): False}


def download(name: str, revision: str | None = None) -> Path:
    """Download a model from the Hub, unless it is cached, and return its folder.

    Args:
        name: Repository, as in "user/model".
        revision: Branch, tag or commit; None: the main branch.

    Raises:
        ConfigError: huggingface_hub is not installed.
        StorageError: There is no such model, or it cannot be downloaded.
    """
    hub = _hub()
    where = name if revision is None else f"{name}@{revision}"
    try:
        folder = Path(hub.snapshot_download(name, revision=revision, allow_patterns=list(FILES)))
    except Exception as error:  # HTTP clients and the Hub have many kinds
        reason = REASONS.get(type(error).__name__, f"{type(error).__name__}: {one_line(error)[:120]}")
        raise StorageError(
            f"no such folder, and not on the Hugging Face Hub ({reason}) [{where}]; check the name, or the connection"
        ) from None
    if not (folder / MANIFEST).is_file():
        raise StorageError(f"not a model that vidpred saved: no {MANIFEST} [{where}]; see Predictor.push_to_hub")
    return folder


def save(
    folder: Path,
    name: str,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    state: Mapping[str, Any],
    metrics: str | Path | Mapping[str, Any] | None,
) -> None:
    """Write a model: weights (safetensors), settings, state, metrics and the model card. Replace an earlier one.

    Args:
        folder: The folder.
        name: What to load it by: a relative path or a repository.
        tensors: Its weights.
        config: Its settings, by section. Paths are left out.
        state: The entries of state.json, at least "step" and "parameters".
        metrics: The content or the file of `vidpred evaluate --json`; None: none.

    Raises:
        StorageError: The folder holds other files, or cannot be written.
        ConfigError: The metrics cannot be read.
    """
    if folder.exists() and not (folder.is_dir() and (not any(folder.iterdir()) or (folder / MANIFEST).is_file())):
        raise StorageError(f"the folder holds other files [{folder}]; choose another")
    shared = without_paths(config)
    measured = _read_metrics(metrics)
    with atomic_write(folder, durable=True) as temporary:
        temporary.mkdir()
        save_tensors(tensors, temporary / "ema.safetensors")
        (temporary / CONFIG).write_text(dump_yaml(shared, sort_keys=False), encoding="utf-8")
        (temporary / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
        if measured:
            (temporary / "metrics.json").write_text(json.dumps(measured, indent=1), encoding="utf-8")
        write_manifest(temporary, state["step"])
        card = model_card(name, config, shared, state, measured)
        (temporary / "README.md").write_text(card, encoding="utf-8")  # not in the manifest, so that it can be edited


def upload(folder: Path, name: str, private: bool, revision: str | None) -> str:
    """Upload a folder that `save` wrote; return its address.

    Args:
        folder: The folder.
        name: Repository, user/model; created if absent.
        private: Whether a new repository is private.
        revision: Branch, created if absent; None: the main branch.

    Raises:
        ConfigError: huggingface_hub is not installed, or the name is not of the form user/model.
        StorageError: The upload failed.
    """
    hub = _hub()
    if not REPOSITORY.fullmatch(name):
        raise ConfigError(f"not the name of a repository [{name}]; write user/model")
    try:
        api = hub.HfApi()
        address = api.create_repo(name, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        api.upload_folder(
            repo_id=name, folder_path=str(folder), revision=revision, allow_patterns=list(FILES),
            commit_message="Upload a vidpred model",
        )  # fmt: skip
    except Exception as error:
        reason = f"{type(error).__name__}: {one_line(error)[:120]}"
        raise StorageError(
            f"cannot upload ({reason}) [{name}]; log in (hf auth login), or check the connection"
        ) from None
    return str(address)


def without_paths(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the settings whose paths of this machine are None or the file's name."""
    shared: dict[str, Any] = json.loads(json.dumps(config))
    for (*sections, key), kept in PERSONAL.items():
        section = shared
        for part in sections:
            section = section.get(part) or {}
        if section.get(key):
            section[key] = Path(section[key]).name if kept else None
    return shared


def _read_metrics(metrics: str | Path | Mapping[str, Any] | None) -> dict[str, Any] | None:
    if metrics is None:
        return None
    try:
        text = json.dumps(metrics) if isinstance(metrics, Mapping) else read_bytes(Path(metrics)).decode()
        content: dict[str, Any] = json.loads(text)
        content["definitions"].items()
        if "data" in content:
            content["data"] = Path(content["data"]).name
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        where = "metrics=" if isinstance(metrics, Mapping) else metrics
        raise ConfigError(f"cannot read the metrics [{where}]; write them with vidpred evaluate --json") from None
    return content


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise ConfigError(f"the Hugging Face Hub needs a package; {install_extra('hub')}") from None
    return huggingface_hub


class SharedModel:
    """A model that can be saved with a model card, and shared on the Hugging Face Hub."""

    generator: Generator
    data: DataSettings
    name: str
    step: int
    classes: list[str]
    checkpoint: Checkpoint | None

    @classmethod
    def load(
        cls, path: str | Path, checkpoint: str = "best", device: str = "auto", generator: nn.Module | None = None
    ) -> Self:
        """Load a model from a run folder or a checkpoint folder; for the arguments see `Predictor.load`."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        revision: str | None = None,
        checkpoint: str = "best",
        device: str = "auto",
        generator: nn.Module | None = None,
    ) -> Self:
        """Load shipped weights, a folder, or a model of the Hugging Face Hub, which is downloaded once.

        Args:
            name: Weights of the package ("pretrained", "pretrained:NAME"), a run folder, a folder of `save_pretrained`,
                or a repository of the Hub, as in "user/model".
            revision: Branch, tag or commit of the repository; None: the main branch.
            checkpoint: Checkpoint of a run folder; see `load`.
            device: See `load`.
            generator: The module that the model was trained with, if it was not built from settings.

        Raises:
            StorageError: There is no such model, or it is damaged.
            ConfigError: huggingface_hub is not installed, or a revision is given for a folder.
        """
        known = Path(name).exists() or is_pretrained(name)
        if known and revision is not None:
            raise ConfigError(f"[revision={revision}] is for models of the Hugging Face Hub; {name} is here")
        if not known and REPOSITORY.fullmatch(str(name)) is None:
            raise StorageError(f"no such model [{name}]; give {PRETRAINED}, a folder, or a repository as user/model")
        loaded = cls.load(name if known else download(str(name), revision), checkpoint, device, generator)
        loaded.name = Path(name).name
        return loaded

    def save_pretrained(self, folder: str | Path, metrics: str | Path | Mapping[str, Any] | None = None) -> Path:
        """Save the model to share it: weights, settings without paths, and a model card (README.md).

        Args:
            folder: A new or empty folder, or one that this method wrote.
            metrics: Numbers for the card: the file that `vidpred evaluate --json` wrote, or `to_json()` of the
                result of `vidpred.evaluate`. None: the card has none.

        Returns:
            The folder.

        Raises:
            StorageError: The folder holds other files, or cannot be written.
            ConfigError: The metrics cannot be read.
        """
        folder = Path(folder)
        place = Path("path/to", folder.name) if folder.is_absolute() else folder  # the card has no path of this machine
        return self._save(folder, place.as_posix(), metrics)

    def _save(self, folder: Path, name: str, metrics: str | Path | Mapping[str, Any] | None) -> Path:
        if self.checkpoint is not None:
            config = read_config(self.checkpoint.path, dict)
            stored = {key: value for key, value in self.checkpoint.state.items() if key in SHARED_STATE}
        else:
            default = {"name": next(iter(GENERATORS))}  # which a custom generator does not use
            config = {"data": self.data.model_dump(mode="json"), "model": default}
            own = self.generator.module if isinstance(self.generator, AdaptedGenerator) else self.generator
            stored = {"own_generator": type(own).__qualname__}
        state = {**stored, "step": self.step, "classes": self.classes, "parameters": count_parameters(self.generator)}
        save(folder, name, self.generator.state_dict(), config, state, metrics)
        return folder

    def push_to_hub(
        self,
        name: str,
        metrics: str | Path | Mapping[str, Any] | None = None,
        private: bool = False,
        revision: str | None = None,
    ) -> str:
        """Upload the model, as `save_pretrained` writes it, to the Hugging Face Hub.

        Args:
            name: The repository, as in "user/model"; it is created if it does not exist.
            metrics: See `save_pretrained`.
            private: Whether a new repository is private.
            revision: The branch; None: the main branch.

        Returns:
            The repository's address.

        Raises:
            ConfigError: huggingface_hub is not installed, or the name is wrong.
            StorageError: The upload failed.
        """
        with tempfile.TemporaryDirectory() as temporary:
            folder = self._save(Path(temporary) / "model", name, metrics)
            return upload(folder, name, private, revision)
