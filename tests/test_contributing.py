"""As CONTRIBUTING.md promises, a new discriminator, loss or metric is one file and one line."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
SHOWN = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## A discriminator, a loss, a metric")[2]
BLOCKS = re.findall(r"```python\n(.*?)```", SHOWN, re.DOTALL)
FILES = re.findall(r"is\s+`(vidpred/[\w/]+\.py)`", SHOWN)
LINES = re.findall(r"the line `(.*?)` of\s+`(\w+)` in `(vidpred/[\w/]+\.py)`", SHOWN, re.DOTALL)


def add_line(file: Path, table: str, line: str, module: Path) -> None:
    """Add a line to a table in a module, and the import that it needs."""
    (name,) = re.findall(r"\w+Settings|\w+_loss|worst_pixel(?=,)", line)
    text = file.read_text()
    text, count = re.subn(rf"^({table}: .*\{{)$", rf"\1\n    {line}", text, flags=re.MULTILINE)
    assert count == 1, (file, table)
    imported = ".".join(module.with_suffix("").parts)
    future = "from __future__ import annotations\n"
    file.write_text(text.replace(future, f"{future}\nfrom {imported} import {name}\n", 1))


@pytest.mark.slow
def test_one_file_and_one_line_each(tmp_path: Path) -> None:
    for name in ("vidpred", "configs"):
        shutil.copytree(CHECKOUT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    assert len(BLOCKS) == len(FILES) == len(LINES) == 3
    for file, block, (line, table, home) in zip(FILES, BLOCKS, LINES, strict=True):
        (tmp_path / file).write_text(block)
        add_line(tmp_path / home, table, " ".join(line.split()), Path(file))
    words = [
        "discriminator.name=change", "discriminator.width=4", "objective.adversarial.weight=0.05",
        "objective.losses.brightness=0.5", "training.steps=2", "training.batch_size=2", "training.log_every=1",
        "training.validate_every=0", "run=run",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for command in (
        ["train", *words],
        ["evaluate", "--run", "run", "--windows", "2", "--frames", "1", "--json", "numbers.json"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "vidpred", *command], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    logged = {key for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines() for key in json.loads(line)}
    assert {"generator/brightness", "generator/adversarial", "discriminator/accuracy"} <= logged
    assert "worst pixel" in done.stdout
    numbers = json.loads((tmp_path / "numbers.json").read_text())["models"]["copy last"]["overall"]["worst_pixel"]
    assert 0 < numbers["mean"][0] <= 1
