"""A run that the tests of the commands share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.command_line import TRAIN
from tests.video_files import numbered_frames, write_video
from vidpred.commands import app


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with clips and a trained run."""
    folder = tmp_path_factory.mktemp("work")
    for number in range(5):
        write_video(folder / "clips" / f"{number}.mp4", numbered_frames(24, 40, 48, first=number * 10))
    sys.argv = ["vidpred", "train", f"data.root={folder}/clips", f"run={folder}/run", *TRAIN]
    with pytest.raises(SystemExit) as end:
        app.main()
    assert not end.value.code
    return folder
