"""Data shared by the tests of training."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.video_files import numbered_frames, write_video


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write five small videos, so that an epoch has fewer windows than a run has samples."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(5):
        write_video(folder / f"{number}.mp4", numbered_frames(10, 40, 48, first=number * 10))
    return folder
