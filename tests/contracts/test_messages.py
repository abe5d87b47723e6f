"""What messages, docs and the architecture page name exists: commands, options, files."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for name in ("mixopt", "proxies", "regressors") for path in (ROOT / name).rglob("*.py"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> dict[str, set[str]]:
    """Every command, `plan epochs` among them, with its options."""
    import typer.main

    from mixopt.cli.main import app

    found: dict[str, set[str]] = {}

    def walk(command, name):
        if hasattr(command, "commands"):
            for key, inner in command.commands.items():
                walk(inner, f"{name} {key}".strip())
        found[name] = {text for parameter in command.params for text in (*parameter.opts, *parameter.secondary_opts)}
        found[name] |= {"--help"}

    walk(typer.main.get_command(app), "")
    return found


COMMANDS = commands()
FIRST = {name.split()[0] for name in COMMANDS if name}


def strings(path: Path) -> str:
    """All text in a module: messages, docstrings, f-strings with their fields left out."""
    parts = [node.value for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
             if isinstance(node, ast.Constant) and isinstance(node.value, str)]  # fmt: skip
    return "\n".join(parts)


def named(text: str) -> set[str]:
    """Commands in backquotes: `mixopt fit RUNS.csv` names fit."""
    return {found[1] for found in re.finditer(r"`mixopt ([a-z]+)", text)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_a_module_names_exists(path):
    assert named(strings(path)) <= FIRST


def test_commands_are_found():
    assert {"run", "fit", "plan epochs", "plan cpt"} <= set(COMMANDS)
    assert "--target" in COMMANDS["fit"]
    assert named("use `mixopt fit RUNS.csv` or `mixopt serch`") == {"fit", "serch"}


def lines_of_commands(text: str) -> list[str]:
    """`mixopt ...` in backquotes or at the beginning of a line of a code block; comments are cut off."""
    inline = re.findall(r"`(mixopt [^`\n]+)`", text)
    blocks = [line for block in re.findall(r"```\w*\n(.*?)```", text, re.S) for line in block.splitlines()]
    return inline + [part.strip() for line in blocks for part in line.split("#")[0].split("&&") if "mixopt " in part]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_that_a_page_names_is_one_of_its_command(page):
    for line in lines_of_commands(page.read_text(encoding="utf-8")):
        words = line[line.index("mixopt ") :].split()[1:]
        name = next((name for n in (2, 1) if (name := " ".join(words[:n])) in COMMANDS), None)
        options = {word.split("=")[0] for word in words if word.startswith("--")}
        if name is None:
            continue  # a sentence, or `mixopt report`, `mixopt export` side by side
        assert options <= COMMANDS[name], f"{page.name}: {line}"


def test_every_file_that_the_architecture_page_names_exists():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    paths = set(re.findall(r"`((?:mixopt|regressors|proxies|tests)/[\w/.]*)`", text))
    assert len(paths) > 20
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("mixopt/search/simplex.py", "feasible"),
        ("regressors/laws/__init__.py", "LAWS"),
        ("regressors/registry.py", "PREDICTORS"),
        ("mixopt/study/kind.py", "KINDS"),
        ("mixopt/runs/columns.py", "ALIASES"),
        ("mixopt/mixture/export.py", "FORMATS"),
    ],
)
def test_the_names_of_the_how_to_paragraphs_are_where_the_page_says(file, name):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    assert name in names
    assert name in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
