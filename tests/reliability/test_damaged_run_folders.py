"""Files of a run folder may be damaged, unwritable or of another kind."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.reliability.conftest import TINY
from vidpred.checkpoint import RunFolder, find_damage, read_metrics
from vidpred.config import load_config
from vidpred.run import train


def test_training_survives_its_logs_and_images(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    (run / "metrics.jsonl").mkdir(parents=True)
    (run / "images").write_text("a file")
    settings = {**TINY, "data.root": str(clips), "run": str(run), "training.steps": 4, "training.image_every": 2}
    assert train(load_config(None, settings)).steps == 4
    warnings = [line for line in capsys.readouterr().err.splitlines() if "vidpred: warning: cannot write" in line]
    assert len(warnings) == 3, warnings  # the log once, and two images
    newest = RunFolder(run).newest()
    assert newest is not None
    assert newest.step == 4


def test_a_flipped_bit_in_the_log(tmp_path: Path) -> None:
    lines = b'{"step": 1}\n{"step": 2, "x\xff": 1}\n{"step": "3"}\n[4]\n{"st\xffp": 5}\n{"step": 6}\n'
    (tmp_path / "metrics.jsonl").write_bytes(lines)
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 6]


@pytest.mark.parametrize("record", [{"step": 1}, {"step": 1, "value": "high"}, {"step": "1", "value": 2.0}, [1], 1])
def test_a_best_json_of_other_types_is_ignored(tmp_path: Path, record: object) -> None:
    (tmp_path / "best.json").write_text(json.dumps(record))
    assert RunFolder(tmp_path).best() is None


def test_a_pipe_is_no_manifest(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "manifest.json")
    assert find_damage(tmp_path) == f"{tmp_path.name}/manifest.json: missing or unreadable"
