"""The promise of CONTRIBUTING.md: a new data set is one file and one line, or a separate package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import data_prep
from vidpred.data.build import build_source
from vidpred.data.settings import DataSettings

CHECKOUT = Path(data_prep.__file__).parents[1]
SHOWN = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## A data set")[2].partition("\n## ")[0]
BLOCKS = dict(re.findall(r"```(python|toml)\n(.*?)```", SHOWN, re.DOTALL))
(LINE,) = re.findall(r'`("flipbooks": .*?)`', SHOWN)


def flipbooks(folder: Path) -> list[np.ndarray]:
    folder.mkdir(parents=True)
    clips = [np.random.default_rng(number).integers(0, 256, (9, 12, 16), np.uint8) for number in range(6)]
    for number, clip in enumerate(clips):
        np.save(folder / f"{number}.npy", clip)
    return clips


def run(folder: Path, site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{CHECKOUT}"}
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)


def check(prepared: Path, clips: list[np.ndarray]) -> None:
    settings = DataSettings(
        root=str(prepared), channels=3, crop_size=None, augment={"horizontal_flip": False}, context_frames=2
    )
    source = build_source(settings, "train", range(9))
    assert 2 <= len(source) <= 5
    for index in range(len(source)):
        np.testing.assert_array_equal(source.window(index)[..., 0], clips[int(source.clip_name(index))])


@pytest.mark.slow
def test_one_file_and_one_line(tmp_path: Path) -> None:
    clips = flipbooks(tmp_path / "books")
    shutil.copytree(CHECKOUT / "data_prep", tmp_path / "site" / "data_prep")
    (tmp_path / "site" / "vidpred").symlink_to(CHECKOUT / "vidpred")
    table = tmp_path / "site" / "data_prep" / "__init__.py"
    table.write_text(table.read_text().replace("SETS = {", f"SETS = {{\n    {LINE}"))
    (table.parent / "flipbooks.py").write_text(BLOCKS["python"])
    done = run(tmp_path, tmp_path / "site", "data_prep.flipbooks", "books", "out", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "6 clips" in done.stdout
    check(tmp_path / "out", clips)


@pytest.mark.slow
def test_a_separate_package(tmp_path: Path) -> None:
    """Find a set by its entry point and send it to other processes; report a broken one in one line."""
    clips = flipbooks(tmp_path / "books")
    site = tmp_path / "site"
    points = tomllib.loads(BLOCKS["toml"])["project"]["entry-points"]["vidpred.data_sets"]
    packages = {"books": points, "broken": {"broken": "no_such_module:Set", "folder": "flipbooks:Flipbooks"}}
    for package, entries in packages.items():
        info = site / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "".join(f"{name} = {place}\n" for name, place in entries.items())
        (info / "entry_points.txt").write_text(f"[vidpred.data_sets]\n{lines}")
    script = BLOCKS["python"].replace("from .base", "from vidpred.data_prep.base")
    script = script.replace("from .command import main\n", "").partition("if __name__")[0]
    (site / "flipbooks.py").write_text(script)
    assert "gray flipbooks" in run(tmp_path, site, "vidpred", "prepare", "--help").stdout
    done = run(tmp_path, site, "vidpred", "prepare", "flipbooks", "books", "out", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert "6 clips" in done.stdout
    warnings = [line for line in done.stderr.splitlines() if line.startswith("vidpred: warning")]
    assert len(warnings) == 2, done.stderr
    assert "skipped the plug-in broken: No module named 'no_such_module'" in warnings[0]
    assert "skipped the plug-in folder: the name is taken" in warnings[1]
    check(tmp_path / "out", clips)
