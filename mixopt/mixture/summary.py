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
from mixopt.mixture.marginal_value import main_price_sentences
from mixopt.mixture.results import (
    Domain,
    Gain,
    NestedScore,
    Prediction,
    Recommendation,
    Scale,
    Score,
    SearchResult,
    Selection,
    Verification,
)
from mixopt.report.document import Block, Column, Document, Paragraph, Section, Table, columns, in_unit
from mixopt.report.sections import reproduce
from mixopt.runs.objective import TARGET
from mixopt.search.certificate import certificate_text
from mixopt.serialization import Json

MIXTURES = {"recommended": "Recommended", "natural": "Natural", "uniform": "Uniform"}
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


def interval_name(found: Recommendation) -> str:
    return f"{100 * found.interval.level:.0f}% interval" if known(found.interval.level) else "interval"


def bounds(row: Prediction, places: int = 3) -> str:
    return f"{loss(row.low, places)} to {loss(row.high, places)}" if row.bounded else UNKNOWN


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


# The full run

WIDENED = 1.05  # times: less isn't worth a word
COMPARED = MIXTURES | {"smallest_rung": "Smallest rung's best"}


def full_sentences(found: Recommendation) -> list[str]:
    """What the full run is predicted to reach, and how far to trust that; nothing without a ladder."""
    full, ours = found.full, found.full.predicted and found.full.predicted.recommended
    if ours is None or full.beyond is None:
        return []
    text = f"Predicted target loss of the full run, {scale(full.to_json())}: {loss(ours.loss, 2)} nats/token"
    text += f" or {ours.bits_per_byte:.2f} bits/byte" if known(ours.bits_per_byte) else ""
    text += f" by the proxies' tokenizer ({range_name(found)} {bounds(ours, 2)})"
    others = {"natural": "natural", "uniform": "uniform", "smallest_rung": "what the smallest rung alone recommends"}
    gains = [f"{signed_gain(gain, 3)} {others[name]}" for name, gain in full.gains.items()]
    return [f"{text}. It is {listed(gains)}.", held_out_text(found)]


def signed_gain(gain: Gain, places: int) -> str:
    """How far the recommendation is below another mixture, and the range of that."""
    if not known(gain.loss):
        return UNKNOWN
    side = "below" if gain.loss >= 0 else "above"
    ends = (
        f" ({signed(gain.low, places)} to {signed(gain.high, places)})" if known(gain.low) and known(gain.high) else ""
    )
    return f"{abs(gain.loss):.{places}f}{ends} {side}"


def range_name(found: Recommendation) -> str:
    """An interval where ranges at such a distance were checked, or a range that wasn't."""
    full = found.full
    if full.predicted and full.predicted.recommended and full.predicted.recommended.checked:
        return interval_name(found)
    return "range, not checked at this distance:"


def held_out_text(found: Recommendation) -> str:
    """How far the full run lies beyond the ladder, and what was checked at which distance."""
    full, held = found.full, found.full.held_out
    beyond = full.beyond or Scale()
    text = f"That is {times(beyond.params)} the parameters and {times(beyond.tokens)} the tokens of the largest rung"
    if held is None or not known(held.error):
        return f"{text}; with two rungs nothing could be left out to check it."
    text += (
        f". Left out of the fit, that rung ({times(held.beyond.params)} the parameters and {times(held.beyond.tokens)} "
        f"the tokens of the one below) was predicted with a mean error of {held.error:.1%} over "
        f"{counted(held.runs, 'run')} and all validation sets"
    )
    if known(held.difference_error):
        text += f", differences between its runs within {loss(held.difference_error)} nats/token on average"
    text += f"; {percent(held.inside)} of its losses lay in their 80% ranges"
    if held.widening > WIDENED:
        text += f", so ranges are widened {held.widening:.1f} times"
    return f"{text}."


def times(ratio: float | None) -> str:
    return UNKNOWN if not known(ratio) else f"{ratio:.2g} times" if ratio < 100 else f"{ratio:,.0f} times"


def full_section(found: Recommendation) -> Section | None:
    """The full run's predicted losses, and what changes with scale; None without a ladder."""
    if found.full.predicted is None:
        return None
    blocks: list[Block] = [full_table(found), rungs_table(found), Paragraph(drift_text(found))]
    return Section("full-run", "The full run", blocks, "The full run", brief=True)


def full_table(found: Recommendation) -> Table:
    """Predicted loss of the full run under each mixture, and the recommendation's gain over it."""
    predicted, gains, rows = found.full.predicted, found.full.gains, []
    for name, label in COMPARED.items():
        row = getattr(predicted, name, None)
        if row is not None and known(row.loss):
            gain = gains.get(name)
            cells = (loss(gain.loss), interval_text(gain)) if gain else ("", "")
            rows.append((label, loss(row.loss), bounds(row), loss(row.bits_per_byte), *cells))
    of = "80% interval" if "interval" in range_name(found) else "Range, not checked"
    headings = columns("Mixture", "Predicted", of, "Bits/byte", "Recommended is lower by", "Range", strong="Predicted")
    note = (
        "Ranges hold over what the runs don't decide: the loss that no model gets below, how fast the rest falls, and "
        "how far the mixtures' effects go on changing. Gains are known better than losses: what is uncertain is common "
        "to all mixtures. Losses are per token of the proxies' tokenizer; bits/byte compare with other tokenizers."
    )
    title = f"Target loss of the full run, nats/token, at {scale(found.full.to_json())}"
    return Table(title, headings, rows, marked=0, note=note).without_empty_columns()


def interval_text(gain: Gain) -> str:
    return f"{signed(gain.low)} to {signed(gain.high)}" if known(gain.low) and known(gain.high) else UNKNOWN


def rungs_table(found: Recommendation) -> Table:
    """Every domain's share in the best mixture at each rung and at the full run, and its epochs there."""
    rungs = found.full.rungs
    names = [f"{count_text(rung.params)}, {count_text(rung.tokens)} tokens" for rung in rungs]
    rows = [
        (
            row.domain,
            *(percent_cell(rung.best.get(row.domain)) for rung in rungs),
            percent_cell(row.recommended),
            epochs_text(row.epochs),
        )
        for row in found.ranked
    ]
    headings = columns("Domain", *names, "Full run", "Epochs there", strong="Full run")
    note = "Rungs: non-embedding parameters and tokens of the proxies. All at the repetition of the full run."
    return Table("Best share by scale", headings, rows, note=note).without_empty_columns()


MOVED = 0.05  # of the tokens: a mixture that moves less stays where it is


def drift_text(found: Recommendation) -> str:
    """Whether the answer changes with scale, and what following the smallest rung would cost."""
    first, gain = found.full.rungs[0].best, found.full.gains.get("smallest_rung")
    here = found.shares("recommended")
    moved = sum(abs(here.get(name, 0.0) - share) for name, share in first.items()) / 2
    if moved < MOVED:
        text = f"The best mixture hardly moves with scale: by {percent(moved)} of the tokens"
        return f"{text} from the smallest rung to the full run."
    text = f"{percent(moved)} of the tokens move from the smallest rung's best mixture to the full run's"
    if gain is None or not known(gain.loss):
        return f"{text}."
    return f"{text}; following the smallest rung would cost {loss(gain.loss)} nats/token there ({interval_text(gain)})."


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
