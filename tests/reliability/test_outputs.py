"""Outputs that appear while they are made are not overwritten, and messages are one line of limited length."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from vidpred import files
from vidpred.commands.exit_status import shortened
from vidpred.errors import ConfigError, StorageError, one_line
from vidpred.files import atomic_write, check_output
from vidpred.media.prediction_files import Output, write_prediction
from vidpred.media.prediction_images import Step
from vidpred.media.video_writer import write_video

FRAMES = torch.rand(2, 3, 16, 16)


def steps(appear: Callable[[], object]) -> Iterator[Step]:
    """Yield predicted frames; something happens meanwhile."""
    for frame in FRAMES:
        yield Step(None, {"model": frame[None]})
        appear()


def touch(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("precious")


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.png", "a.npy", "a.npz", "frames", "old"])
def test_an_output_that_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, links: bool) -> None:
    def no_links(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(files.os, "link", no_links)
    (tmp_path / "old").mkdir()
    path = tmp_path / name
    file = path / "0001.png" if not path.suffix else path
    if name == "old" and not links:
        return  # files of a folder are looked at one by one
    with pytest.raises(StorageError, match="appeared meanwhile"):
        write_prediction(Output.of(path), torch.empty(0, 3, 16, 16), steps(lambda: touch(file)), 2)
    assert file.read_text() == "precious"
    assert not list(tmp_path.rglob(".tmp-*"))
    write_prediction(Output.of(path, overwrite=True), torch.empty(0, 3, 16, 16), steps(lambda: None), 2)
    assert file.read_bytes() != b"precious"


def test_without_one_it_is_written(tmp_path: Path) -> None:
    images = [np.zeros((16, 16, 3), np.uint8)] * 2
    assert write_video(tmp_path / "a.gif", images, 5) == 2
    with pytest.raises(StorageError, match="the output exists"):
        write_video(tmp_path / "a.gif", images, 5)
    assert write_video(tmp_path / "a.gif", images, 5, overwrite=True) == 2
    check_output(tmp_path / "b.txt", True)
    with atomic_write(tmp_path / "b.txt") as place:
        place.write_text("1")
    assert (tmp_path / "b.txt").read_text() == "1"


LONG = "/data/" + "a-long-folder/" * 20 + "clip.mp4"


def test_long_names_are_shortened() -> None:
    line = shortened(f"vidpred: error: cannot read the file [{LONG}]; copy it again")
    assert len(line) == 200
    assert line.startswith("vidpred: error: cannot read the file [/data/")
    assert line.endswith("clip.mp4]; copy it again")
    two = shortened(f"vidpred: error: no such file [{LONG}], and no other [{LONG}]; choose one")
    assert len(two) == 200
    assert two.endswith("clip.mp4]; choose one")


def test_the_last_advice_is_left_out_where_a_line_is_too_long() -> None:
    advice = "lower data.pred_frames, or cut less, or add more videos of the same kind"
    line = shortened(f"vidpred: error: {'it is too short, ' * 3}[{LONG}]; {advice}")
    assert len(line) <= 200
    assert line.endswith("; lower data.pred_frames, or cut less")
    command = f"vidpred: error: the run has other settings [{LONG}]; to resume it, add --config {LONG}, or give up"
    assert shortened(command).endswith(f"; to resume it, add --config {LONG}")


@pytest.mark.slow
def test_no_message_is_long_without_its_names() -> None:
    """Names and numbers may add what remains of 200 characters."""
    for file in [*Path("vidpred").rglob("*.py"), *Path("data_prep").glob("*.py")]:
        for call in ast.walk(ast.parse(file.read_text())):
            if isinstance(call, ast.Call) and call.args and name_of(call.func).endswith("Error"):
                assert len(prose(call.args[0])) <= 130, f"{file}:{call.lineno}: shorten the message"


def name_of(function: ast.expr) -> str:
    """Return the last part of a name with dots."""
    return str(getattr(function, "attr", getattr(function, "id", "")))


def prose(message: ast.expr) -> str:
    """Return the words of a message, without values and without what is in brackets."""
    parts = message.values if isinstance(message, ast.JoinedStr) else [message]
    text = "".join(str(part.value) if isinstance(part, ast.Constant) else "" for part in parts)
    return re.sub(r"\[[^]]*\]", "", text)


def test_short_lines_and_long_prose_stay() -> None:
    for line in (f"vidpred: error: a [{'b' * 100}]", "a" * 300):
        assert shortened(line) == line


@pytest.mark.parametrize("name", ["\x1b[2J", "a\rb", "\u202e", "a\x00b", "\udc80"])
def test_control_characters_are_escaped(name: str) -> None:
    line = one_line(ConfigError(f"no such file [{name}]; choose another"))
    assert line.isprintable()
    assert line.startswith("no such file [")
