"""What CONTRIBUTING.md promises: a new generator is one file, one line of a table and one YAML."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter

from tests.picture_files import SMALL, write_digits
from vidpred.checkpoint import find_checkpoint
from vidpred.config import Config, load_config
from vidpred.models import build
from vidpred.models.build import GENERATORS, choice
from vidpred.run import train

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
SHOWN = TEXT.partition("## A new model")[2].partition("\n## ")[0]
BLOCKS = dict(re.findall(r"```(python|yaml)\n(.*?)```", SHOWN, re.DOTALL))


def test_one_file_one_line_one_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stripes.py").write_text(BLOCKS["python"])
    spec = importlib.util.spec_from_file_location("stripes", tmp_path / "stripes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["stripes"] = module
    spec.loader.exec_module(module)
    monkeypatch.setitem(GENERATORS, "stripes", module.StripesSettings)  # the line of the table
    # The table is read when the modules are imported: do over what that did.
    kind = choice(GENERATORS)

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
    picture = run.predictor().draw(torch.zeros(1, 3))[0, 0]
    assert torch.equal(picture, picture[:1].expand(8, -1)), "stripes"
    assert TypeAdapter(kind).validate_python({"name": "stripes"}).width == 4
    assert build.GENERATORS is GENERATORS
