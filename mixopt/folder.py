"""The study folder: where every artefact lies, and how a stage knows that its own is up to date."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixopt.errors import MixoptError
from mixopt.files import write_text


@dataclass(frozen=True)
class Folder:
    """Paths of a study's artefacts."""

    root: Path

    @property
    def study(self) -> Path:
        return self.root / "study.yaml"

    @property
    def shards(self) -> Path:
        return self.root / "shards"

    @property
    def tokenizer(self) -> Path:
        return self.shards / "tokenizer.json"

    @property
    def corpora(self) -> Path:
        return self.shards / "corpora.json"

    @property
    def design(self) -> Path:
        return self.root / "design.csv"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def fits(self) -> Path:
        return self.root / "fits"

    @property
    def selection(self) -> Path:
        return self.fits / "selection.json"

    @property
    def recommendation(self) -> Path:
        return self.root / "recommendation.json"

    @property
    def search_db(self) -> Path:
        return self.root / "search.db"

    @property
    def verification(self) -> Path:
        return self.root / "verify.json"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def export(self) -> Path:
        return self.root / "export"


def digest(value: Any) -> str:
    """sha256 of a JSON-able value; key order does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Whole or not at all. NaN has no place in JSON: callers write None."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, *, made_by: str) -> Any:
    """A JSON artefact. Raises MixoptError naming the command that makes it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MixoptError(f"{path} isn't there yet: `mixopt {made_by}` makes it") from None
    except ValueError as error:
        raise MixoptError(f"{path}: not JSON ({error}): delete it and run `mixopt {made_by}` again") from None


def stamp_of(path: Path) -> str | None:
    """The stamp in a JSON artefact: a digest of everything that it was made from. None: absent or unreadable."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return value.get("stamp") if isinstance(value, dict) else None
