"""Files of plots appear whole or not at all."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vidpred.commands.lecture_report import draw
from vidpred.errors import StorageError
from vidpred.media.plots import draw_curves

WRITERS: dict[str, Callable[[Path], object]] = {
    "curves": lambda path: draw_curves(path, {"run": [{"step": 1, "generator/lp": 1.0}]}, ["generator/lp"]),
    "lecture": lambda path: draw(path, 1, lambda axes, number: axes.plot([0, 1])),
}


@pytest.mark.slow
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_failed_plot_leaves_no_file_and_keeps_the_one_before(
    write: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    def fill_disk(figure: Figure, path: Path, **options: Any) -> None:
        path.write_bytes(b"half an image")
        raise OSError(errno.ENOSPC, "no space left on device")

    for content in (None, b"the plot before"):
        path = tmp_path / "plot.png"
        if content is not None:
            path.write_bytes(content)
        with monkeypatch.context() as patched:
            patched.setattr(Figure, "savefig", fill_disk)
            with pytest.raises(StorageError, match=r"plot\.png.*no space left"):
                write(path)
        assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == (
            {} if content is None else {"plot.png": content}
        )
    write(path)
    assert path.read_bytes().startswith(b"\x89PNG")
