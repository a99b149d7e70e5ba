"""The built wheel, without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.video_files import numbered_frames, write_video


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the wheel away from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "-q", "-w", str(folder)]
    build = [sys.executable, "-m", "pip", "wheel", *options, str(Path(__file__).parents[2])]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("vidpred-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def outside(site: Path, folder: Path, *words: str) -> str:
    """Run Python with the unpacked wheel instead of the checkout; return its output."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_wheel_works_outside_the_checkout(site: Path, tmp_path: Path) -> None:
    """It has the presets, the typing marker, and one top-level module only."""
    assert outside(site, tmp_path, "-c", "import vidpred; print(vidpred.__file__)").startswith(str(site))
    assert "model.size: paper" in outside(site, tmp_path, "-m", "vidpred", "config", "ucf101.yaml")
    assert {path.name for path in site.iterdir() if path.suffix != ".dist-info"} == {"vidpred"}
    for name in ("py.typed", "configs/tiny.yaml", "data_prep/ucf101.py"):
        assert (site / "vidpred" / name).is_file()


@pytest.mark.slow
def test_a_wheel_prepares_in_several_processes(site: Path, tmp_path: Path) -> None:
    """Spawned workers find a data set's class in the package."""
    for number in range(3):
        write_video(tmp_path / "clips" / f"{number}.mp4", numbered_frames(8, 32, 32, number))
    assert "numpy" in outside(site, tmp_path, "-m", "vidpred", "prepare", "--help")
    words = ["prepare", "folder", "clips", "out", "--cache", "--workers", "2"]
    assert "24 frames" in outside(site, tmp_path, "-m", "vidpred", *words)
    code = "import vidpred.data_prep as found; print(found.__file__)"
    assert outside(site, tmp_path, "-c", code).startswith(str(site))
