"""The promise of CONTRIBUTING.md: a new generator is one file, one line of a table and one YAML."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter

from tests.image_files import SMALL, write_digits
from vidpred.checkpoint import find_checkpoint
from vidpred.config import Config, load_config
from vidpred.models import build
from vidpred.models.build import GENERATORS, tagged_union
from vidpred.run import train

SHOWN = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", SHOWN, re.DOTALL | re.MULTILINE))
BLOCKS, PACKAGE = (
    dict(re.findall(r"```(python|yaml|toml)\n(.*?)```", SECTIONS[title], re.DOTALL))
    for title in ("A new model", "A model in a separate package")
)


def test_one_file_one_line_one_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stripes.py").write_text(BLOCKS["python"])
    spec = importlib.util.spec_from_file_location("stripes", tmp_path / "stripes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["stripes"] = module
    spec.loader.exec_module(module)
    monkeypatch.setitem(GENERATORS, "stripes", module.StripesSettings)  # the table's line
    # The table is read at import: repeat what that did.
    kind = tagged_union(GENERATORS)

    class Wider(Config):
        model: kind = GENERATORS["multiscale"]()  # type: ignore[valid-type]

    monkeypatch.setattr("vidpred.config.load.Config", Wider)
    monkeypatch.setattr("vidpred.resume.Config", Wider)
    monkeypatch.setattr("vidpred.inference.predictor.AnyModel", kind)
    (tmp_path / "stripes.yaml").write_text(BLOCKS["yaml"])
    root = str(write_digits(tmp_path / "digits.npz"))
    config = load_config(tmp_path / "stripes.yaml", {**SMALL, "data.root": root, "run": str(tmp_path / "run")})
    run = train(config)
    assert find_checkpoint(run.folder).tensors("ema")["layers.0.weight"].shape == (6, 3)
    image = run.predictor().draw(torch.zeros(1, 3))[0, 0]
    assert torch.equal(image, image[:1].expand(8, -1)), "stripes"
    assert TypeAdapter(kind).validate_python({"name": "stripes"}).width == 4
    assert build.GENERATORS is GENERATORS


def install(site: Path, name: str, entries: dict[str, str]) -> None:
    """Write an installed package's metadata and entry points."""
    folder = site / f"{name.replace('-', '_')}-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{key} = {value}" for key, value in entries.items()]
    (folder / "entry_points.txt").write_text("\n".join(["[vidpred.models]", *lines]) + "\n")


def vidpred(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    paths = [str(site), str(Path(__file__).parents[2])]
    return subprocess.run(
        [sys.executable, "-m", "vidpred", *words],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip


@pytest.mark.slow
def test_a_model_in_another_package(tmp_path: Path) -> None:
    """Installed packages register models by an entry point; broken ones are skipped with a warning."""
    project = tomllib.loads(PACKAGE["toml"])["project"]
    site = tmp_path / "site"
    install(site, project["name"], project["entry-points"]["vidpred.models"])
    (site / "vidpred_fade.py").write_text(PACKAGE["python"])
    install(site, "vidpred-gone", {"gone": "no_such_module:Settings"})
    install(site, "vidpred-taken", {"dcgan": "vidpred.models.dcgan:DcganSettings"})
    install(site, "vidpred-wrong", {"wrong": "vidpred.models.dcgan:DcganGenerator", "more": "vidpred.config:Config"})
    (tmp_path / "fade.yaml").write_text("model: {name: fade, start: 0.5}\n")
    small = ["training.steps=2", "training.batch_size=2", "data.num_workers=0", "training.device=cpu"]
    done = vidpred(
        site, "train", "--config", str(tmp_path / "fade.yaml"), f"run={tmp_path / 'run'}", *small,
        "training.validation_windows=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if line.startswith("vidpred: warning")]
    for line, reason in zip(warnings, (
        r"skipped the plug-in dcgan: the name dcgan is taken \[vidpred-taken, vidpred.models: vidpred.models.dcgan:D",
        r"skipped the plug-in gone: No module named 'no_such_module' \[vidpred-gone, ",
        r"skipped the plug-in more: .*circular import.* \[vidpred-wrong, ",
        r"skipped the plug-in wrong: not a subclass of Settings \[vidpred-wrong, ",
    ), strict=True):  # fmt: skip
        assert re.search(reason, line), line
    assert find_checkpoint(tmp_path / "run").tensors("ema")["factor"] == pytest.approx(0.5, abs=0.01)
    shown = vidpred(site, "config", "model.name=fade", "model.start=2")
    assert "model.start: 2.0" in shown.stdout, shown.stderr
    unknown = vidpred(site, "config", "model.name=fad")
    assert "did you mean fade?" in unknown.stderr
