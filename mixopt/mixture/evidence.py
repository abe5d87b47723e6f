"""Evidence for a recommendation: held-out accuracy, effects of domains, epochs, noise, losses by validation set."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from mixopt.formatting import UNKNOWN, counted, epochs_text, known, listed, loss, percent, signed
from mixopt.mixture import figures
from mixopt.mixture.results import Recommendation
from mixopt.mixture.runs import Results
from mixopt.mixture.summary import SCORE_COLUMNS, score_cells, score_table, selection_text
from mixopt.report.document import Bar, Bars, Block, Figure, Folded, Paragraph, Section, Table, columns
from mixopt.runs.objective import TARGET

CLEAR, WEAK = 3.0, 1.0  # signal to noise: from CLEAR on mixtures tell apart well, under WEAK noise is the larger


def accuracy_section(results: Results, *, brief: bool) -> Section:
    """The scores of every predictor and the scatter of its held-out predictions."""
    selection = results.selection
    drawn = [
        (name, plot) for name in figures.held_out_targets(selection) if (plot := figures.held_out(selection, name))
    ]
    blocks: list[Block] = [Paragraph(selection_text(selection))] if drawn or selection.scores else []
    if drawn:
        band = "The grey band is one standard deviation of run-to-run noise. " if known(selection.noise_of().sd) else ""
        caption = (
            f"Each point is a run whose mixture the predictor had not seen, at {results.place}. On the dashed line the "
            f"prediction is exact. {band}Click a predictor's name to show or hide it."
        )
        blocks.append(Figure("held-out", caption, [plot for _, plot in drawn], [_target_name(n) for n, _ in drawn]))
    else:
        blocks.append(Paragraph("No held-out predictions were kept, so they can't be plotted."))
    if not selection.scores:
        blocks.append(Paragraph("No predictor has been scored."))
        return Section("trust", "Predicted against measured", blocks, "Predicted against measured", brief=brief)
    title = f"Held-out scores on the weighted target, nats/token, at {results.place}"
    blocks.append(score_table(selection.scores, chosen=selection.chosen, title=title))
    sets = [row for row in selection.scores if row.target != TARGET]
    if sets:
        sets.sort(key=lambda row: (row.target, row.predictor != selection.chosen, row.predictor))
        headings = columns("Predictor", "Validation set", *SCORE_COLUMNS, text=["Validation set"])
        rows = [(row.predictor, row.target, *score_cells(row)) for row in sets]
        table = Table(f"Held-out scores by validation set, nats/token, at {results.place}", headings, rows)
        blocks.append(Folded("Scores by validation set", [table.without_empty_columns()]))
    return Section("trust", "Predicted against measured", blocks, "Predicted against measured", brief=brief)


def _target_name(name: str) -> str:
    return "weighted target" if name == TARGET else name


def noise_section(results: Results) -> Section:
    """How much runs of one mixture differ, against how much mixtures differ."""
    rows = sorted(results.selection.noise, key=lambda row: row.target != TARGET)
    if not any(known(row.sd) for row in rows):
        text = (
            "No mixture was trained with more than one seed, so run-to-run noise is unknown: small differences in this "
            "report may be chance. Repeat one mixture with other seeds to measure it."
        )
        return Section("noise", "Noise", [Paragraph(text)], "Noise")
    names = ("Noise", "Spread of mixtures", "Repeats", "Signal to noise", "Verdict")
    cells = [
        (
            _target_name(row.target),
            loss(row.sd, 4),
            loss(row.signal_sd, 4),
            str(row.repeats) if known(row.repeats) else UNKNOWN,
            epochs_text(row.signal_to_noise),
            _grade(row.signal_to_noise),
        )
        for row in rows
    ]
    text = (
        "Noise is the standard deviation between runs of one mixture with different seeds; spread is the standard "
        f"deviation between mixtures. A ratio of {CLEAR:.0f} or more is clear; below {WEAK:.0f} noise exceeds the "
        "differences between mixtures, and predictions for the validation set say little."
    )
    table = Table(f"Noise, nats/token, at {results.place}", columns("Validation set", *names, text=["Verdict"]), cells)
    return Section("noise", "Noise", [Paragraph(text), table], "Noise")


def _grade(ratio: float | None) -> str:
    if not known(ratio):
        return ""
    return "clear" if ratio >= CLEAR else "weak" if ratio >= WEAK else "lost in noise"


# What each domain does


Curve = list[tuple[float, float]]  # (share, predicted objective), by share


def effects_section(results: Results) -> Section:
    """Predicted objective over each domain's share, most helpful domain first."""
    found = results.recommendation
    curves = {domain: curve for domain in found.effects if len(curve := _curve(found, domain)) > 1}
    title = "Effect of each domain on the target"
    if not curves:
        return Section("effects", title, [Paragraph("The recommendation holds no effect curves.")], "Effects")
    here, natural = found.shares("recommended"), found.shares("natural")
    rises = {domain: _rise(curve, here.get(domain)) for domain, curve in curves.items()}
    order = sorted(curves, key=lambda domain: (-rises[domain], domain))
    best_at = {domain: min((value, at) for at, value in curves[domain])[1] for domain in order}
    bars = [
        Bar(domain, max(rises[domain], 0.0), signed(rises[domain]), aside=f"best at {percent(best_at[domain])}")
        for domain in order
    ]
    top, cut = _highest_shown(found, curves)
    plots = []
    for domain in order:
        x, y = zip(*curves[domain], strict=True)
        plots.append(figures.effect(x, y, here=here.get(domain), natural=natural.get(domain), top=top))
    text = (
        f"Predicted target loss at {results.place} as one domain's share moves from its lowest to its highest allowed "
        "value and the others shrink or grow in proportion, most helpful domain first."
    )
    leaves = " Curves cut off at the top go on rising." if cut else ""
    blocks = [
        Paragraph(text),
        Bars(
            bars,
            "Rise of the predicted target loss, nats/token, when the domain is cut to its lowest share, and where its "
            "curve is lowest.",
        ),
        Figure("effects", f"Predicted target loss over the domain's share.{leaves}", plots, order, label="Domain"),
    ]
    return Section("effects", title, blocks, "Effects")


def _curve(found: Recommendation, domain: str) -> Curve:
    """The curve's known points by share, with the recommended mixture, through which every curve goes."""
    effect = found.effects[domain]
    pairs = zip(effect.weight, effect.loss, strict=False)
    points = {w: y for w, y in pairs if known(w) and known(y)}
    here, there = found.shares("recommended").get(domain), found.predicted.of("recommended").loss
    if points and known(here) and known(there) and min(points) <= here <= max(points):
        points[here] = there
    return sorted(points.items())


def _rise(curve: Curve, here: float | None) -> float:
    """What the objective would lose, nats/token, were the domain cut to its lowest share."""
    least = curve[0][1]
    if here is None:
        return least - min(value for _, value in curve)
    for (x, y), (x_next, y_next) in pairwise(curve):
        if x <= here <= x_next:
            return least - (y + (y_next - y) * (here - x) / (x_next - x))
    return least - (curve[0][1] if here < curve[0][0] else curve[-1][1])


def _highest_shown(found: Recommendation, curves: Mapping[str, Curve]) -> tuple[float, bool]:
    """The highest loss worth seeing, and whether a curve goes beyond: twice as far from the best as the worse of
    natural and uniform is, as a domain that fills the whole mixture usually gives a loss far above any that matters.
    """
    values = [value for curve in curves.values() for _, value in curve]
    rivals = [v for name in ("natural", "uniform", "recommended") if known(v := found.predicted.of(name).loss)]
    low, high = min(values), max(values)
    reach = low + 2 * (max(rivals, default=high) - low)
    return (reach, True) if low < reach < high else (high, False)


def epochs_section(found: Recommendation) -> Section:
    """Epochs of each domain's unique tokens in the full run."""
    epochs = {row.domain: row.epochs for row in found.domains if known(row.epochs)}
    if not epochs:
        text = (
            "Epochs are unknown: the study gives no pool (unique tokens) for any domain."
            if known(found.full.tokens)
            else "Epochs are unknown: the study does not say how many tokens the full run trains on."
        )
        return Section("epochs", "Epochs", [Paragraph(text)], "Epochs")
    order = sorted(epochs, key=lambda domain: (-epochs[domain], domain))
    bars = [Bar(domain, epochs[domain], epochs_text(epochs[domain]), mark=1.0) for domain in order]
    repeated = sum(value > 1 for value in epochs.values())
    text = (
        "Epochs of the full run over each domain's pool of unique tokens: "
        f"{counted(repeated, 'domain')} of {len(epochs)} would be repeated."
    )
    unknown = [row.domain for row in found.ranked if row.domain not in epochs]
    if unknown:
        text += f" Unknown, as the pool or the full run's tokens are not given: {listed(unknown)}."
    blocks = [Paragraph(text), Bars(bars, "Epochs; the dashed line is one.")]
    return Section("epochs", "Epochs", blocks, "Epochs")


def by_validation_set_section(results: Results) -> Section:
    """Predicted loss on every validation set."""
    found, title = results.recommendation, "Predicted loss by validation set"
    weights = found.target.weights
    rows = dict(sorted(found.by_text.items(), key=lambda pair: -weights.get(pair[0], 0.0)))
    if not rows:
        text = "No predictions by validation set were made."
        return Section("validation-sets", title, [Paragraph(text)], "Validation sets")
    names = ("Weight in target", "Recommended", "Natural", "Uniform", "Against natural", "Against uniform")
    headings = columns("Validation set", *names, strong="Recommended")
    cells = [
        (
            text,
            percent(weights.get(text, 0.0)),
            *(loss(row.get(name)) for name in ("recommended", "natural", "uniform")),
            *(_difference(row, name) for name in ("natural", "uniform")),
        )
        for text, row in rows.items()
    ]
    blocks: list[Block] = []
    if any(known(row.get("natural")) for row in rows.values()):
        worse = [text for text, row in rows.items() if _difference(row, "natural").startswith("+")]
        whose = f"{listed(worse)} {'is' if len(worse) == 1 else 'are'}" if worse else "No loss is"
        blocks.append(Paragraph(f"{whose} predicted to get worse than under the natural mixture."))
    if plot := figures.by_text(rows):
        caption = f"Predicted change of each loss against the natural mixture, at {results.place}; left is better."
        blocks.append(Figure("by-text", caption, [plot]))
    blocks.append(Table(f"Loss, nats/token, at {results.place}", headings, cells).without_empty_columns())
    return Section("validation-sets", title, blocks, "Validation sets")


def _difference(row: Mapping[str, float | None], other: str) -> str:
    ours, theirs = row.get("recommended"), row.get(other)
    return signed(ours - theirs) if known(ours) and known(theirs) else UNKNOWN
