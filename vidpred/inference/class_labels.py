"""Classes of an image generator by name or by number."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from vidpred.errors import ConfigError
from vidpred.inference.predictor import Predictor

SHOWN = 12  # names in an error


def class_names(predictor: Predictor) -> list[str]:
    """Return the names of the classes that the generator takes; a class without a name is named by its number."""
    names, count = predictor.classes, predictor.generator.num_labels
    return [names[number] if number < len(names) else str(number) for number in range(count)]


def parse_labels(texts: Sequence[str], names: Sequence[str], option: str = "--labels") -> list[int]:
    """Return the numbers of classes that are given by name or by number, several with commas.

    If all names are numbers, as those of digits, a number is a name.

    Args:
        texts: One or several of them, as in ["cat,dog", "3"].
        names: Names of all classes.
        option: Name of the option in errors.

    Raises:
        ConfigError: There are no classes, or one is unknown.
    """
    if not names:
        raise ConfigError(f"[{option}] the run's generator takes no classes; train it with model.num_labels")
    found: list[int] = []
    for text in texts:
        whole = text.strip() in names  # a name may contain a comma
        words = [text.strip()] if whole else [word.strip() for word in text.split(",")]
        found += [_number(word, names, option) for word in words]
    return found


def parse_label(text: str, names: Sequence[str], option: str) -> int:
    """Return the number of one class; for the arguments see `parse_labels`. Raises ConfigError, also for several."""
    found = parse_labels([text], names, option)
    if len(found) > 1:
        raise ConfigError(f"[{option} {text}] names {len(found)} classes; give one")
    return found[0]


def _number(word: str, names: Sequence[str], option: str) -> int:
    """Return the number of the class with a name or number. Raises ConfigError."""
    for same in (str, str.casefold):
        matches = [number for number, name in enumerate(names) if same(name) == same(word)]
        if len(matches) == 1:
            return matches[0]
    if word.isdecimal() and int(word) < len(names) and not all(name.isdecimal() for name in names):
        return int(word)
    near = [] if word.isdecimal() else get_close_matches(word.casefold(), [name.casefold() for name in names], 1)
    meant = next((f"; did you mean {name}?" for name in names if [name.casefold()] == near), "")
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    raise ConfigError(
        f"[{option} {word}] no such class{meant or '; choose from '}"
        + ("" if meant else f"{', '.join(names[:SHOWN])}{more}")
    )
