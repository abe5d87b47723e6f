"""Stored fits: what the JSON files of every fit have in common, and their checksums."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.errors import MixoptError
from mixopt.formatting import format_target, mixture
from mixopt.runs.objective import Target
from mixopt.serialization import Json, digest, nan_to_null, read_any_json, write_text
from mixopt.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixopt.runs.table import RunTable

    Floats = NDArray[np.float64]


PROBES = 5  # mixtures whose predictions are stored too: a mixopt that predicts them otherwise must not be trusted
SAME = 1e-6  # relative; the same formulas on another machine agree far closer


@dataclass(frozen=True, eq=False, repr=False)
class Stored:
    """What every stored fit holds.

    domains: in the order that arrays of mixtures have; texts: the losses that it predicts; target: weight by loss.
    record: the whole content of its file.
    """

    record: Mapping[str, Any]

    @cached_property
    def objective(self) -> Target:
        weights = self.record["target"]["weights"]
        if not {*weights} <= {*self.texts}:
            raise ValueError(f"its target {weights} is none of its texts")
        return Target(weights, np.array([weights.get(text, 0.0) for text in self.texts]))

    @property
    def best(self) -> dict[str, float]:
        """The mixture predicted to be best when it was fitted, share by domain."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({format_target(self.target)!r}, best: {mixture(self.best)})"

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(self.record["domains"])

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(self.record["texts"])

    @property
    def target(self) -> dict[str, float]:
        return dict(self.objective.weights)

    def save(self, path: str | Path) -> None:
        """Writes the file, whole or not at all."""
        write_fit(Path(path), self.record)


def is_fit(path: Path, kind: str) -> bool:
    """Whether a file begins as `write_fit` begins one of this kind, whole or not."""
    head = f'{{\n"kind": "{kind}"'.encode()
    try:
        if not path.is_file():  # opening a pipe would wait for whoever writes into it
            return False
        with path.open("rb") as file:
            return file.read(len(head)) == head
    except OSError:
        return False


def read_fit(path: Path, kind: str, version: int) -> Json:
    """The content of a fit's file but for its checksum. kind: its key "kind", which is also the command that writes it;
    version: of the format.

    Raises MixoptError when it is no such fit, or was changed since it was written.
    """
    again = f"run `{kind}` again"
    try:
        record = read_any_json(path)
    except OSError as error:
        raise MixoptError(f"{path}: can't be read ({error.strerror}): `{kind} RUNS.csv` writes such a file") from None
    except (ValueError, RecursionError) as error:
        raise MixoptError(f"{path}: not JSON ({error}): {again}") from None
    if not isinstance(record, dict) or record.get("kind") != kind:
        raise MixoptError(f"{path}: not a fit of `{kind}`: `{kind} RUNS.csv` writes one")
    if record.get("format") != version:
        raise MixoptError(f"{path}: of format {record.get('format')}, this mixopt reads {version}: {again}")
    if record.pop("checksum", None) != digest(record):
        raise MixoptError(f"{path}: not as it was written (its checksum differs): {again}")
    return record


def write_fit(path: Path, record: Mapping[str, Any]) -> None:
    """Writes the record with its checksum, one key a line, whole or not at all."""
    record = {**record, "mixopt": __version__}
    content = {**record, "checksum": digest(record)}
    lines = (
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}" for key, value in content.items()
    )
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")


def numbers(rows: Any) -> Floats:
    """Rows of JSON numbers as an array, null as NaN."""
    return np.array([[np.nan if value is None else value for value in row] for row in rows], dtype=float)


def table_digest(table: RunTable) -> str:
    """sha256 of what a fit sees of a table: ids, domains, weights, names of losses and losses, in order."""
    return digest(
        [table.run_ids, list(table.domains), table.weights.tolist(), list(table.targets), nan_to_null(table.losses)]
    )
