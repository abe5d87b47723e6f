"""Document of a fit over scales: law scores, exponents, the best mixture and its predicted loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixopt.formatting import MIN_SHARE, count_text, counted, epochs_text, format_target, loss, mixture, number
from mixopt.report.document import (
    Block,
    Cells,
    Document,
    Paragraph,
    Section,
    Table,
    columns,
    in_unit,
    table_of,
    with_codes,
)
from mixopt.runs.extrapolation import UNKNOWN, UNSURE, kind_text
from mixopt.scaling.results import (
    HULL_TOLERANCE,
    BestMixture,
    ExponentEstimate,
    FittedScales,
    KnownRepetition,
    LawScore,
    LawScores,
    PriorStrength,
    RollingOrigin,
    Scale,
    SizeChoice,
)
from mixopt.search.certificate import certificate_text

if TYPE_CHECKING:
    from mixopt.scaling.stored import StoredScale

MIXTURES = {
    "best": "best",
    "best_at_trained": "best at trained scale",
    "best_measured": "best measured",
    "uniform": "uniform",
}
MEANINGS = {"alpha": "alpha, parameters", "beta": "beta, tokens"}


def scale_document(fit: StoredScale) -> Document:
    """What `mixopt scale` found."""
    evidence, best = fit.evidence, fit.evidence.best
    at, trained = Scale.from_json(fit.record["at"]), Scale.from_json(fit.record["trained"])
    first = best.mixtures["best"]
    kind = kind_text(checked=first.checked)
    ends = "" if first.low is None else f" ({loss(first.low)} to {loss(first.high)} for a new run: {kind})"
    notes = (
        "" if evidence.size is None else size_text(evidence.size, at),
        range_text(evidence.fitted),
        gain_text(best),
        beyond_text(best, at, trained),
        "" if evidence.repetition is None else repetition_text(evidence.repetition),
        measured_text(best),
        certificate_text(best.search.certificate, best.search.agreeing_starts, best.search.starts),
    )
    blocks = [mixture_table(best, at, pooled=bool(fit.record["pools"])), loss_table(best, at)]
    exponents = [exponent_table(evidence.exponents, fit.law), *(Paragraph(prior_text(one)) for one in evidence.priors)]
    document = Document(
        title=f"Best mixture at {scale_text(at)}",
        headline=f"Best mixture at {scale_text(at)}: {mixture(first.weights)}.",
        summary=[f"Target: {format_target(fit.target)}, predicted loss {loss(first.loss)}{ends} nats/token."],
        warnings=with_codes(evidence.warnings, evidence.warning_codes),
        sections=[
            Section("laws", "Laws on held-out scales", law_blocks(evidence.judged), brief=True),
            Section("exponents", "Exponents", exponents, brief=True),
            Section("mixture", "Best mixture", [*blocks, *(Paragraph(text) for text in notes if text)], brief=True),
        ],
    )
    return in_unit(document, fit.record["target"]["unit"])


# How the law was chosen


def law_blocks(judged: LawScores) -> list[Block]:
    """Every law's held-out errors, and why one was chosen."""
    blocks: list[Block] = []
    if judged.laws:
        cells: Cells[LawScore] = {
            "law": lambda row: row.law + (" (used)" if row.law == judged.chosen else ""),
            "error": lambda row: error_text(row.error),
            "bias": lambda row: error_text(row.bias, sign=True),
            "Spearman": lambda row: number(row.spearman),
            "larger sizes": lambda row: error_text(row.error_size),
            "more tokens": lambda row: error_text(row.error_tokens),
        }
        if any(row.error_both is not None for row in judged.laws):
            cells["both"] = lambda row: error_text(row.error_both)
        used = next((n for n, row in enumerate(judged.laws) if row.law == judged.chosen), None)
        title = "Held-out scales: relative errors of the target loss, mean of the splits"
        splits = "; ".join(map(origin_text, judged.origins))
        note = f"Fitted up to one scale, scored on the next: {splits}."
        blocks.append(table_of(title, judged.laws, cells, used, note))
    if judged.why:
        blocks.append(Paragraph(judged.why))
    return blocks


def origin_text(origin: RollingOrigin) -> str:
    what = {"size": "parameters", "tokens": "tokens", "both": "parameters and more tokens"}[origin.kind]
    return f"{count_text(origin.up_to)} to {count_text(origin.then)} {what} ({origin.predicted} rows)"


def exponent_table(exponents: list[ExponentEstimate], law: str) -> Table:
    rows = []
    for one in exponents:
        before = "" if one.prior is None else f"{one.prior:.2f} ± {one.prior_standard_error:.3f}"
        decided_by = one.from_
        if one.narrowed_to is not None and decided_by != "the prior":
            decided_by += f", width x{one.narrowed_to:.2f}"
        value = f"{one.value:.3f} ± {one.standard_error:.3f}"
        rows.append((MEANINGS.get(one.name, one.name), value, before, decided_by))
    return Table(f"Exponents, {law}", columns("exponent", "value", "prior", "determined by"), rows)


def prior_text(prior: PriorStrength) -> str:
    strength = {0.0: "none", 1.0: "the law's own"}.get(prior.strength, f"{prior.strength:g} times as strong")
    if not prior.tried:
        return f"Prior for {prior.kind}: {strength}."
    tried = ", ".join(f"{name}: {error_text(error)}" for name, error in prior.tried.items())
    return f"Prior for {prior.kind}: {strength}. Held-out errors by strength: {tried}; 1 unless another clearly wins."


# The best mixture


def mixture_table(best: BestMixture, at: Scale, *, pooled: bool) -> Table:
    """Shares by domain of the best mixture and those beside it. pooled: whether any domain has a limit."""
    shown = [name for name in MIXTURES if name in best.mixtures and name != "uniform"]
    shares = [best.mixtures[name].weights for name in shown]
    first = best.mixtures["best"].weights
    used = [name for name in first if max(weights[name] for weights in shares) >= MIN_SHARE]
    rows = []
    for name in sorted(used, key=lambda name: -first[name]):
        epochs = best.epochs.get(name)
        text = "no limit" if epochs is None else epochs_text(epochs)
        rows.append((name, *(f"{weights[name]:.1%}" for weights in shares), count_text(first[name] * at.tokens), text))
    if more := len(first) - len(used):
        rows.append((counted(more, "other"), *["0.0%"] * len(shown), "", ""))
    headings = columns("domain", *(MIXTURES[name] for name in shown), "tokens", "epochs", strong="best")
    if not pooled:
        headings, rows = headings[:-2], [row[:-2] for row in rows]
    return Table(f"Best mixture at {scale_text(at)}", headings, rows)


def loss_table(best: BestMixture, at: Scale) -> Table:
    rows = []
    for name, row in best.mixtures.items():
        ends = "" if row.low is None else f"{row.low:.2f} to {row.high:.2f}"
        outside = "no" if row.outside <= HULL_TOLERANCE else f"{row.outside:.1%}"
        rows.append((MIXTURES[name], number(row.loss), ends, outside))
    headings = columns("mixture", "nats/token", kind_text(checked=best.mixtures["best"].checked), "outside the runs")
    return Table(f"Predicted target loss at {scale_text(at)}", headings, rows, 0)


def size_text(size: SizeChoice, at: Scale) -> str:
    """What the compute is best spent on, and how much that matters."""
    low, high = size.as_good
    edge = " It is the smallest or largest size that was tried: the runs say too little of others."
    return (
        f"Best use of {size.compute:.3g} FLOPs (6 N D): {scale_text(at)}. Sizes from {count_text(low)} to "
        f"{count_text(high)} parameters come within {size.level:.1%} of its loss.{edge if size.at_edge else ''}"
    )


def repetition_text(known: KnownRepetition) -> str:
    """Where R* is from."""
    values = list(dict.fromkeys(f"{value:.3g}" for value in known.r_star.values()))
    if known.from_ == "published":
        return (
            f"Repeated text is discounted by the published R* = {values[0]} epochs (arXiv:2305.16264): the runs repeat "
            "nothing, or don't say how much text they had."
        )
    each = values[0] if len(values) == 1 else f"{', '.join(values)} by validation set"
    return f"Repeated text is discounted by R* = {each} epochs, fitted to runs that repeat, with a prior around 15.4."


def range_text(fitted: FittedScales | None) -> str:
    if fitted is None:
        return "No range: no run has all losses of the target."
    known = ((fitted.sizes, "what larger sizes"), (fitted.lengths, "what more tokens"))
    shares = [f"{UNSURE if count > 1 else UNKNOWN:.0%} of {what}" for count, what in known]
    return (
        f"Standard error: {error_text(fitted.scatter)} that runs scatter around the law, and {' and '.join(shares)} "
        "are predicted to change."
    )


def gain_text(best: BestMixture) -> str:
    """What other mixtures lose against the best: mixtures share errors, so differences are known better than losses."""
    told = [
        f"{MIXTURES[name]} {best.mixtures[name].loss - best.mixtures['best'].loss:+.3f} "
        f"({gain.low:+.3f} to {gain.high:+.3f})"
        for name, gain in best.gains.items()
    ]
    if not told:
        return ""
    kind = kind_text(checked=all(gain.checked for gain in best.gains.values()))
    return f"Loss above the best mixture's, with its {kind}: {', '.join(told)}."


def beyond_text(best: BestMixture, at: Scale, trained: Scale) -> str:
    """How far beyond the runs this is, and what that changes."""
    if at == trained:
        return f"{scale_text(trained)} is the largest trained scale; --at-params and --at-tokens extrapolate."
    beyond = f"{best.beyond.params:.3g} x the parameters, {best.beyond.tokens:.3g} x the tokens"
    text = f"Largest trained: {scale_text(trained)}; this is {beyond}."
    if "best_at_trained" in best.differs:
        text += f" The best mixture differs from the best there in {best.differs['best_at_trained']:.1%} of the tokens."
    return text


def measured_text(best: BestMixture) -> str:
    run = best.best_measured_run
    if run is None:
        return ""
    return (
        f"Best measured: {run.run_id}, {run.loss:.3f} nats/token at the largest size and its most tokens "
        f"({best.differs['best_measured']:.0%} of the tokens away from the best mixture)."
    )


def scale_text(scale: Scale) -> str:
    return f"{count_text(scale.params)} parameters, {count_text(scale.tokens)} tokens"


def error_text(value: float | None, *, sign: bool = False) -> str:
    """A relative error, two decimals of a percent."""
    return "" if value is None else f"{100 * value:{'+' if sign else ''}.2f}%"
