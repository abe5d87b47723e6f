"""What was done: the runs, the search, the corpora, and how to do it again."""

from collections.abc import Mapping
from typing import Any

from mixopt.formatting import UNKNOWN, amount, counted, known, loss, mixture, share
from mixopt.mixture import figures
from mixopt.mixture.report.inputs import Run, Study
from mixopt.report.html import Column, Safe, chart, paragraph, section, table
from mixopt.search.certificate import certificate_text

LISTED = 60  # runs in the table
TEXTS = 8  # texts with a column of their own


def runs(study: Study) -> tuple[Safe, dict[str, Any] | None]:
    """Every run's mixture and loss, and the figure of them."""
    if not study.runs:
        return section("runs", "The runs", paragraph("The study has no finished runs.")), None
    first = study.domains
    named = [row["domain"] for row in first] or sorted({d for run in study.runs for d in run.shares})
    figure = figures.heat_strip(study.runs, named)
    caption = (
        "Above, each run's measured target loss at proxy scale, best on the left (orange); "
        f"below, the same run's share of each domain, "
        f"white for none to dark blue for {share(figures.darkest(study.runs))} and more."
    )
    drawn = chart("runs", caption) if figure else Safe("")
    return section("runs", "The runs", paragraph(_summary(study)), drawn, _run_table(study)), figure


def _summary(study: Study) -> str:
    used = [run for run in study.runs if not run.left_out]
    gone = len(study.runs) - len(used)
    text = f"{counted(len(used), 'run')} took part in the fits"
    text += f", {gone} left out." if gone else "."
    best = next((run for run in used if known(run.target)), None)
    if best:
        text += f" The best, {best.run_id}, measured {loss(best.target)} nats/token at proxy scale"
        text += f" with {mixture(best.shares)}."
    if len(study.runs) > LISTED:
        text += f" The table shows the best {LISTED}; all are in runs.csv."
    return text


def _run_table(study: Study) -> Safe:
    shown = study.runs[:LISTED]
    texts = sorted({text for run in shown for text in run.losses}, key=lambda t: (-study.texts.get(t, 0.0), t))[:TEXTS]
    sized = len({(run.params, run.tokens) for run in shown}) > 1
    columns = [
        Column("Run", numeric=False),
        Column("Role", numeric=False),
        Column("Seed"),
        *([Column("Parameters"), Column("Tokens")] if sized else []),
        Column("Target loss"),
        *(Column(text) for text in texts),
        Column("Mixture", numeric=False, wide=True),
    ]
    body = [
        (
            run.run_id,
            _role(run),
            run.seed or UNKNOWN,
            *((amount(run.params), amount(run.tokens)) if sized else ()),
            loss(run.target),
            *(loss(run.losses.get(text)) for text in texts),
            mixture(run.shares, named=3),
        )
        for run in shown
    ]
    return table("Measured losses, nats/token, at proxy scale", columns, body, marked=0)


def _role(run: Run) -> str:
    return f"{run.role} (left out: {run.left_out})".strip() if run.left_out else run.role or UNKNOWN


def search(study: Study) -> Safe:
    """How the mixture was found and how far it is from what was trained."""
    found = study.part("search")
    if not found:
        return section("search", "The search", paragraph("The recommendation does not say how it was found."))
    told = [_trials(found), _polish(found), certificate_text(study.recommendation), _nearness(found)]
    return section("search", "The search", *(paragraph(text) for text in told if text))


def _trials(found: Mapping[str, Any]) -> str:
    if not known(found.get("trials")):
        return ""
    sampler = f" with {found['sampler']}" if found.get("sampler") else ""
    seeded = f", {found['seeded']} of them seeded with known mixtures" if known(found.get("seeded")) else ""
    best = (
        f"; the best was predicted at {loss(found['found'], 4)} nats/token at proxy scale"
        if known(found.get("found"))
        else ""
    )
    return f"{counted(found['trials'], 'mixture')} tried{sampler}{seeded}{best}."


def _polish(found: Mapping[str, Any]) -> str:
    if not known(found.get("polished")):
        return ""
    gain = f", a gain of {found['polish_gain']:.2g}" if known(found.get("polish_gain")) else ""
    return f"A local search from the best mixtures ended at {loss(found['polished'], 4)} nats/token{gain}."


def _nearness(found: Mapping[str, Any]) -> str:
    inside = found.get("inside_hull")
    text = ""
    if inside is not None:
        text = (
            "The mixture lies inside the hull of the trained ones: the prediction interpolates."
            if inside
            else "The mixture lies outside the hull of the trained ones: the prediction extrapolates, "
            "so train the mixture before relying on it."
        )
    near = found.get("nearest_run") or {}
    if known(near.get("distance")):
        text += f" The nearest trained mixture is run {near.get('run_id', 'unnamed')},"
        text += f" at a distance of {near['distance']:.2g}."
    return text.strip()
