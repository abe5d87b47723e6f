"""From a study folder to its report.html."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixopt.errors import MixoptError
from mixopt.mixture.report import accuracy, overview, provenance
from mixopt.mixture.report.data_value import worth
from mixopt.mixture.report.inputs import Study, read_runs
from mixopt.mixture.report.verification import measured_check
from mixopt.report.html import Safe, join, page, tag
from mixopt.report.sections import corpora_section, reproduce_section

if TYPE_CHECKING:
    import pandas


NEEDED = ("recommendation.json", "fits/selection.json", "runs.parquet", "study.yaml")


def read_page(folder: str | os.PathLike[str]) -> str:
    """The page of a study folder. Raises MixoptError when a file it needs is missing or can't be read;
    shards/corpora.json and verify.json may be absent.
    """
    folder = Path(folder)
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise MixoptError(
            f"{folder} has no {' and no '.join(missing)}, so there is nothing to report yet: "
            "finish the study with `mixopt run` first"
        )
    return render(
        _json(folder / "recommendation.json"),
        _json(folder / "fits/selection.json"),
        _runs(folder / "runs.parquet"),
        corpora=_json_if_there(folder / "shards/corpora.json"),
        study_text=(folder / "study.yaml").read_text(encoding="utf-8"),
        verified=_json_if_there(folder / "verify.json"),
    )


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


CONTENTS = (
    ("mixture", "Mixture"),
    ("check", "Measured check"),
    ("trust", "Predicted against measured"),
    ("effects", "Effects"),
    ("epochs", "Epochs"),
    ("worth", "Worth of text"),
    ("noise", "Noise"),
    ("texts", "Texts"),
    ("runs", "Runs"),
    ("search", "Search"),
    ("corpora", "Corpora"),
    ("again", "Doing it again"),
)


def render(
    recommendation: Mapping[str, Any],
    selection: Mapping[str, Any],
    runs: "pandas.DataFrame",
    *,
    corpora: Mapping[str, Any] | None,
    study_text: str,
    verified: Mapping[str, Any] | None = None,
) -> str:
    """One self-contained HTML page; equal inputs give equal pages.

    recommendation, selection: the contents of recommendation.json and fits/selection.json; runs: the run table.
    corpora: the contents of shards/corpora.json, None when the study was given finished runs.
    study_text: the study file. verified: the contents of verify.json, None when the mixture was not trained.
    Losses are in nats/token at proxy scale; absent parts are said to be absent.
    """
    study = Study(
        recommendation=recommendation,
        selection=selection,
        runs=read_runs(runs, recommendation, selection),
        corpora=corpora,
        text=study_text,
        verified=verified,
    )
    body, figures = _sections(study)
    return page(f"{study.name}: recommended mixture", body, figures)


def _sections(study: Study) -> tuple[Safe, dict[str, list[Any]]]:
    """The page's body and its figures by name, the choices of each in order."""
    held_out, scatter = accuracy.held_out(study)
    texts, changes = accuracy.texts(study)
    runs, strip = provenance.runs(study)
    check, valued = measured_check(study), worth(study)
    body = join(
        (
            tag("header", overview.headline(study)),
            overview.warnings(study),
            _contents({key for key, part in (("check", check), ("worth", valued)) if not part}),
            overview.shares(study),
            check,
            held_out,
            accuracy.effects(study),
            accuracy.epochs(study),
            valued,
            accuracy.noise(study),
            texts,
            runs,
            provenance.search(study),
            corpora_section(study.corpora),
            reproduce_section(study.recommendation, study.text),
        )
    )
    drawn = {"held-out": scatter, "by-text": [changes], "runs": [strip]}
    return body, {key: value for key, value in drawn.items() if value and value[0]}


def _contents(absent: set[str]) -> Safe:
    links = (tag("a", title, href=f"#{key}") for key, title in CONTENTS if key not in absent)
    return tag("nav", join(links, " "), aria_label="Contents")
