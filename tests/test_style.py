"""Docs, docstrings, comments, messages and test names are plain English: the patterns below do not occur.

Quotations ("..."), `code`, dotted or underscored names, options, recorded keys and the changelog are excepted.
"""

from __future__ import annotations

import io
import json
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[1]
FOLDERS = ("vidpred", "data_prep", "demos", "benchmarks", "docs", "configs", "tests")
SUFFIXES = {".py", ".md", ".yaml", ".ipynb"}
SKIPPED = {"CHANGELOG.md", "tests/test_style.py"}
NETWORK = r"(?:networks?|models?|generators?|discriminators?|critics?|planners?|it|they)"
PATTERNS = {  # pattern -> what to write instead
    r"\bbeside\b": "with, next to, plus",
    r"\bmak(?:e|es|ing) do with\b": "works with at least",
    r"\bwhat is due\b": "scheduled",
    r"\bso many\b": "that many, up to N",
    r"\bso[- ]?manieth\b": "every n-th",
    r"\bby (?:itself|themselves)\b": "automatically, alone",
    r"\bof (?:its|their) own\b": "own, separate",
    r"\beach (?:for|by) (?:itself|its own)\b": "separately",
    r"\b(?:says|(?:is|are|was|were|be|been) told)\b": "reports, stores, receives",
    r"\bwhat is to come\b|\bcoming (?:frames?|ones?|images?)\b": "future frames",
    r"\bknown (?:frames?|ones?|images?)\b|\bthat (?:it|they) (?:is|are) shown\b": "context frames",
    r"\b(?:all|nothing|anything|none) but\b|\bbut for\b": "except, only",
    r"\bwhatever (?:it|they) (?:is|are)\b": "any",
    r"\b(?:proofs?|rivals?)\b": "experiment, baseline",
    r"\bthe truth\b": "the ground truth, the target",
    rf"\b{NETWORK} (?:sees?|knows?|trusts?|paints?|tells?|imagines?)\b": "takes, predicts, estimates",
    r"\bjudg(?:e|es|ed|ing|ment)\b": "score, discriminator",
    r"(?<!group\sof\s)(?<!groups\sof\s)\bpictures?\b": "image",
    r"\btwo-way world\b": "forking-ball world",
    r"\b\w*colour\w*": "color",
    r"\bgreys?\b": "gray",
    r"\bcentre[ds]?\b": "center",
    r"\b\w*neighbour\w*": "neighbor",
    r"\bbehaviours?\b": "behavior",
    r"\b(?:un)?labell(?:ed|ing)\b": "labeled",
    r"\blicences?\b": "license",
    r"\b(?:learnt|whilst|amongst)\b": "learned, while, among",
    r"\b(?:un|de|re)?(?:normal|initial|maxim|minim|optim|summar|organ|recogn|general|regular|equal|special|real|visual"
    r"|synchron|quant|random|character|factor|serial)is(?:e|es|ed|ing|ation|ations|er|ers)\b": "-ize",
}
NAMES = re.compile(r"```|`[^`\n]*`|\"[^\"\n]*\"|(?<!\w)--?\w[\w-]*|\b\w+(?:[._/]\w+)+\b")


@cache
def recorded() -> set[str]:
    """Return the names and keys in docs/results.jsonl, which cannot change."""
    found: set[str] = set()

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            found.update(value)
            for inner in value.values():
                collect(inner)

    for line in (CHECKOUT / "docs" / "results.jsonl").read_text().splitlines():
        result = json.loads(line)
        found.add(result["name"])
        collect(result)
    return found


def python_prose(text: str) -> Iterator[tuple[int, str]]:
    """Yield (first line, text) of comments, strings with more than one word, and names of tests."""
    kinds = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    comments: list[tuple[int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        first, content = token.start[0], token.string
        if token.type == tokenize.COMMENT:
            content = content.replace("#", " ")
            if comments and comments[-1][0] + comments[-1][1].count("\n") == first - 1:
                first, content = comments[-1][0], f"{comments.pop()[1]}\n{content}"
            comments.append((first, content))
        elif token.type == tokenize.NAME and content.startswith("test_"):
            yield first, content.replace("_", " ")
        elif token.type in kinds:
            formatted = re.match(r"\w*f", content, re.IGNORECASE)
            content = re.sub(r"\A\w*(?:\"{3}|'{3}|\"|')|(?:\"{3}|'{3}|\"|')\Z", "", content)
            content = re.sub(r"\{[^{}]*\}", "{}", content) if formatted else content
            if " " in content and content not in recorded():
                yield first, content
    yield from comments


def blank(match: re.Match[str]) -> str:
    """Return as many spaces."""
    return " " * len(match[0])


def prose(file: Path) -> Iterator[tuple[int, str]]:
    """Yield (first line, text) of what a reader of the file reads, with blanks for names and quotations."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        found = python_prose(text)
    elif file.suffix == ".yaml":
        found = iter([(1, "\n".join(line.partition("#")[2] for line in text.splitlines()))])
    elif file.suffix == ".ipynb":
        found = ((1, "".join(cell["source"])) for cell in json.loads(text)["cells"])
    else:
        found = iter([(1, text)])
    return ((first, NAMES.sub(blank, content)) for first, content in found)


@cache
def texts() -> list[tuple[str, int, str]]:
    """Return (file, first line, text) of all prose of the project."""
    files = [file for folder in FOLDERS for file in sorted((CHECKOUT / folder).rglob("*")) if file.suffix in SUFFIXES]
    named = {str(file.relative_to(CHECKOUT)): file for file in [*sorted(CHECKOUT.glob("*.md")), *files]}
    chosen = {name: file for name, file in named.items() if name not in SKIPPED and "fixtures" not in file.parts}
    return [(name, first, text) for name, file in chosen.items() for first, text in prose(file)]


def occurrences(pattern: str) -> list[str]:
    """Return `file:line: words` of all matches; a space of the pattern may be a line break."""
    wrong = re.compile(pattern.replace(" ", r"\s+"), re.IGNORECASE)
    return [
        f"{file}:{first + text[: match.start()].count(chr(10))}: {' '.join(match[0].split())}"
        for file, first, text in texts()
        for match in wrong.finditer(text)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("pattern", "instead"), PATTERNS.items())
def test_plain_english(pattern: str, instead: str) -> None:
    found = occurrences(pattern)
    assert not found, f"write {instead!r}:\n" + "\n".join(found[:50])


def test_exceptions() -> None:
    assert not NAMES.sub("", '`judge` data.colour --beside "the truth"').strip()
    (string, comment) = python_prose('x = f"a {judge} of it"  # it\n# says\n')
    assert string == (1, "a {} of it")
    assert comment[0] == 1
    assert re.search(r"it\s+says", comment[1])
