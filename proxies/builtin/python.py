"""Built-in corpora from the Python installation and from the packages mixopt needs: versions decide the text."""

import ast
import inspect
import os
import re
import sysconfig
import tokenize
import warnings
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

DOCUMENTED = ("numpy", "scipy", "scikit-learn", "torch", "pandas")
_FOLDERS = {"scikit-learn": "sklearn"}  # where the package's folder isn't named like it
_NO_DOCS = {"tests", "test", "testing", "_testing", "_vendor", "vendored_packages"}
# Tests, other people's packages, generated tables of character codes, and what `reference` reads.
_NO_CODE = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "encodings", "pydoc_data"}
_MIN_CHARACTERS = 200  # of a docstring that makes a document

# A string in triple quotes right after a colon (of a def or a class) or at the start of a file. Parsing every file
# (ast.parse) finds nearly the same strings in ten times the time: 15 s.
_DOCSTRING = re.compile(r'(?:\A|:)[ \t]*(?:#[^\n]*)?\s*([rRuU]?"""(?:[^\\]|\\.)*?""")', re.DOTALL)


def standard_library() -> Iterator[str]:
    """Modules of the Python standard library, in order of their paths."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(_modules(root, without=_NO_CODE)):
        with tokenize.open(path) as file:
            text = file.read()
        if text.strip():
            yield text


def docstrings() -> Iterator[str]:
    """Docstrings of over 200 characters, each distinct one once."""
    seen = set()
    for name in DOCUMENTED:
        root = Path(str(distribution(name).locate_file(_FOLDERS.get(name, name))))
        for path in sorted(_modules(root, without=_NO_DOCS)):
            for text in _docstrings(path.read_text("utf-8")):
                if text not in seen:
                    seen.add(text)
                    yield text


def reference() -> Iterator[str]:
    """Topics of Python's help()."""
    from pydoc_data.topics import topics

    yield from (topics[name] for name in sorted(topics))


def _modules(root: Path, *, without: set[str]) -> Iterator[Path]:
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in without]
        yield from (Path(folder, name) for name in files if name.endswith(".py"))


def _docstrings(code: str) -> Iterator[str]:
    for match in _DOCSTRING.finditer(code):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # stray backslashes in other people's docstrings
            try:
                text = inspect.cleandoc(ast.literal_eval(match[1]))
            except (SyntaxError, ValueError):
                continue  # three quotes that aren't a docstring after all
        # Docstrings about Unicode may hold half a surrogate pair, which can't be written.
        if len(text) > _MIN_CHARACTERS and not re.search("[\ud800-\udfff]", text):
            yield text
