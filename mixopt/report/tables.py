"""Pages about tables of runs: the leaderboard of all predictors, and one fit."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mixopt.report import answer, board, fitted, record, trust
from mixopt.report.markup import join, paragraph, section, tag
from mixopt.report.page import page
from mixopt.report.study import Study, read_runs

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
    parts = [tag("header", headline), board.overall(judged)]
    if judged.get("target"):
        parts.append(
            section("target", "The target", board.target_board(judged["scores"], chosen=None, title=_target(judged)))
        )
    parts += [board.by_loss(judged), board.noise(judged), board.notes(judged), board.again(judged)]
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
    held_out, scatter = trust.held_out(study)
    texts, changes = trust.texts(study)
    table, strip = record.runs(study)
    body = join(
        (
            tag("header", fitted.headline(study)),
            answer.warnings(study),
            fitted.mixtures(study),
            held_out,
            trust.effects(study),
            trust.noise(study),
            texts,
            table,
            record.search(study),
            board.again(fit["made"]),
        )
    )
    figures = {"held-out": scatter, "by-text": [changes], "runs": [strip]}
    return page(f"{study.name}: fit", body, {key: value for key, value in figures.items() if value and value[0]})
