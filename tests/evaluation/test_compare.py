"""The comparison page: one self-contained file."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from vidpred.config import load_config
from vidpred.evaluation.compare import compare_predictors, group_by_seed
from vidpred.evaluation.evaluate import EvaluationRequest
from vidpred.evaluation.paper_table import paper_rows
from vidpred.evaluation.report import clip_rows, table_rows
from vidpred.inference.predictor import Predictor
from vidpred.media import plots
from vidpred.media.html_page import Page
from vidpred.models.baselines import BASELINES
from vidpred.run import train


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("compare")
    for name, exponent in (("one", 1.0), ("two", 2.0)):
        settings = {
            "run": str(folder / name), "training.steps": 4, "training.batch_size": 2, "training.log_every": 1,
            "training.validation_windows": 1, "training.validate_every": 2, "objective.lp_exponent": exponent,
            "data.size": 32,
        }  # fmt: skip
        train(load_config("tiny.yaml", settings))
    return [folder / "one", folder / "two"]


class Reader(HTMLParser):
    """Collects tags, table cells and sources, and fails on a tag that is not closed in order."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append(data)


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text())
    reader.close()
    assert reader.open == []
    return reader


@pytest.mark.slow
def test_the_page_has_numbers_images_and_curves(runs: list[Path], tmp_path: Path) -> None:
    predictors = [Predictor.load(run, "last") for run in runs]
    result = compare_predictors(predictors, tmp_path / "page.html", EvaluationRequest(2, 3))
    reader = read(tmp_path / "page.html")
    for step in (1, 2):
        for row in table_rows(result, step):
            assert set(row) <= set(reader.cells), "the page shows the measured numbers"
    assert len(reader.sources) == 1 + 4 + 1, "plot, windows, curves"
    assert all(source.startswith("data:image/png;base64,") for source in reader.sources), "nothing is fetched"
    assert [row[0] for row in table_rows(result, 1)] == ["one", "two", *BASELINES, "n"]
    values, gains = clip_rows(result)
    assert len(values) == len(gains) == 1


@pytest.mark.slow
def test_the_papers_table_comes_first(runs: list[Path], tmp_path: Path) -> None:
    """Two runs with different losses are two rows."""
    predictors = [Predictor.load(run, "last") for run in runs]
    result = compare_predictors(predictors, tmp_path / "page.html", EvaluationRequest(1, 2), paper=True)
    head, lines = paper_rows(result, {"one": ["one"], "two": ["two"]})
    cells = [*head, *(cell for line in lines for cell in line)]
    assert read(tmp_path / "page.html").cells[: len(cells)] == cells
    assert [line[:2] for line in lines] == [["one", "1"], ["two", "1"], *([name, "-"] for name in BASELINES)]
    assert group_by_seed(predictors) == {"one": ["one"], "two": ["two"]}


@pytest.mark.slow
def test_a_run_has_one_color_in_all_panels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This holds also where other runs lack the number; the legend lists every run with any number."""
    logged = {
        "one": [{"step": 1, "generator/lp": 1.0}],
        "two": [{"step": 1, "generator/lp": 2.0, "discriminator/accuracy": 0.5}],
        "none": [],
    }
    drawn: list[Any] = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: drawn.append(figure))
    plots.draw_curves(tmp_path / "curves.png", logged, ["discriminator/accuracy", "generator/lp"])
    (figure,) = drawn
    accuracy, lp = ([line.get_color() for line in axis.get_lines()] for axis in figure.axes)
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert accuracy == lp[1:] != lp[:1]
    assert named == ["one", "two"]


def test_texts_are_escaped(tmp_path: Path) -> None:
    page = Page("a < b & c", "x > y")
    page.text("<script>alert(1)</script>")
    page.table(["<b>", "2"], [["&", '"']], caption="<i>")
    page.write(tmp_path / "page.html", "end")
    text = (tmp_path / "page.html").read_text()
    assert not re.search(r"<(script|b|i)>", text)
    assert read(tmp_path / "page.html").cells == ["<b>", "2", "&", '"']
