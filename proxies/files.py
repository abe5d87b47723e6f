"""Atomic file writes, content hashes, and NaN as JSON's null."""

import errno
import hashlib
import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

SCRATCH = ".mixopt-"  # how half-written files and folders are called until they are whole: what a crash leaves behind


class WriteError(OSError):
    """A file that can't be written: `filename` is the one that was meant, `strerror` the reason."""

    def __str__(self) -> str:
        return f"{self.filename} can't be written ({self.strerror})"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system refuses within, as a WriteError of the path."""
    try:
        yield
    except OSError as error:
        raise WriteError(error.errno, error.strerror or str(error), str(path)) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path in the folder of `path`; on a clean exit the file written there takes `path`'s place.

    A reader sees the old file or the new one, never half of one. On an error the old file stays. A link keeps pointing
    to what is written. Raises WriteError where nothing can be written, or what is there is no regular file.
    """
    target = Path(os.path.realpath(path))
    # Of no other writer's, on this machine or another; short, whatever `path` is called; the suffix lets pandas and
    # Optuna see the type.
    half = target.parent / (SCRATCH + secrets.token_hex(8) + target.suffix[:9])
    with writing(path):
        with suppress(FileExistsError):  # a file: reported below
            target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not target.is_file():  # renaming would put a file in the place of a device or a pipe
            raise OSError(errno.EEXIST, "it is a folder" if target.is_dir() else "it is no regular file")
        try:
            yield half
            sync(half)
            half.replace(target)
        finally:
            half.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Has the disk hold a file: a name that outlives a power cut must not stand for half of it."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def digest(value: Any) -> str:
    """sha256 of a JSON-able value; key order does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_json(path: Path) -> Any:
    """Raises ValueError for a file that isn't JSON, or is nested too deeply to be one of ours."""
    if path.exists() and not path.is_file():  # reading from a pipe would wait for whoever writes into it
        raise ValueError("it is no regular file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def check_types(cls: type, values: Mapping[str, Any]) -> None:
    """Raises ValueError, naming the key, for a value that isn't of its field's type."""
    for name, hint in get_type_hints(cls).items():
        kinds = tuple(get_origin(one) or one for one in (get_args(hint) if isinstance(hint, UnionType) else (hint,)))
        value, number = values.get(name), {int, float} & {*kinds}
        absent = name not in values or (value is None and NoneType in kinds)
        plain = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not absent and not (plain if number else isinstance(value, kinds)):
            raise ValueError(f"{name} is {value!r:.60}, not of type {kinds[0].__name__}")


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
    if type(value).__module__ == "numpy":  # arrays and scalars; recognised by name, so that numpy isn't imported for it
        return nan_to_null(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
