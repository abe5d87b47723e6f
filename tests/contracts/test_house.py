"""The rules of the house, held against the code."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("mixopt", "proxies", "regressors")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize(("package", "forbidden"), [("proxies", {"mixopt", "regressors"}),
                                                    ("regressors", {"mixopt", "proxies"})])  # fmt: skip
def test_proxies_and_regressors_know_nothing_of_each_other_or_the_product(package, forbidden):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    assert {path.name: imports(path) & forbidden for path in files if imports(path) & forbidden} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_files_stay_short(package):
    long = {p.name: n for p in (ROOT / package).rglob("*.py") if (n := len(p.read_text().splitlines())) > 500}
    assert long == {}


def lines_with(pattern: str, package: str) -> list[str]:
    """Lines of a package's code that have the pattern, each with its file."""
    return [f"{path.name}: {line.strip()}" for path in (ROOT / package).rglob("*.py")
            for line in path.read_text(encoding="utf-8").splitlines() if re.search(pattern, line)]  # fmt: skip


def test_few_modules_stand_beside_the_packages():
    assert len(list((ROOT / "mixopt").glob("*.py"))) <= 6


def test_results_are_typed_and_kinds_are_no_matter_of_attributes():
    assert len(lines_with(r"\b(dict|Mapping)\[str, Any\]", "mixopt")) <= 120
    assert len(lines_with(r"\bhasattr\(", "mixopt")) <= 2


def test_code_speaks_the_words_of_the_field():
    assert len([line for package in PACKAGES for line in lines_with(r"\b(told|said|worlds)\b", package)]) <= 40


def test_no_test_imports_another_test():
    pattern = r"^\s*(from|import) tests\.(?!factories\b|conftest\b)"
    assert lines_with(pattern, "tests") == []


def modules_after(code: str) -> set[str]:
    program = f"{code}\nimport sys, json; print(json.dumps([m for m in sys.modules if '.' not in m]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


HEAVY = {"torch", "pandas", "lightgbm", "sklearn", "scipy", "optuna", "datasets", "plotly", "numpy", "pyarrow"}


@pytest.mark.parametrize("code", ["import mixopt", "import mixopt.cli.main", "import proxies", "import regressors"])
def test_nothing_heavy_is_imported_before_it_is_needed(code):
    assert modules_after(code) & HEAVY == set()


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['mixopt', '--help']\n"
        "from mixopt.cli.main import main\ntry: main()\nexcept SystemExit: pass"
    )
    assert modules_after(code) & HEAVY == set()


def test_every_public_name_imports_and_is_listed():
    import mixopt

    for name in mixopt.__all__:
        assert getattr(mixopt, name) is not None
        assert name in dir(mixopt)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mixopt.nothing


def test_no_module_takes_the_place_of_a_public_name():
    """An imported mixopt/x.py becomes the attribute mixopt.x, and would hide a function of that name."""
    import mixopt

    assert [name for name in mixopt.__all__ if (ROOT / "mixopt" / f"{name}.py").exists()] == []


def test_every_command_in_the_readme_exists():
    text = (ROOT / "README.md").read_text(encoding="utf-8") + "".join(
        p.read_text() for p in (ROOT / "docs").glob("*.md")
    )
    code = re.findall(r"`([^`\n]+)`", text) + re.findall(r"```\w*\n(.*?)```", text, re.S)
    named = {word for part in code for word in re.findall(r"\bmixopt ([a-z]+)\b", part)}
    from mixopt.cli.main import app

    there = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    there |= {group.name for group in app.registered_groups}
    assert named and named <= there, named - there


def test_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"\bmake ([a-z-]+)", (ROOT / "README.md").read_text()))
    assert {"demo", "test"} <= named
    assert all(re.search(rf"^{target}:", makefile, re.M) for target in named)


def test_pins_lie_inside_the_ranges_of_the_project():
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    pins = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins.items()}
    wanted = project["dependencies"] + [r for group in project["optional-dependencies"].values() for r in group]
    for text in wanted:
        requirement = Requirement(text)
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        assert name in pins, f"{name} has no exact pin"
        assert requirement.specifier.contains(pins[name]), f"{name} {pins[name]} is outside {requirement.specifier}"
