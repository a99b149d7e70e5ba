"""The wording of messages."""

from __future__ import annotations

import pytest

from vidpred.errors import counted, one_line
from vidpred.planning.envs.registry import make_env


@pytest.mark.parametrize(("number", "text"), [(0, "0 frames"), (1, "1 frame"), (2, "2 frames"), (2000, "2,000 frames")])
def test_numbers_agree_with_their_noun(number: int, text: str) -> None:
    assert counted(number, "frame") == text


def test_messages_of_other_packages_fit_into_a_sentence() -> None:
    assert one_line(ValueError("first\nvidpred.errors.DataError: it is damaged.")) == "it is damaged"
    assert one_line(ValueError()) == "ValueError"
    with pytest.raises(Exception, match=r"doesn't exist; block_push is built in"):
        make_env("Moon-v7")
