"""Models as folders and on the Hugging Face Hub, without a network: its cache layout, and a stand-in for its API."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

import vidpred
from tests.command_line import run_vidpred
from tests.video_files import numbered_frames, write_video
from vidpred import Predictor
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError, StorageError
from vidpred.inference import hub
from vidpred.models.base import Generator
from vidpred.models.build import count_parameters

FRAMES = torch.rand(10, 3, 32, 32, generator=torch.Generator().manual_seed(0))
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return Predictor.load("pretrained").save_pretrained(tmp_path / "motion-small")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the Hub's client use a cache in a temporary folder, and never a network."""
    client = pytest.importorskip("huggingface_hub")
    original = client.snapshot_download

    def offline(name: str, **options: Any) -> str:
        return original(name, cache_dir=tmp_path / "cache", local_files_only=True, **options)  # type: ignore[no-any-return]

    monkeypatch.setattr(client, "snapshot_download", offline)
    return tmp_path / "cache"


def publish(cache: Path, folder: Path, name: str = "someone/small", revision: str = "main") -> None:
    """Put a folder into the cache as the Hub's client lays it out."""
    repository = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(folder, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / revision).write_text(COMMIT)


def test_a_saved_model_is_the_same_model(saved: Path) -> None:
    assert {file.name for file in saved.iterdir()} == {
        "README.md", "config.yaml", "ema.safetensors", "manifest.json", "state.json",
    }  # fmt: skip
    before, after = Predictor.load("pretrained"), Predictor.from_pretrained(saved)
    assert torch.equal(before.predict(FRAMES, 3), after.predict(FRAMES, 3))
    assert (after.name, after.step) == ("motion-small", before.step)
    assert torch.equal(Predictor.from_pretrained("pretrained").predict(FRAMES, 2), before.predict(FRAMES, 2))


def test_saving_again_replaces_only_a_model(saved: Path, tmp_path: Path) -> None:
    (saved / "README.md").write_text("edited")
    assert Predictor.from_pretrained(saved).step > 0, "the card may be edited"
    Predictor.load("pretrained").save_pretrained(saved)
    assert (saved / "README.md").read_text() != "edited"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("precious")
    with pytest.raises(StorageError, match="holds other files"):
        Predictor.load("pretrained").save_pretrained(tmp_path / "other")
    assert (tmp_path / "other" / "thesis.tex").read_text() == "precious"


def test_settings_are_shared_without_paths() -> None:
    config = {
        "run": "/home/me/runs/mine", "data": {"root": "/home/me/clips", "split_file": "/home/me/s.csv", "size": 64},
        "training": {"init_from": "/home/me/runs/other", "steps": 3},
    }  # fmt: skip
    assert hub.without_paths(config) == {
        "run": "mine", "data": {"root": "clips", "split_file": None, "size": 64},
        "training": {"init_from": None, "steps": 3},
    }  # fmt: skip
    assert config["run"] == "/home/me/runs/mine", "the original stays as it is"


@pytest.mark.slow
def test_the_card_has_data_settings_metrics_and_definitions(tmp_path: Path) -> None:
    for number in range(5):
        frames = np.ascontiguousarray(numbered_frames(30, 72, 64, first=number * 30)[:, 24:])
        write_video(tmp_path / "clips" / f"{number}.mp4", frames)
    predictor = Predictor.load("pretrained")
    result = vidpred.evaluate(predictor, data=tmp_path / "clips", num_frames=2, windows=2)
    folder = predictor.save_pretrained(tmp_path / "model", result.to_json())
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: vidpred\n")
    for words in (
        f"{count_parameters(predictor.generator):,} parameters",
        "Big Buck Bunny",
        "# model\n",
        'from_pretrained("path/to/model")',
        "--model path/to/model ",
        "name: motion",
        "context_frames: 10",
    ):
        assert words in card
    psnr = result.scores["pretrained"].overall["psnr"]
    for step in (1, 2):
        table = card[card.index(f"| frame t+{step} |") :]
        assert f"| pretrained | {psnr[step - 1].mean:.4g} ± " in table
        assert "| copy last | " in table
    assert "2 windows of the test split of `clips`" in card
    assert "- `psnr`: peak signal-to-noise ratio in dB" in card
    assert str(tmp_path) not in card
    assert json.loads((folder / "metrics.json").read_text())["definitions"]
    assert Predictor.from_pretrained(folder).step == predictor.step
    settings = yaml.safe_load(card[card.index("```yaml") + 7 : card.rindex("```")])
    assert settings == yaml.safe_load((folder / "config.yaml").read_text())
    with pytest.raises(ConfigError, match=r"cannot read the metrics \[absent.json\]"):
        predictor.save_pretrained(tmp_path / "model", "absent.json")


def test_the_examples_of_the_card_load_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in the folder where the model was saved; its name has a space."""
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "clip.mp4", numbered_frames(20, 32, 48))
    card = (Predictor.load("pretrained").save_pretrained("shared/my model") / "README.md").read_text()
    assert "\n# my model\n" in card
    names: dict[str, Any] = {}
    exec(card.partition("```python\n")[2].partition("```")[0], names)
    assert names["prediction"].shape == (8, 3, 160, 240)
    line = card.partition("```bash\n")[2].partition("\n")[0]
    assert run_vidpred(*shlex.split(line)[1:], "--start", 12, "--frames", 2) == 0


class Gain(nn.Module):
    """A generator of the user with one parameter."""

    context_frames = 2

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, context: Tensor) -> Tensor:
        return context[:, -1:] * self.factor


def test_an_own_generator_is_shared_too(tmp_path: Path) -> None:
    predictor = Predictor(Gain(0.5), DataSettings(context_frames=2), "mine")
    folder = predictor.save_pretrained(tmp_path / "gain")
    assert "`Gain`" in (folder / "README.md").read_text()
    with pytest.raises(StorageError, match="custom generator, Gain"):
        Predictor.from_pretrained(folder)
    again = Predictor.from_pretrained(folder, generator=Gain())
    assert torch.equal(again.predict(FRAMES, 2), predictor.predict(FRAMES, 2))


class Wrapping(Generator):
    """A generator of the user that calls its submodule `module`."""

    context_frames = 2

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Identity()

    def forward(self, context: Tensor) -> Tensor:
        found: Tensor = self.module(context[:, -1:])
        return found


def test_a_generator_is_named_by_its_own_class(tmp_path: Path) -> None:
    predictor = Predictor(Wrapping(), DataSettings(context_frames=2), "mine")
    assert "`Wrapping`" in (predictor.save_pretrained(tmp_path / "wrapping") / "README.md").read_text()


@pytest.mark.slow
def test_a_model_of_the_hub(saved: Path, cache: Path) -> None:
    publish(cache, saved)
    predictor = Predictor.from_pretrained("someone/small")
    assert predictor.name == "small"
    assert torch.equal(predictor.predict(FRAMES, 2), Predictor.load("pretrained").predict(FRAMES, 2))
    assert Predictor.from_pretrained("someone/small", revision=COMMIT).step == predictor.step
    with pytest.raises(StorageError, match=r"not in the cache.*\[someone/small@v2\]; check the name"):
        Predictor.from_pretrained("someone/small", revision="v2")
    with pytest.raises(StorageError, match=r"no such model \[typo\]; give pretrained, a folder"):
        Predictor.from_pretrained("typo")
    with pytest.raises(ConfigError, match="is for models of the Hugging Face Hub"):
        Predictor.from_pretrained("pretrained", revision="v2")


def test_a_damaged_or_foreign_model_of_the_hub(saved: Path, cache: Path, tmp_path: Path) -> None:
    weights = saved / "ema.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    publish(cache, saved)
    with pytest.raises(StorageError, match="damaged checkpoint .*sha256 differs"):
        Predictor.from_pretrained("someone/small")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "model.safetensors").touch()
    publish(cache, tmp_path / "foreign", "someone/foreign")
    with pytest.raises(StorageError, match="not a model that vidpred saved"):
        Predictor.from_pretrained("someone/foreign")


@pytest.mark.slow
def test_predict_by_name_folder_and_repository(
    saved: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(cache, saved)
    clip = write_video(tmp_path / "clip.mp4", numbered_frames(14, 48, 64))
    models = ("pretrained", str(saved), "someone/small", f"someone/small@{COMMIT}")
    for number, model in enumerate(models):
        words = ("--model", model, "--frames", 2, "--size", 48, "-o", tmp_path / f"{number}.npy")
        assert run_vidpred("predict", clip, *words) == 0
    arrays = [np.load(tmp_path / f"{number}.npy") for number in range(len(models))]
    assert all(np.array_equal(array, arrays[0]) for array in arrays)
    assert run_vidpred("predict", clip, "--run", "someone/small", "-o", tmp_path / "a.npy") == 4
    assert "no such run folder [someone/small]" in capsys.readouterr().err, "--run never asks a network"
    assert run_vidpred("predict", clip, "--model", "someone/absent", "-o", tmp_path / "a.npy") == 4
    assert "[someone/absent]; check the name, or the connection" in capsys.readouterr().err


class FakeApi:
    """Keeps what would be uploaded."""

    def __init__(self, cache: Path) -> None:
        self.cache, self.calls = cache, []

    def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> str:
        self.calls.append(("create", name, private, exist_ok))
        return f"https://example.org/{name}"

    def create_branch(self, name: str, *, branch: str, exist_ok: bool) -> None:
        self.calls.append(("branch", name, branch, exist_ok))

    def upload_folder(self, *, repo_id: str, folder_path: str, revision: str | None, **_: object) -> None:
        publish(self.cache, Path(folder_path), repo_id, revision or "main")


def test_push_and_load_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    api = FakeApi(cache)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api)
    predictor = Predictor.load("pretrained")
    assert predictor.push_to_hub("someone/shared", revision="v1", private=True) == "https://example.org/someone/shared"
    assert api.calls == [("create", "someone/shared", True, True), ("branch", "someone/shared", "v1", True)]
    loaded = Predictor.from_pretrained("someone/shared", revision="v1")
    (card,) = cache.rglob("README.md")
    assert 'from_pretrained("someone/shared")' in card.read_text()
    assert torch.equal(loaded.predict(FRAMES, 2), predictor.predict(FRAMES, 2))
    with pytest.raises(ConfigError, match=r"not the name of a repository \[shared\]; write user/model"):
        predictor.push_to_hub("shared")
    monkeypatch.setattr(api, "create_repo", lambda *_, **__: (_ for _ in ()).throw(OSError("401 no token")))
    with pytest.raises(StorageError, match=r"401 no token\).*hf auth login\), or check the connection"):
        predictor.push_to_hub("someone/shared")


def test_the_hub_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[hub\]'"):
        Predictor.from_pretrained("someone/small")
