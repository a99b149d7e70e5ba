"""Imports between packages point from higher to lower layers only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import vidpred

PACKAGE = Path(vidpred.__file__).parent
LAYERS = [  # lowest first; a module may import from its layer and those below
    {"version", "errors", "bounds", "settings", "devices", "files", "processes", "plugins"},
    {"data", "losses"},
    {"models", "checkpoint"},
    {"media"},
    {"inference"},
    {"evaluation", "planning", "streaming"},
    {"training"},
    {"config"},
    {"resume"},
    {"run"},
    {"commands"},
    {"__init__", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imports(file: Path) -> set[str]:
    """Return the vidpred modules that a file imports anywhere, as written ("vidpred.data.batch")."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            if node.module == "vidpred":
                found |= {f"vidpred.{alias.name}" for alias in node.names}
            else:
                found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] == "vidpred"}


@pytest.mark.slow
def test_no_import_points_upward() -> None:
    for file in PACKAGE.rglob("*.py"):
        part = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        for name in imports(file):
            target = [*name.split("."), "__init__"][1]
            assert LEVEL[target] <= LEVEL[part], f"{file.relative_to(PACKAGE)} imports {name}, a layer above its own"


@pytest.mark.slow
def test_no_import_cycles_between_modules() -> None:
    graph = {}
    for file in PACKAGE.rglob("*.py"):
        name = ".".join(["vidpred", *file.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")
        graph[name] = imports(file) - {"vidpred"}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"an import cycle: {' -> '.join([*path, name])}"
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        if name != "vidpred":  # its lazy names point everywhere
            visit(name, ())


@pytest.mark.slow
def test_only_the_prepare_verb_knows_data_prep() -> None:
    for file in PACKAGE.rglob("*.py"):
        inside = file.relative_to(PACKAGE).parts
        if inside in (("commands", "data.py"), ("__init__.py",)) or inside[0] == "data_prep":
            continue
        imports_or_names = [
            ast.unparse(node)
            for node in ast.walk(ast.parse(file.read_text()))
            if (isinstance(node, ast.Import | ast.ImportFrom) and "data_prep" in ast.unparse(node))
            or (isinstance(node, ast.Constant) and str(node.value).startswith(("data_prep", "vidpred.data_prep")))
        ]
        assert not imports_or_names, f"{file} imports data_prep"


@pytest.mark.slow
def test_what_every_command_imports_stays_light() -> None:
    """Each of these modules takes seconds to import or belongs to an optional dependency."""
    heavy = (
        "av",
        "torchvision",
        "torch._dynamo",
        "sklearn",
        "scipy",
        "matplotlib",
        "gymnasium",
        "libarchive",
        "pyarrow",
    )
    code = f"import sys, vidpred.run; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
