"""The temporal order of frames by their file names."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
HEX = re.compile(r"[0-9a-fA-F]+")
NUMBER_AT_END = re.compile(r"(?:\d[\d.]*(?:[eE][+-]?\d*)?|\.)$")
MAX_VIEWS = 16
SPARSE = 8  # hexadecimal names of different lengths cover at least an eighth of their range


def in_order(names: Sequence[str]) -> tuple[list[str], str]:
    """Sort the names of frames in temporal order.

    Names that differ in one number are sorted by its value: signed, decimal or hexadecimal. Other names are compared
    word by word and number by number.

    Returns:
        The sorted names, and how they were read if another reading gives another order; else "".
    """
    natural = sorted(names, key=natural_order)
    stems = {name: os.path.splitext(name)[0] for name in names}
    for what, values in (
        ("signed and decimal numbers", _decimals(list(stems.values()))),
        ("hexadecimal numbers", _hexadecimals(list(stems.values()))),
    ):
        if values is not None:
            ordered = sorted(names, key=lambda name: (values[stems[name]], natural_order(name)))
            return ordered, "" if ordered == natural else what
    return natural, ""


def natural_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return a sort key by which numbers in names compare as numbers: frame2 comes before frame10."""
    words = re.split(r"([0-9]+)", name)
    return [(int(word), "") if index % 2 else (0, word) for index, word in enumerate(words)], name


def by_view(names: Sequence[str]) -> dict[str, list[str]]:
    """Divide the frames of several views, such as 000_L.png, 000_R.png, ...: the same numbers with different words.

    Some numbers may be missing in a view, at most half.

    Returns:
        The names by the word of their view; by "" for one view.
    """
    stems = Counter(os.path.splitext(name)[0] for name in names)
    views: dict[str, dict[tuple[str, ...], str]] = defaultdict(dict)
    for name in names:
        stem = name if max(stems.values()) > 1 else os.path.splitext(name)[0]  # of 000.jpg and 000.png, each is a view
        words = re.split(r"([0-9]+)", stem)
        views["*".join(words[::2])][tuple(words[1::2])] = name
    numbers = set().union(*views.values())
    fewest = min(map(len, views.values()), default=0)
    labels = _labels(list(views))
    if not 2 <= len(views) <= MAX_VIEWS or 2 * fewest < len(numbers) or fewest < 2 or labels is None:
        return {"": list(names)}
    return {label: list(members.values()) for label, members in zip(labels, views.values(), strict=True)}


def _labels(patterns: list[str]) -> list[str] | None:
    """Return the words in which patterns differ; None if they differ only in signs and punctuation."""
    start, end = len(_common_start(patterns)), len(_common_end(patterns))
    while start and patterns[0][start - 1].isalpha():  # whole words
        start -= 1
    while end and patterns[0][-end].isalpha():
        end -= 1
    words = [pattern[start : len(pattern) - end] for pattern in patterns]
    if "" in words or not all(any(letter.isalpha() for letter in word) for word in words):
        words = patterns
    labels = [re.sub(r"[^\w]+|_", " ", word).strip().replace(" ", "-") for word in words]
    return labels if len(set(labels)) == len(labels) and any(labels) else None


def _common_start(words: Sequence[str]) -> str:
    first, last = min(words), max(words)
    return next((first[:i] for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), first)


def _common_end(words: Sequence[str]) -> str:
    return _common_start([word[::-1] for word in words])[::-1]


def _decimals(stems: Sequence[str]) -> dict[str, float] | None:
    """Return the value of the signed or decimal number in which names differ; None if they differ otherwise."""
    start = NUMBER_AT_END.sub("", _common_start(stems))
    start = "" if start in ("+", "-") else start
    end = _common_end([stem[len(start) :] for stem in stems]).lstrip("0123456789.+-")
    texts = {stem: stem[len(start) : len(stem) - len(end)] for stem in stems}
    if not all(NUMBER.fullmatch(text) for text in texts.values()):
        return None
    has_exponent = any(re.search("[eE]", text) for text in texts.values())
    if has_exponent and not any(re.search(r"[.]|[eE][+-]", text) for text in texts.values()):
        return None  # hexadecimal, such as 1e2
    fractions = [text.partition(".")[2] for text in texts.values() if "." in text]
    # Programs drop zeros at the end of decimals: 1.9 and 1.10 are two numbers each.
    padded = any(len(fraction) > 1 and fraction.endswith("0") for fraction in fractions)
    if padded and not has_exponent and len(set(map(len, fractions))) > 1:
        return None
    return {stem: float(text) for stem, text in texts.items()}


def _hexadecimals(stems: Sequence[str]) -> dict[str, float] | None:
    """Return the value of the hexadecimal number in which names differ; None if they differ otherwise."""
    common = _common_start(stems)
    for letters in ("0123456789", "0123456789abcdefABCDEF"):
        start = common.rstrip(letters)
        end = _common_end([stem[len(start) :] for stem in stems]).lstrip("0123456789abcdefABCDEF")
        texts = {stem: stem[len(start) : len(stem) - len(end)] for stem in stems}
        if all(HEX.fullmatch(text) for text in texts.values()):
            break
    else:
        return None
    kinds = "".join(texts.values())
    if kinds.isalpha() or kinds.isdigit():
        return None
    values = {stem: int(text, 16) for stem, text in texts.items()}
    span = max(values.values()) - min(values.values()) + 1
    return dict(values) if len(set(map(len, texts.values()))) == 1 or span <= SPARSE * len(stems) else None
