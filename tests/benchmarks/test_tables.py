"""The tables of the results pages and the README match docs/results.jsonl; pages quote no other numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.results import read_results
from benchmarks.tables import MARKED, PAGES, TABLES, with_tables

CHECKOUT = Path(__file__).parent.parent.parent
RESULTS = CHECKOUT / "docs" / "results.jsonl"
NAMES = [str(page.relative_to(CHECKOUT)) for page in PAGES]
NOT_PROSE = re.compile(r"^```.*?^```|`[^`\n]*`|\]\([^)]*\)|^#.*?$|(CC BY|Apache-)\s?[\d.]+", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_tables_are_fresh(name: str) -> None:
    text = (CHECKOUT / name).read_text()
    assert with_tables(text, read_results(RESULTS)) == text, "stale: run python -m benchmarks.tables"


def test_every_table_is_on_a_page() -> None:
    used = [match[2] for name in NAMES for match in MARKED.finditer((CHECKOUT / name).read_text())]
    assert set(used) == set(TABLES)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("docs")])
def test_numbers_come_from_tables(name: str) -> None:
    """Every decimal number of a results page is in one of its generated tables, and none in hand-written tables."""
    text = (CHECKOUT / name).read_text()
    tables = " ".join(match[0] for match in MARKED.finditer(text))
    prose = NOT_PROSE.sub(" ", MARKED.sub(" ", text))
    generated = set(re.findall(r"\d+\.\d+", tables))
    assert set(re.findall(r"\d+\.\d+", prose)) - generated == set()


def test_a_changed_result_makes_a_table_stale() -> None:
    results = read_results(RESULTS)
    page = "<!-- table: points -->\n<!-- end -->\n"
    fresh = with_tables(page, results)
    assert "`gaussians_r1` | 25, 84 %" in fresh
    assert with_tables(fresh, results) == fresh
    results["points in the plane, four generators", 0].values["gaussians_r1"]["modes_covered"] = 24
    assert with_tables(fresh, results) != fresh


def test_an_unknown_table_is_an_error() -> None:
    with pytest.raises(KeyError, match="nonsense"):
        with_tables("<!-- table: nonsense -->\n<!-- end -->\n", {})
