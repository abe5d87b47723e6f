"""Pages about tables of runs: the leaderboard of all predictors, and one fit."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mixopt.mixture.report import accuracy, leaderboard, overview, provenance
from mixopt.mixture.report import fit as fitted
from mixopt.mixture.report.inputs import Study, read_runs
from mixopt.report.html import join, page, paragraph, section, tag

if TYPE_CHECKING:
    import pandas


def render_leaderboard(judged: Mapping[str, Any]) -> str:
    """One self-contained page of what `ranking.leaderboard` gave; equal inputs give equal pages."""
    best = judged["board"][0]
    title = f"Predictors of {judged.get('name') or 'a table of runs'}"
    texts = len(judged["texts"])
    headline = tag(
        "section",
        tag("h1", title),
        paragraph(f"{best['predictor']} predicts held-out mixtures best.", class_="headline"),
        paragraph(
            f"Of {len(judged['board'])} predictors it has the lowest mean error over {texts} losses, and the lowest of "
            f"all on {best['best_on']} of them.",
            class_="prediction",
        ),
        paragraph("All this is at the scale of these runs; who is best at another scale is not known.", class_="scope"),
    )
    parts = [tag("header", headline), leaderboard.overall(judged)]
    if judged.get("target"):
        parts.append(
            section(
                "target", "The target", leaderboard.target_board(judged["scores"], chosen=None, title=_target(judged))
            )
        )
    parts += [
        leaderboard.by_loss(judged),
        leaderboard.noise(judged),
        leaderboard.notes(judged),
        leaderboard.again(judged),
    ]
    return page(title, join(parts), {})


def _target(judged: Mapping[str, Any]) -> str:
    weights = " + ".join(f"{weight:.3g} {text}" for text, weight in judged["target"].items())
    return f"Scores on {weights}, nats/token"


def render_fit(fit: Mapping[str, Any], runs: "pandas.DataFrame") -> str:
    """One self-contained page of a fit's record (see `storedfit.record_of`) and the table that it was fitted to."""
    selection, recommendation = fit["evidence"]["selection"], fit["evidence"]["recommendation"]
    study = Study(
        recommendation=recommendation,
        selection=selection,
        runs=read_runs(runs, recommendation, selection),
        corpora=None,
        text="",
        verified=None,
    )
    held_out, scatter = accuracy.held_out(study)
    texts, changes = accuracy.texts(study)
    table, strip = provenance.runs(study)
    body = join(
        (
            tag("header", fitted.headline(study)),
            overview.warnings(study),
            fitted.mixtures(study),
            held_out,
            accuracy.effects(study),
            accuracy.noise(study),
            texts,
            table,
            provenance.search(study),
            leaderboard.again(fit["made"]),
        )
    )
    figures = {"held-out": scatter, "by-text": [changes], "runs": [strip]}
    return page(f"{study.name}: fit", body, {key: value for key, value in figures.items() if value and value[0]})
