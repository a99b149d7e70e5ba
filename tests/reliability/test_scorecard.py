"""Every case of the scorecard names tests that exist."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from tests.reliability.scorecard import CASES, CHECKOUT


@cache
def functions_of(file: str) -> set[str]:
    return set(re.findall(r"^ *def (\w+)\(", (CHECKOUT / file).read_text(), re.MULTILINE))


def test_there_are_25_cases_with_tests() -> None:
    assert len(CASES) == 25
    for case in CASES:
        for name in case.tests:
            file, _, test = name.partition("::")
            functions = functions_of(file)
            assert any(function.startswith("test_") for function in functions), name
            assert not test or re.sub(r"\[.*", "", test) in functions, name


def test_every_file_of_this_folder_belongs_to_a_case() -> None:
    listed = {name.partition("::")[0] for case in CASES for name in case.tests}
    here = Path(__file__)
    others = {file.relative_to(CHECKOUT).as_posix() for file in here.parent.glob("test_*.py") if file != here}
    assert others <= listed


def test_make_reliability_runs_all_of_them() -> None:
    recipe = Path(CHECKOUT / "Makefile").read_text().partition("\nreliability:")[2].partition("\n\n")[0]
    for file in {name.partition("::")[0] for case in CASES for name in case.tests}:
        assert file in recipe or any(file.startswith(f"{word}/") for word in recipe.split()), file
