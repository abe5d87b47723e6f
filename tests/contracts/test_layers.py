"""The layers of docs/architecture.md, held against every import: also those inside functions and for types alone."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("mixopt", "proxies", "regressors")

# A module may import from layers further down, and from its own package. Packages of one layer don't know each other.
LAYERS = (
    ("mixopt.cli",),
    ("mixopt.mixture", "mixopt.repetition", "mixopt.continual"),
    ("mixopt.plan", "mixopt.scaling"),
    ("mixopt.search",),
    ("mixopt.runs",),
    ("mixopt.study",),
    ("mixopt.report",),
    ("mixopt.formatting", "mixopt.serialization", "mixopt.errors", "mixopt.version", "mixopt.threads"),
    ("regressors", "proxies"),
)
BASE = LAYERS[-2]  # these modules may import each other, as long as no cycle comes of it


def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


@cache
def imported(module: str) -> set[str]:
    """The project's modules that a module imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (f"{node.module}.{name.name}" for name in node.names)
            found |= {name if name in MODULES else node.module for name in names}
    return {name for name in found if name in MODULES} - {module}


def place(module: str) -> tuple[int, str] | None:
    """The layer and the package of a module; None for `mixopt` itself, which only hands names on."""
    for n, layer in enumerate(LAYERS):
        for package in layer:
            if module == package or module.startswith(package + "."):
                return n, package
    assert module in ("mixopt",), f"{module} has no layer: give it one here and in docs/architecture.md"
    return None


def upward() -> set[tuple[str, str]]:
    found = set()
    for module in MODULES:
        here = place(module)
        for other in imported(module):
            there = place(other)
            if here is None or here[1] == (there and there[1]):
                continue
            if there is None or (there[0] <= here[0] and not (here[1] in BASE and there[1] in BASE)):
                found.add((module, other))
    return found


def test_imports_go_downward():
    assert upward() == set()


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one import cycle; empty when there is none."""
    done: set[str] = set()

    def visit(module: str, way: list[str]) -> list[str]:
        if module in way:
            return way[way.index(module) :]
        if module in done:
            return []
        for other in sorted(graph[module]):
            if found := visit(other, [*way, module]):
                return found
        done.add(module)
        return []

    for module in sorted(graph):
        if found := visit(module, []):
            return found
    return []


def test_the_check_finds_a_cycle():
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]


def test_no_module_imports_itself_by_way_of_others():
    """The packages' own __init__ files hand names on and are no part of a cycle."""
    inside = {name: path for name, path in MODULES.items() if path.name != "__init__.py"}
    assert cycle({name: imported(name) & inside.keys() for name in inside}) == []
