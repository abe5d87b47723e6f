"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`; on a clean exit the file written there takes `path`'s place.

    A reader sees the old file or the new one, never half of one. On an error the old file stays.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The process id keeps two workers that share a folder apart; the suffix lets pandas and Optuna see the type.
    half = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield half
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes text (UTF-8) to path, whole or not at all."""
    with replacing(path) as half:
        half.write_text(text, encoding="utf-8")
