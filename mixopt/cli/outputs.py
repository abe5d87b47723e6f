"""Output files that options name: checked before the work, written after its answer is shown."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from mixopt.errors import MixoptError
from mixopt.report.document import Document
from mixopt.report.html import is_page, render
from mixopt.serialization import WriteError, replacing, write_text


class Outputs:
    """The output files of one command, and those of them that are written.

    inputs: what it reads, which is never overwritten. force: overwrite files that mixopt didn't write, too.
    """

    def __init__(self, inputs: Iterable[Path], *, force: bool):
        self.inputs, self.force = [real(path) for path in inputs], force
        self.options: dict[Path, str] = {}
        self.written: list[tuple[str, Path]] = []

    def check(
        self, option: str, path: Path | None, ours: Callable[[Path], bool] = lambda path: False, *, what: str = "file"
    ) -> None:
        """Raises MixoptError, naming the option, for a path that can't be written, or must not be.

        ours: whether a file that is there is an earlier one of mixopt's, which may be replaced. what: the option names.
        """
        if path is None:
            return
        try:
            _probe(path)
        except WriteError as error:
            raise MixoptError(f"{option}: {error}: name another {what}") from None
        if real(path).is_symlink():
            raise MixoptError(f"{option}: {path} is a link that leads to itself: name another {what}")
        if any(real(path).is_relative_to(one) or _same(path, one) for one in self.inputs):
            raise MixoptError(f"{option}: the command reads {path}: name another {what}")
        twin = next((name for other, name in self.options.items() if _same(path, other)), None)
        if twin:
            raise MixoptError(f"{option}: {path} is also the file of {twin}: name another {what}")
        if path.exists() and not self.force and not ours(path):
            raise MixoptError(
                f"{option}: {path} is there already and no earlier output of this command: name another {what}, or "
                "overwrite it with --force"
            )
        self.options[path] = option

    def check_page(self, path: Path | None) -> None:
        """`check` of --html."""
        self.check("--html", path, is_page)

    def write(self, what: str, path: Path | None, writer: Callable[[Path], object]) -> None:
        """Writes a file that was checked; None: nothing. what: its kind, in a word. Raises MixoptError if it can't."""
        if path is None:
            return
        try:
            writer(path)
        except OSError as error:
            raise MixoptError(f"{self.options[path]}: {error}: name another file, or make room for it") from None
        self.written.append((what, path))

    def write_page(self, path: Path | None, document: Document) -> None:
        """`write` of --html."""
        self.write("report", path, lambda file: write_text(file, render(document)))


def real(path: Path) -> Path:
    """Where links lead; unlike `Path.resolve` it takes one that leads to itself."""
    return Path(os.path.realpath(path))


def _same(path: Path, other: Path) -> bool:
    return real(path) == real(other) or (path.exists() and other.exists() and path.samefile(other))


def _probe(path: Path) -> None:
    """Raises WriteError where no file can be written; leaves nothing behind."""
    missing = []
    with suppress(OSError):  # a name that is too long: reported below
        missing = [folder for folder in path.parents if not folder.exists()]
    try:
        with suppress(StopIteration), replacing(path) as half:
            half.write_bytes(b"?")
            raise StopIteration  # so that it takes no place
    finally:
        with suppress(OSError):
            for folder in missing:
                folder.rmdir()
