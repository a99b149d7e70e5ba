"""YAML without surprises: bounded in size and depth, without duplicate keys, dates, octal numbers or Python objects."""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.constructor import ConstructorError

MAX_BYTES, MAX_NODES, MAX_DEPTH = 1 << 18, 10_000, 32
MOST_SHOWN = 80  # characters of a problem
MAX_DIGITS = 400  # of an integer; the largest float has 309
# What YAML 1.1 turns into something else than it looks like: dates, and 12:30 as a number of base 60.
MISREAD = tuple(f"tag:yaml.org,2002:{name}" for name in ("timestamp", "int", "float", "value"))
MERGE = "tag:yaml.org,2002:merge"
# Constructors fail with these where a value does not fit its tag, such as "!!int x".
UNFIT = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)


class YamlError(ValueError):
    """YAML that cannot be read; `line` counts from 1, and is None where it is unknown."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem if len(problem) <= MOST_SHOWN else f"{problem[:MOST_SHOWN]}...")
        self.line = line


class _Loader(yaml.SafeLoader):
    """A loader that ends at the bounds, and whose every failure is a YAMLError."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = self._depth = 0
        self._sizes: dict[int, int] = {}  # of anchored nodes, with all that their aliases repeat

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node, and count it; an alias counts as much as what it repeats."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        alias = self.check_event(yaml.AliasEvent)
        before = self._nodes
        self._nodes += 1
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ConstructorError(None, None, f"nested more than {MAX_DEPTH} deep", mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        if alias:
            if id(node) not in self._sizes:
                raise ConstructorError(None, None, "an alias within its own anchor", mark)
            self._nodes += self._sizes[id(node)]
        else:
            self._sizes[id(node)] = self._nodes - before
        if self._nodes > MAX_NODES:
            raise ConstructorError(None, None, f"more than {MAX_NODES:,} values", mark)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Construct a value; what does not fit its tag raises ConstructorError."""
        try:
            return super().construct_object(node, deep)
        except UNFIT:
            kind = node.tag.rpartition(":")[2]
            shown = f" {node.value[:40]!r}" if isinstance(node, yaml.ScalarNode) else ""
            raise ConstructorError(None, None, f"not a value of type {kind}:{shown}", node.start_mark) from None


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == MERGE:
            continue
        key = loader.construct_object(key_node, True)
        if key in seen:
            raise ConstructorError(None, None, f"duplicate key '{key}'", key_node.start_mark)
        seen.add(key)
    found: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    return found


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = node.value.replace("_", "")
    if len(text) > MAX_DIGITS:
        raise ConstructorError(None, None, f"an integer of {len(text):,} digits", node.start_mark)
    if re.fullmatch(r"[-+]?0[0-9]+", text):
        raise ConstructorError(
            None, None, f"an ambiguous number {text}: quote it, or remove the leading 0", node.start_mark
        )
    return int(text, 0)


_Loader.yaml_implicit_resolvers = {
    letter: [rule for rule in rules if rule[0] not in MISREAD]
    for letter, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"^(?:[-+]?[0-9][0-9_]*|[-+]?0[xX][0-9a-fA-F_]+|[-+]?0[oO][0-7_]+|[-+]?0[bB][01_]+)$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(  # YAML 1.1 reads 1e-4 (no point) as a string
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)"
        r"|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


class _Dumper(yaml.SafeDumper):
    """A dumper that also quotes texts which only the loader above reads as numbers, such as 1e-4."""


_Dumper.yaml_implicit_resolvers = {
    letter: [
        rule
        for resolvers in (yaml.SafeDumper.yaml_implicit_resolvers, _Loader.yaml_implicit_resolvers)
        for rule in resolvers.get(letter, ())
    ]
    for letter in {*yaml.SafeDumper.yaml_implicit_resolvers, *_Loader.yaml_implicit_resolvers}
}


def dump_yaml(value: Any, **style: Any) -> str:
    """Return a plain value as YAML that `parse_yaml` reads as the same value; for the style see `yaml.dump`."""
    return str(yaml.dump(value, Dumper=_Dumper, **style))


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML document. Raises YamlError."""
    return parse_with_nodes(text)[0]


def parse_with_nodes(text: str) -> tuple[Any, yaml.Node | None]:
    """Return the value of a YAML document, and the node that has the line of each part; None for an empty document.

    Raises:
        YamlError: It is no YAML, exceeds the bounds, repeats a key, or a value does not fit its type.
    """
    if len(text) > MAX_BYTES:
        raise YamlError(f"more than {MAX_BYTES:,} characters")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return (None if node is None else loader.construct_document(node)), node
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise YamlError(getattr(error, "problem", None) or "invalid YAML", mark.line + 1 if mark else None) from None
    except RecursionError:
        raise YamlError("nested too deeply") from None
