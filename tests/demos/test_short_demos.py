"""The short demos and the notebook run from top to bottom."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.video_files import numbered_frames, write_video

CHECKOUT = Path(__file__).parent.parent.parent


def run_demo(name: str, *words: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"demos.{name}", *words],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT)},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_train_and_predict(tmp_path: Path) -> None:
    for number in range(5):
        write_video(tmp_path / "clips" / f"{number}.mp4", numbered_frames(40, 64, 80, first=number * 40))
    printed = run_demo("train_and_predict", "clips", "--output", "run", "--steps", "3", cwd=tmp_path)
    assert "predicted (8, 3, 64, 80)" in printed
    assert "copy last: PSNR" in printed


@pytest.mark.slow
def test_render_prediction(tmp_path: Path) -> None:
    run_demo("render_prediction", "--output", "out", cwd=tmp_path)
    assert (tmp_path / "out" / "prediction.mp4").stat().st_size > 1000
    assert (tmp_path / "out" / "prediction.png").stat().st_size > 1000


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(CHECKOUT / "demos" / "vidpred_in_five_minutes.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit it without outputs"
    NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    text = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "distance to the goal" in text
