"""JSON artefacts: atomic writes, NaN as null, content hashes, and a cache keyed by what a file was made from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import Field, asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self, dataclass_transform

from mixopt.errors import MixoptError
from proxies.files import WriteError as WriteError
from proxies.files import digest as digest
from proxies.files import is_changed, sealed
from proxies.files import nan_to_null as nan_to_null
from proxies.files import read_json as read_any_json
from proxies.files import replacing as replacing

Json = dict[str, Any]  # a JSON object
CACHE_KEY = "stamp"  # the key of a JSON artefact that holds its cache key


def write_text(path: Path, text: str) -> None:
    """Writes text (UTF-8) to path, whole or not at all."""
    with replacing(path) as half:
        half.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Json) -> Json:
    """An artefact with its checksum, whole or not at all; gives it as it will be read.

    NaN has no place in JSON: callers write None (see `nan_to_null`).
    """
    value = sealed(value)
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
    return value


@contextmanager
def restoring(path: Path, remedy: str) -> Iterator[None]:
    """Raises MixoptError, naming the file and the key, where a stored file's content is missing or of another type."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        what = f"key {error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        if details := getattr(error, "errors", None):  # pydantic's, which names each key
            what = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in details()[:3])
        raise MixoptError(f"{path}: not as this version of mixopt writes it ({what}): {remedy}") from None


def remake(made_by: str) -> str:
    """How to fix an artefact: the command that makes it."""
    return f"delete it and run `mixopt {made_by}` again"


def read_json(path: Path, *, made_by: str) -> Json:
    """An artefact. Raises MixoptError, naming the command that makes it, where it isn't there or not as it was written.

    Files of older versions have no checksum.
    """
    again = remake(made_by)
    try:
        value = read_any_json(path)
    except FileNotFoundError:
        raise MixoptError(f"{path} isn't there yet: `mixopt {made_by}` makes it") from None
    except ValueError as error:
        raise MixoptError(f"{path}: not JSON ({error}): {again}") from None
    if not isinstance(value, dict):
        raise MixoptError(f"{path}: not a JSON object: {again}")
    if is_changed(value):
        raise MixoptError(f"{path}: was changed after it was written (its checksum differs): {again}")
    return value


def cached(
    path: Path,
    key: str,
    compute: Callable[[], Json],
    *,
    made_by: str = "run",
    needs: Callable[[Json], Iterable[Path]] = lambda value: (),
    on_hit: Callable[[], None] = lambda: None,
    show: Callable[[Json], None] = lambda value: None,
) -> Json:
    """The JSON object in `path` where it was made from the same inputs; else what `compute` gives, written there.

    key: a digest of everything that decides the content. made_by: the command. needs: files that were made with it and
    must be there too. on_hit: called where nothing is computed. show: called with the object, before it is written.
    A file that is absent, unreadable or of another key is replaced; raises MixoptError for one of this key that was
    changed after it was written.
    """
    try:
        value = read_any_json(path)
    except (FileNotFoundError, ValueError):
        value = None
    if isinstance(value, dict) and value.get(CACHE_KEY) == key:
        value = read_json(path, made_by=made_by)
        with restoring(path, remake(made_by)):
            if all(file.exists() for file in needs(value)):
                on_hit()
                show(value)
                return value
    value = compute() | {CACHE_KEY: key}
    show(value)
    return write_json(path, value)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Record:
    """A result: subclasses are frozen dataclasses with their JSON's keys as fields, a Python keyword with a _ after it.

    record["key"] reads a field as JSON has it, so that scripts written for plain dicts go on working.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]  # of subclasses
    __pydantic_config__: ClassVar = {"alias_generator": lambda name: name.rstrip("_")}

    def __init_subclass__(cls, *, kw_only: bool = False) -> None:
        super().__init_subclass__()
        dataclass(frozen=True, kw_only=kw_only, repr=False)(cls)

    def to_json(self) -> Json:
        return asdict(self, dict_factory=lambda fields: {name.rstrip("_"): value for name, value in fields})

    @classmethod
    def from_json(cls, value: Json) -> Self:
        """Unknown keys are left out, those with a default may be missing. Raises ValueError for other content."""
        return _reader(cls).validate_python(value)

    @classmethod
    def read(cls, path: Path, *, made_by: str) -> Self:
        """The record in a file. Raises MixoptError, naming the command that makes it, where it isn't there or whole."""
        with restoring(path, remake(made_by)):
            return cls.from_json(read_json(path, made_by=made_by))

    def __getitem__(self, key: str) -> Any:
        return self.to_json()[key]

    def __repr__(self) -> str:
        """Numbers, names and records within; what is long is left out."""
        shown = {name: value for name in self.__dataclass_fields__ if (value := getattr(self, name)) is not None}
        plain = [f"{name}={value!r}" for name, value in shown.items() if isinstance(value, str | int | float | Record)]
        return f"{type(self).__name__}({', '.join([*plain, *['...'] * (len(plain) < len(shown))])})"


@cache
def _reader(cls: type[Any]) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(cls)
