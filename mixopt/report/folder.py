"""From a study folder to its report.html."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixopt.errors import MixoptError
from mixopt.files import write_text
from mixopt.report.page import render

if TYPE_CHECKING:
    import pandas

NEEDED = ("recommendation.json", "fits/selection.json", "runs.parquet", "study.yaml")


def write(folder: str | os.PathLike[str]) -> Path:
    """Reads a study folder and writes its report.html, replacing an older one in a single step.

    Returns the report's path. Raises MixoptError when a file it needs is missing or can't be read;
    shards/corpora.json and verify.json may be absent.
    """
    folder = Path(folder)
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise MixoptError(
            f"{folder} has no {' and no '.join(missing)}, so there is nothing to report yet: "
            "finish the study with `mixopt run` first"
        )
    html = render(
        _json(folder / "recommendation.json"),
        _json(folder / "fits/selection.json"),
        _runs(folder / "runs.parquet"),
        corpora=_json_if_there(folder / "shards/corpora.json"),
        study_text=(folder / "study.yaml").read_text(encoding="utf-8"),
        verified=_json_if_there(folder / "verify.json"),
    )
    report = folder / "report.html"
    write_text(report, html)
    return report


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MixoptError(f"{path} is not JSON ({error}): delete it and run the study again") from error
    if not isinstance(value, dict):
        raise MixoptError(f"{path} holds no JSON object: delete it and run the study again")
    return value


def _json_if_there(path: Path) -> dict[str, Any] | None:
    return _json(path) if path.is_file() else None


def _runs(path: Path) -> "pandas.DataFrame":
    import pandas

    try:
        return pandas.read_parquet(path)
    except (ValueError, OSError) as error:
        raise MixoptError(f"{path} can't be read ({error}): delete it and run the study again") from error
