"""Sentences and tables of a mixture study's results, for the terminal and the report alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mixopt.formatting import (
    UNKNOWN,
    against,
    count_text,
    counted,
    digits_for,
    epochs_text,
    format_target,
    known,
    listed,
    loss,
    mean,
    mixture,
    percent,
    percent_cell,
    scale,
    signed,
)
from mixopt.mixture.full_run import COMPARED, MIXTURES, bounds, full_section, full_sentences, interval_name
from mixopt.mixture.marginal_value import main_price_sentences
from mixopt.mixture.results import (
    Domain,
    NestedScore,
    Prediction,
    Recommendation,
    Score,
    SearchResult,
    Selection,
    Verification,
)
from mixopt.report.document import Block, Column, Document, Section, Table, columns, in_unit
from mixopt.report.sections import reproduce
from mixopt.runs.objective import TARGET
from mixopt.search.certificate import certificate_text
from mixopt.serialization import Json

MAX_PREDICTIONS = 30  # shown; --out and --json give all


def recommendation_document(found: Recommendation) -> Document:
    """The recommended mixture, what it is predicted to give, and what limits it."""
    sections = [Section("mixture", "The mixture", [shares_table(found), loss_table(found)], brief=True)]
    document = Document(
        title=f"Recommended mixture: {found.study}",
        headline=f"Train on {mixture(found.shares('recommended')) or 'nothing'}.",
        summary=recommendation_sentences(found),
        warnings=found.limitations,
        sections=[*([] if (full := full_section(found)) is None else [full]), *sections],
    )
    return in_unit(document, found.target.unit)


def recommendation_sentences(
    found: Recommendation, *, place: str = "proxy scale", noise: float | None = None
) -> list[str]:
    """How good the mixture is predicted to be and how sure that is, then what more text is worth. noise: of one run."""
    search = found.search or SearchResult()
    certificate = certificate_text(search.certificate, search.agreeing_starts, search.starts)
    sentences = [*full_sentences(found), prediction_text(found, place, noise), optimism_text(found), certificate]
    return [sentence for sentence in (*sentences, *main_price_sentences(found.shadow_prices)) if sentence]


def prediction_text(found: Recommendation, place: str, noise: float | None = None) -> str:
    """Predicted loss beside that of the uniform, the natural and the best measured mixture."""
    best, run = found.predicted.of("recommended"), found.predicted.best_measured
    if not known(best.loss):
        return "No loss was predicted for it."
    places = digits_for(best.high - best.low if known(best.low) and known(best.high) else None)
    text = f"Predicted target loss {loss(best.loss, places)} nats/token at {place}"
    text += f" ({interval_name(found)} {bounds(best, places)})" if best.bounded else ""
    for name in ("uniform", "natural"):
        if known(other := found.predicted.of(name).loss):
            text += f", {against(best.loss, other, places)} {name}"
    if run is None or not known(run.loss):
        return f"{text}."
    measured = f", measured {loss(run.measured, places)}" if known(run.measured) else ""
    text += (
        f". The best mixture among the runs ({run.run_id}{measured}) is predicted at {loss(run.loss, places)}; "
        f"the recommendation is {against(best.loss, run.loss, places)} it"
    )
    if known(noise) and abs(best.loss - run.loss) < noise:
        text += f", a difference within the noise of one run ({loss(noise, max(places, 3))})"
    return f"{text}."


def optimism_text(found: Recommendation) -> str:
    """The expected optimism in a sentence; empty where it isn't known."""
    expected, error = found.optimism.loss, found.optimism.standard_error
    if expected is None or error is None:
        return ""
    size = f"{abs(expected):.3f} ± {error:.3f} nats/token"
    if expected <= 0:
        return (
            f"In repeated holdouts the selected mixtures did no worse than predicted ({size} better), so no optimism "
            "is expected at the recommended mixture."
        )
    return (
        f"Expected optimism {size}: a mixture selected for its low predicted loss measures that much higher on "
        "average. The interval of the recommended mixture accounts for it."
    )


# Tables of the recommendation


def shares_table(found: Recommendation) -> Table:
    """A row a domain, the largest recommended share first."""
    names = ("Natural", "Recommended", "× natural", "Best run", "Tokens", "Epochs", "Pool", "Limit")
    rows = [
        (
            row.domain,
            percent_cell(row.natural),
            percent_cell(row.recommended),
            _ratio(row),
            percent_cell(row.best_measured),
            count_text(row.tokens),
            epochs_text(row.epochs),
            count_text(row.pool),
            _limit(row),
        )
        for row in found.ranked
    ]
    title = "Shares of training tokens"
    if any(known(row.tokens) for row in found.domains):
        title += "; tokens, epochs and pool (unique tokens) of the full run"
    headings = columns("Domain", *names, strong="Recommended", text=["Limit"])
    return Table(title, headings, rows).without_empty_columns()


def _ratio(row: Domain) -> str:
    if not (known(row.natural) and known(row.recommended)) or row.natural == 0:
        return UNKNOWN
    ratio = row.recommended / row.natural
    return f"{ratio:.0f}" if ratio >= 9.95 else f"{ratio:.1f}" if ratio >= 0.95 else f"{ratio:.2f}"


def _limit(row: Domain) -> str:
    """Whether the share stands at a limit that the study set; a floor of 0 and a cap of 1 are no limits."""
    if known(row.recommended) and known(row.max) and row.max < 1 and row.recommended >= row.max - 1e-4:
        return f"at its cap of {percent(row.max)}"
    if known(row.recommended) and known(row.min) and row.min > 0 and row.recommended <= row.min + 1e-4:
        return f"at its floor of {percent(row.min)}"
    return ""


def loss_table(
    found: Recommendation, *, place: str = "proxy scale", measured: Mapping[str, Sequence[float]] | None = None
) -> Table:
    """Predicted loss of each mixture with its interval. measured: losses of runs of a mixture, by its name;
    None where only the runs' best is known, which the first sentences give."""
    run = found.predicted.best_measured
    labels = MIXTURES | ({"best_measured": f"Best run ({run.run_id})"} if run else {})
    runs = dict(measured or {}) | ({"best_measured": [run.measured]} if run and known(run.measured) else {})
    shown = slice(3 if measured is None else 4)
    rows = []
    for name, label in labels.items():
        row, values = found.predicted.of(name), runs.get(name) or []
        if known(row.loss):
            of = f" (mean of {len(values)} runs)" if len(values) > 1 else ""
            rows.append((label, loss(row.loss), bounds(row), loss(mean(values)) + of)[shown])
    headings = columns("Mixture", "Predicted", interval_name(found).capitalize(), "Measured", strong="Predicted")[shown]
    note = f"The target is {format_target(found.target.weights)}. " if found.target.weights else ""
    note += f"Intervals: {found.interval.method}." if found.interval.method else ""
    return Table(f"Target loss, nats/token, at {place}", headings, rows, marked=0 if rows else None, note=note.strip())


# Held-out scores


def fit_document(selection: Selection) -> Document:
    """Held-out scores of every predictor, and how one was chosen."""
    table = score_table(selection.scores, chosen=selection.chosen)
    return Document(
        title="Held-out scores",
        headline=f"Predictor: {selection.chosen}.",
        summary=[selection_text(selection), floor_text(selection)],
        sections=[Section("scores", "Held-out scores", [table], brief=True)],
    )


def selection_text(selection: Selection) -> str:
    """How the predictors were judged, which was chosen and why, and what choosing so is worth."""
    nouns = ((selection.runs, "run"), (selection.mixtures, "distinct mixture"))
    parts = [counted(int(number), noun) for number, noun in nouns if known(number)]
    over = f" of {' with '.join(parts)}" if parts else ""
    folds = f" in {counted(int(selection.folds), 'fold')}" if known(selection.folds) else ""
    text = f"Every predictor was cross-validated{folds}{over}; all runs of a mixture are held out together."
    why = selection.why or (f"{selection.chosen}." if selection.chosen else "")
    return text + (f" Chosen: {why}" if why else "") + nested_text(selection.nested)


def nested_text(nested: NestedScore | None) -> str:
    """What choosing by the same rule scores on mixtures that had no part in the choice."""
    if nested is None or not known(nested.rmse):
        return ""
    scores = f"Spearman {loss(nested.spearman)}, RMSE {loss(nested.rmse, 4)}"
    scores += f", regret {loss(nested.regret, 4)}" if known(nested.regret) else ""
    text = f" Choosing again without each fold (approximately nested): {scores}"
    ranked = sorted(nested.chosen.items(), key=lambda pair: (-pair[1], pair[0]))
    names = listed([f"{name} in {counted(folds, 'fold')}" for name, folds in ranked])
    return f"{text} ({names})." if names else f"{text}."


def floor_text(selection: Selection) -> str:
    if not known(selection.floor):
        return "No mixture was trained with more than one seed, so the noise between runs is unknown."
    return f"Noise floor: {selection.floor:.3f} nats/token between runs of one mixture."


SCORE_NOTE = (
    "Spearman: rank correlation of predicted and measured losses. RMSE: root mean squared error ± its standard error. "
    "Regret@k: loss given up by training the k mixtures that are predicted best and keeping the best of them. "
    "Coverage: share of held-out runs inside their 80% interval. s/fit: seconds per fit."
)


def score_table(
    scores: Sequence[Score], *, chosen: str = "", target: str = TARGET, title: str = "", note: str = SCORE_NOTE
) -> Table:
    """Scores of every predictor on one loss, the lowest error first, and its mean rank correlation on the others."""
    others = {row.target for row in scores} - {target}
    own = [row for row in scores if row.target == target]
    own.sort(key=lambda row: (row.rmse if known(row.rmse) else math.inf, row.predictor))
    headings = columns("Predictor", *SCORE_COLUMNS)
    rows = [(row.predictor + (" *" if row.predictor == chosen else ""), *score_cells(row)) for row in own]
    if len(others) > 1:
        headings.append(Column("All losses"))
        ranks = {
            row.predictor: mean(r.spearman for r in scores if r.predictor == row.predictor and r.target in others)
            for row in own
        }
        rows = [(*cells, loss(ranks[row.predictor])) for cells, row in zip(rows, own, strict=True)]
    marked = next((n for n, row in enumerate(own) if row.predictor == chosen), None)
    if marked is not None:
        note = f"* is used. {note}"
    if len(others) > 1:
        note = f"{note} All losses: mean Spearman over the single losses."
    title = title or "Held-out scores on the weighted target, nats/token, at proxy scale"
    return Table(title, headings, rows, marked=marked, note=note).without_empty_columns()


SCORE_COLUMNS = ("Spearman", "RMSE", "Regret@1", "@5", "Coverage", "s/fit")


def score_cells(row: Score) -> tuple[str, ...]:
    """Under SCORE_COLUMNS."""
    return (
        loss(row.spearman),
        loss(row.rmse, 4) + (f" ± {loss(row.rmse_se, 4)}" if known(row.rmse_se) else ""),
        loss(row.regret, 4),
        loss(row.regret5, 4),
        percent(row.coverage80),
        seconds(row.seconds),
    )


def seconds(value: Any) -> str:
    return UNKNOWN if not known(value) else f"{value:.2g}" if value < 10 else f"{value:.0f}"


# The trained recommendation


def verification_document(verified: Verification) -> Document:
    """Measured losses of the recommended mixture and its rivals, at every size."""
    first, *others = verified.conclusions or ["No run of the recommended mixture has finished."]
    section = Section("check", "Measured check", verification_blocks(verified), brief=True)
    return Document("Measured check", first, others, sections=[section])


def verification_blocks(verified: Verification, found: Recommendation | None = None) -> list[Block]:
    """A table a size. found: to set what was predicted beside it."""
    predicted = found.predicted if found else None
    blocks: list[Block] = []
    for size in verified.sizes:
        ours, rows = size.arms.get("recommended") or [], []
        for name in sorted(size.arms, key=lambda name: (name not in MIXTURES, name != "recommended", name)):
            losses, gap = [value for value in size.arms[name] if known(value)], ""
            average, reached, won = mean(losses), mean(ours), size.gains.get(name)
            if name != "recommended" and known(average) and known(reached):
                gap = signed(average - reached) if won is None else f"{signed(won.mean)} ± {won.standard_error:.3f}"
                gap += _seeds_won(ours, size.arms[name])
            own = size.predicted.predicted if size.predicted and size.predicted.predicted else predicted
            row, best = (own.of(name), own.of("recommended")) if own else (Prediction(), Prediction())
            expected = ""
            if name != "recommended" and known(row.loss) and known(best.loss):
                expected = signed(row.loss - best.loss)
            each = ", ".join(map(loss, losses))
            ahead = f"{loss(row.loss)} ({bounds(row)})" if size.predicted else ""
            mean_of = loss(average) if losses else "diverged"
            rows.append((COMPARED.get(name, name.capitalize()), mean_of, ahead, each, gap, expected))
        names = ("Mixture", "Mean", "Predicted loss", "Each seed", "Recommended is lower by", "Predicted")
        place = scale({"params": size.params, "tokens": size.tokens}) or "an unnamed size"
        title = f"Measured target loss, nats/token, at {place}"
        blocks.append(Table(title, columns(*names, strong="Mean"), rows, marked=0).without_empty_columns())
    return blocks


def _seeds_won(ours: Sequence[Any], theirs: Sequence[Any]) -> str:
    """In how many seeds the recommendation was the better of the two, where both have the same seeds."""
    if len(ours) != len(theirs) or len(ours) < 2 or not all(map(known, [*ours, *theirs])):
        return ""
    return f" ({sum(a < b for a, b in zip(ours, theirs, strict=True))} of {len(ours)} seeds)"


# Predictions of given mixtures


def predictions_document(predicted: Json) -> Document:
    """Predicted losses of mixtures, the lowest first, and how good they are where losses were measured."""
    rows = sorted(predicted["mixtures"], key=lambda row: row["loss"])
    level = f"{predicted['level']:.0%} interval"
    names = ("Mixture", "Predicted", level, "Measured", "Outside the runs", "Nearest run")
    cells = [
        (
            row["mixture"],
            loss(row["loss"]),
            bounds(Prediction(row["loss"], row["low"], row["high"])),
            loss(row["measured"]),
            UNKNOWN if (far := row["outside"]) is None else "no" if far <= predicted["inside"] else f"{far:.1%}",
            f"{row['nearest_run']}, {row['distance']:.0%} away",
        )
        for row in rows[:MAX_PREDICTIONS]
    ]
    note = f"The {MAX_PREDICTIONS} lowest of {len(rows)}; --out FILE.csv or --json give all."
    title = f"{format_target(predicted['target'])}, nats/token, by {predicted['predictor']}"
    note = note if len(rows) > MAX_PREDICTIONS else ""
    headings = columns(*names, strong="Predicted", text=["Nearest run"])
    table = Table(title, headings, cells, note=note).without_empty_columns()
    score = predicted["score"]
    summary = []
    if score:
        whose = "of new mixtures" if score["new"] else "of mixtures that the fit was trained on"
        summary.append(
            f"{score['mixtures']} measured losses {whose}: Spearman {loss(score['spearman'])}, RMSE "
            f"{loss(score['rmse'])} nats/token, {score['covered']:.0%} inside the {level}."
        )
    best = rows[0]
    document = Document(
        title=f"Predictions by {predicted['predictor']}",
        headline=f"Lowest prediction: {best['mixture']}, {loss(best['loss'])} nats/token.",
        summary=summary,
        sections=[Section("predictions", "Predictions", [table], brief=True)],
    )
    return in_unit(document, predicted["unit"])


def reproduce_section(made: Json) -> Section:
    """How to make a fit or a leaderboard again: its command, seed, versions and files."""
    return reproduce(
        command=made.get("command") or "mixopt",
        versions=made.get("versions") or {},
        seed=made.get("seed"),
        files=[f"{one['name']}: sha256 {one['sha256']}" for one in made.get("files") or []],
    )
