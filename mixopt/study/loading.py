"""Reader of study files: YAML 1.2, validated, and one line with file, line and key for whatever is wrong."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from mixopt.errors import MixoptError
from mixopt.formatting import did_you_mean
from mixopt.serialization import Json
from mixopt.study.config import AnyStudy, Record
from mixopt.study.kind import DEFAULT, kind_named


@dataclass(frozen=True)
class StudyFile:
    """A study file as plain data, with the line of every key path, counted from 1."""

    path: Path
    data: Json
    lines: dict[tuple[str, ...], int]

    def place(self, where: Sequence[str]) -> str:
        """file:line: key, with the line of the deepest key that is in the file."""
        keys = tuple(where)
        line = next((self.lines[keys[:n]] for n in range(len(keys), 0, -1) if keys[:n] in self.lines), None)
        return f"{self.path}{f':{line}' if line else ''}: {'.'.join(keys)}" if keys else str(self.path)


def load_study(path: Path | str) -> Any:
    """The study in a YAML file as the record of its kind, with paths still relative to it (see `resolve`).

    Raises MixoptError naming file, line and key, and how to fix it.
    """
    from pydantic import ValidationError

    from proxies.corpora import matches

    path = Path(path)
    file = parse(read_text(path), path)
    try:
        kind = kind_named(file.data.get("kind", DEFAULT))
    except MixoptError as error:
        raise MixoptError(f"{file.place(['kind'])}: {error}") from None
    try:
        study = kind.record.model_validate(file.data)
    except ValidationError as error:
        raise MixoptError(explain(most_telling(error.errors(), file), file, kind.record)) from None
    for where, message in kind.problems(study):
        raise MixoptError(f"{file.place(where)}: {message}")
    for where, target in files_named(study):
        try:
            full = resolve(path, target)
            there = any(True for _ in matches(full)) or full.exists()
        except (ValueError, RuntimeError) as error:  # a folder that can't be listed, ~ of a user who isn't there
            raise MixoptError(f"{file.place(where)}: {error}") from None
        if not there:
            raise MixoptError(
                f"{file.place(where)}: {target} doesn't exist (looked in {path.parent.resolve()}): "
                "paths are relative to the study file"
            )
    return study


def read_text(path: Path) -> str:
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe can be read once only
            raise OSError("it is no regular file")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MixoptError(f"{path}: no such study file; `mixopt init DIR` writes one to start from") from None
    except (OSError, UnicodeDecodeError) as error:
        raise MixoptError(f"{path}: can't be read as a study file ({error})") from None


def parse(text: str, path: Path) -> StudyFile:
    """Raises MixoptError for text that isn't YAML, or holds no keys."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        data = YAML(typ="safe", pure=True).load(text)
        lines = key_lines(YAML(typ="safe", pure=True).compose(text))
    except RecursionError:
        raise MixoptError(f"{path}: nested too deeply, or an alias (*) contains itself: write it out") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise MixoptError(f"{path}{line}: not valid YAML: {error.problem or error.context}") from None
    except (YAMLError, ValueError) as error:  # ValueError: a date that isn't one, a number of thousands of digits
        raise MixoptError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise MixoptError(f"{path}: a study file is a mapping (name:, domains:, target:, ...), this holds no keys")
    return StudyFile(path, data, lines)


def key_lines(node: Any, above: tuple[str, ...] = ()) -> dict[tuple[str, ...], int]:
    """Key path -> line of a composed YAML mapping."""
    lines: dict[tuple[str, ...], int] = {}
    if getattr(node, "id", None) == "mapping":
        for key, value in node.value:
            here = (*above, str(key.value))
            lines[here] = key.start_mark.line + 1
            lines |= key_lines(value, here)
    return lines


def most_telling(errors: Sequence[Any], file: StudyFile) -> Any:
    """Of the errors on the first wrong key the one that leads deepest into what stands there.

    Where a key may hold several types, the first error is that its value isn't of the first one.
    """
    first = [error for error in errors if error["loc"][:1] == errors[0]["loc"][:1]]
    return max(first, key=lambda error: (len(known_part(error["loc"], file.data)), error["type"] == "missing"))


def explain(error: Any, file: StudyFile, record: type[AnyStudy]) -> str:
    """One pydantic error as a line for the user."""
    where = known_part(error["loc"], file.data)
    if error["type"] == "extra_forbidden":
        allowed = allowed_keys(error["loc"][:-1], record)
        hint = did_you_mean(str(error["loc"][-1]), allowed, otherwise=f"allowed here: {', '.join(allowed)}")
        return f"{file.place(where)}: unknown key; {hint}"
    if error["type"] == "missing":
        full = [*where, str(error["loc"][-1])]
        schema = "mixopt schema" + (f" --kind {file.data['kind']}" if file.data.get("kind", DEFAULT) != DEFAULT else "")
        return f"{file.place(full)}: is missing; `{schema}` lists what a study file holds"
    message = str(error["msg"]).removeprefix("Value error, ").replace(" after validation, not 0", "")
    message = re.sub(r"dictionary( or instance of \w+)?", "mapping (key: value)", message)
    given = error.get("input")
    shown = isinstance(given, str | int | float | bool | None) and repr(given) not in message
    return f"{file.place(where)}: {message[0].lower()}{message[1:]}" + (f", got {given!r}" if shown else "")


def known_part(loc: Sequence[Any], data: Any) -> list[str]:
    """The part of pydantic's location that is in the file: it also names union members and '[key]'."""
    keys: list[str] = []
    here = data
    for part in loc:
        inside = part in here if isinstance(here, dict) else isinstance(here, list) and part in range(len(here))
        if inside:
            here = here[part]
            keys.append(str(part))
    return keys


def allowed_keys(loc: Sequence[Any], record: type[AnyStudy]) -> list[str]:
    """Keys of the record that a location in a study's record points into."""
    field = record.model_fields.get(str(loc[0])) if loc else None
    inside = next(records_in(field.annotation), record) if field else record
    return list(inside.model_fields)


def records_in(annotation: Any) -> Iterator[Any]:
    """The records that a field may hold: itself, among others, or in a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, Record):
        yield annotation
    for inner in get_args(annotation):
        yield from records_in(inner)


def files_named(study: Any) -> list[tuple[tuple[str, ...], str]]:
    """Every local file that the study names, with its key."""
    named: list[tuple[tuple[str, ...], str]] = [
        ((part, name, "path"), text.path)
        for part in ("domains", "held_out")
        for name, text in getattr(study, part).items()
        if text.path
    ]
    if study.tokenizer.path:
        named.append((("tokenizer", "path"), study.tokenizer.path))
    runs = study.runs_file if study.brings_runs else None
    if runs:
        named.append((("runs",), runs.path))
        if runs.metrics:
            named.append((("runs", "metrics"), runs.metrics))
    return named


def files_read(study: Any, study_path: Path) -> list[Path]:
    """Every local file and folder that the study reads."""
    from proxies.corpora import matches

    hubs = [text.hub for part in (study.domains, study.held_out) for text in part.values() if text.hub]
    given = (resolve(study_path, path) for path in [*(path for _, path in files_named(study)), *hubs])
    return [found for path in given for found in ([path] if path.exists() else matches(path))]


def resolve(study_path: Path | str, given: str) -> Path:
    """A path written in a study file, seen from the study file."""
    return Path(study_path).resolve().parent / Path(given).expanduser()
