"""Atomic file writes, content hashes, and NaN as JSON's null."""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


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
        sync(half)
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Has the disk hold a file: a name that outlives a power cut must not stand for half of it."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def digest(value: Any) -> str:
    """sha256 of a JSON-able value; key order does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


CHECKSUM = "checksum"  # the key of a JSON file that holds the digest of all else in it


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object as it will be read, with its checksum. Raises ValueError for NaN."""
    plain: dict[str, Any] = json.loads(json.dumps(value, allow_nan=False))
    return plain | {CHECKSUM: _checksum(plain)}


def is_changed(value: object) -> bool:
    """Whether a JSON object has another checksum than its content's. Files of older versions have none."""
    return isinstance(value, Mapping) and CHECKSUM in value and value[CHECKSUM] != _checksum(value)


def _checksum(value: Mapping[str, Any]) -> str:
    return digest({key: inner for key, inner in value.items() if key != CHECKSUM})


def nan_to_null(value: Any) -> Any:
    """The value as JSON can hold it: arrays and tuples as lists, and None for a number that isn't finite."""
    if isinstance(value, Mapping):
        return {str(key): nan_to_null(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [nan_to_null(one) for one in value]
    if type(value).__module__ == "numpy":  # arrays and scalars; asked by name, so that numpy isn't imported for it
        return nan_to_null(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
