"""The page put together: sections, styles, figures and Plotly itself in one file that needs no network."""

import json
from collections.abc import Mapping
from importlib.resources import files
from math import isfinite
from string import Template
from typing import TYPE_CHECKING, Any

from mixopt.report import answer, record, trust
from mixopt.report.check import measured_check
from mixopt.report.markup import Safe, join, tag
from mixopt.report.study import Study, read_runs
from mixopt.report.worth import worth

if TYPE_CHECKING:
    import pandas

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


def page(title: str, body: Safe, figures: Mapping[str, Any]) -> str:
    """A whole page: its style, its body, and its figures by name with all that draws them."""
    return Template(_text("page.html")).substitute(
        title=tag("title", title),
        style=_text("page.css"),
        body=body,
        figures=script_json(figures),
        plotly=_plotly() if figures else "",
        script=_text("page.js"),
    )


def _sections(study: Study) -> tuple[Safe, dict[str, list[Any]]]:
    """The page's body and its figures by name, the choices of each in order."""
    held_out, scatter = trust.held_out(study)
    texts, changes = trust.texts(study)
    runs, strip = record.runs(study)
    check, valued = measured_check(study), worth(study)
    body = join(
        (
            tag("header", answer.headline(study)),
            answer.warnings(study),
            _contents({key for key, part in (("check", check), ("worth", valued)) if not part}),
            answer.shares(study),
            check,
            held_out,
            trust.effects(study),
            trust.epochs(study),
            valued,
            trust.noise(study),
            texts,
            runs,
            record.search(study),
            record.corpora(study),
            record.again(study),
        )
    )
    drawn = {"held-out": scatter, "by-text": [changes], "runs": [strip]}
    return body, {key: value for key, value in drawn.items() if value and value[0]}


def _contents(absent: set[str]) -> Safe:
    links = (tag("a", title, href=f"#{key}") for key, title in CONTENTS if key not in absent)
    return tag("nav", join(links, " "), aria_label="Contents")


def script_json(value: Any) -> str:
    """JSON that can't end the script element it stands in; what is not finite becomes null."""
    text = json.dumps(_finite(value), ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _text(name: str) -> str:
    return files("mixopt.report").joinpath(name).read_text(encoding="utf-8")


def _plotly() -> str:
    # imported late: plotly takes a while and the rest of a study doesn't need it
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()
