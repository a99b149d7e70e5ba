"""Processes with different data: refused, unless every machine is meant to have its own part."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from tests.video_files import numbered_frames, write_video
from vidpred.checkpoint import RunFolder, read_metrics
from vidpred.config import load_config
from vidpred.data.build import build_source
from vidpred.errors import ConfigError, DataError
from vidpred.run import train
from vidpred.training.processes_agree import check_data_of_processes

pytestmark = pytest.mark.slow

SETTINGS = {
    "training.batch_size": 4, "model.scales": 1, "model.feature_maps": [[4]], "model.kernel_sizes": [[3, 3]],
    "training.validation_windows": 1, "training.image_every": 0, "training.log_every": 1, "training.device": "cpu",
}  # fmt: skip
EACH_ITS_OWN = """
import os, sys
sys.argv = ["vidpred", *sys.argv[1:], "data.root=" + os.environ["PARTS"].split(":")[int(os.environ["RANK"])]]
from vidpred.__main__ import main
main()
"""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write the parts of two machines."""
    folder = tmp_path_factory.mktemp("parts")
    for part, count in enumerate((5, 6)):
        for number in range(count):
            write_video(
                folder / str(part) / f"{number}.mp4", numbered_frames(10, 40, 48, first=50 * part + 10 * number)
            )
    return [folder / str(part) for part in range(2)]


def on_two(script: Path, roots: list[Path], run: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    script.write_text(EACH_ITS_OWN)
    settings = {**SETTINGS, "run": str(run), **{key.replace("__", "."): value for key, value in more.items()}}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script), "train"]
    words = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PARTS": ":".join(map(str, roots))}
    return subprocess.run(
        [sys.executable, *launcher, *words], capture_output=True, text=True, timeout=300, env=environment
    )


def test_different_files_are_refused(parts: list[Path], tmp_path: Path) -> None:
    done = on_two(tmp_path / "own.py", parts, tmp_path / "run", training__steps=4)
    assert done.returncode != 0
    assert done.stderr.count("the training data of the processes differ") == 1, done.stderr[-2000:]
    assert "data.sharded=true" in done.stderr
    codes = [json.loads((tmp_path / "run" / name).read_text())["code"] for name in ("exit.json", "exit-process-1.json")]
    assert codes == [DataError.exit_code] * 2


def test_parts_are_trained_on_and_resumed(parts: list[Path], tmp_path: Path) -> None:
    """The first machine's part alone gives other samples: both parts are in the batches."""
    for steps in (4, 8):
        done = on_two(tmp_path / "own.py", parts, tmp_path / "run", training__steps=steps, data__sharded=True)
        assert done.returncode == 0, done.stderr[-2000:]
    newest = RunFolder(tmp_path / "run").newest()
    assert newest is not None
    assert newest.step == 8
    assert not (tmp_path / "run" / "splits.csv").exists()
    alone = on_two(tmp_path / "own.py", [parts[0]] * 2, tmp_path / "alone", training__steps=8, data__sharded=True)
    assert alone.returncode == 0, alone.stderr[-2000:]
    sums = [
        {line["step"]: line["data_checksum"] for line in read_metrics(tmp_path / name) if "data_checksum" in line}
        for name in ("run", "alone")
    ]
    assert list(sums[0]) == list(sums[1]) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert all(sums[0][step] != sums[1][step] for step in sums[0])


class Two:
    """An accelerator of two processes, the other of which trains on a separate source."""

    num_processes, device, is_main_process = 2, torch.device("cpu"), True
    other: ClassVar[list[torch.Tensor]] = []

    def gather(self, own: torch.Tensor) -> torch.Tensor:
        self.other.append(own)
        return torch.cat([own, self.other[0]])


@pytest.mark.parametrize(("classes", "agree"), [(("cat", "dog"), True), (("cat",), False)])
def test_parts_need_the_same_classes(
    parts: list[Path], monkeypatch: pytest.MonkeyPatch, classes: tuple[str, ...], agree: bool
) -> None:
    one, other = (build_source(load_config(None, {"data.root": str(part)}).data, "train", range(5)) for part in parts)
    monkeypatch.setattr(Two, "other", [])
    one.classes, other.classes = ("cat", "dog"), classes
    accelerator: Any = Two()
    check_data_of_processes(accelerator, one, sharded=True)
    if agree:
        check_data_of_processes(accelerator, other, sharded=True)
    else:
        with pytest.raises(DataError, match="the same classes"):
            check_data_of_processes(accelerator, other, sharded=True)


def test_one_process_has_no_parts(parts: list[Path], tmp_path: Path) -> None:
    settings = {**SETTINGS, "data.root": str(parts[0]), "run": str(tmp_path / "run"), "data.sharded": True}
    with pytest.raises(ConfigError, match="sharded"):
        train(load_config(None, [f"{key}={json.dumps(value)}" for key, value in settings.items()]))
