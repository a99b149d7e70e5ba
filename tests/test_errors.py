"""The wording of messages."""

from __future__ import annotations

import pytest

from vidpred.errors import ConfigError, DataError, counted, for_command, one_line
from vidpred.planning.envs.registry import make_env
from vidpred.processes.pool import in_processes

MESSAGES = {  # that name options -> the same in Python
    "[--start 500] must lie between 3 and 5; give --start": "[start=500] must lie between 3 and 5; give start",
    "[--receding-horizon 3] must be at most --horizon 2": "[receding_horizon=3] must be at most horizon=2",
    "give one size, --size N, or fewer --frames": "give one size, size=N, or fewer num_frames",
    "raw [--hole, --mask]; add --video-size WxH --rate R": "raw [hole, mask]; add video_size=(W, H) rate=R",
    "own [run --x]; add --generator package.module:NAME.": "own [run --x]; add generator=MODULE.",
    "to resume it, add --config a/b.yaml, or not": "to resume it, add path=a/b.yaml, or not",
    "it generates images; use vidpred sample --run RUN": "it generates images; use vidpred sample --run RUN",
    "[--output a b.txt] unsupported suffix; --frames 16": "[output=a b.txt] unsupported suffix; num_frames=16",
}


@pytest.mark.parametrize(("number", "text"), [(0, "0 frames"), (1, "1 frame"), (2, "2 frames"), (2000, "2,000 frames")])
def test_numbers_agree_with_their_noun(number: int, text: str) -> None:
    assert counted(number, "frame") == text


def test_messages_of_other_packages_fit_into_a_sentence() -> None:
    assert one_line(ValueError("first\nvidpred.errors.DataError: it is damaged.")) == "it is damaged"
    assert one_line(ValueError()) == "ValueError"


def test_names_with_line_breaks_hide_nothing() -> None:
    message = "cannot read [a\nb/c]; choose another"
    assert one_line(DataError(message)) == r"cannot read [a\nb/c]; choose another"
    of_worker = f"Caught DataError.\nTraceback (most recent call last):\n  x\nvidpred.errors.DataError: {message}"
    assert one_line(DataError(of_worker)) == r"cannot read [a\nb/c]; choose another"


def test_an_unknown_environment_lists_the_others() -> None:
    with pytest.raises(Exception, match=r"doesn't exist; block_push is built in"):
        make_env("Moon-v7")


@pytest.mark.parametrize("message", MESSAGES)
def test_messages_name_arguments_in_python_and_options_on_the_command_line(message: str) -> None:
    assert str(ConfigError(message)) == MESSAGES[message]
    with for_command(True):
        assert str(ConfigError(message)) == message


def name_argument(job: tuple[int, int]) -> str:
    return str(ConfigError("give --frames"))


@pytest.mark.slow
@pytest.mark.parametrize("named", [False, True])
def test_worker_processes_name_what_their_parent_names(named: bool) -> None:
    with for_command(named):
        found = dict(in_processes(name_argument, [(0, 1), (0, 2)], 2, "", False))
    assert set(found.values()) == {"give --frames" if named else "give num_frames"}
