"""The wording of messages."""

from __future__ import annotations

import pytest

from vidpred.errors import DataError, counted, one_line
from vidpred.planning.envs.registry import make_env


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
