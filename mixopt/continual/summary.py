"""Answer of continued pretraining in sentences, tables and warnings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil

from mixopt.continual.results import Choice, Evidence, Plan, Run, Verification
from mixopt.formatting import UNKNOWN, count_text, counted, digits_for, epochs_text, interval, known, loss, percent
from mixopt.report.document import Column, Document, Section, Table, Warning, columns

ROWS = 9  # of a front
MIN_DRAWS = 0.02  # a share of the draws: fewer aren't mentioned
NO_CHANGE = 5e-4  # of a loss: shown as no change
LAWS = {"d-cpt": "D-CPT law", "shift": "shift law", "interpolation": "interpolation", "blend": "weighted mean (used)"}
HELD_OUT = {  # kinds of held-out tests: column, and what was left out
    "share": ("new share", "a share left out"),
    "tokens": ("later", "checkpoints later than all that were fitted"),
    "size": ("larger", "the largest size"),
}
OUTSIDE = " *: outside what was trained."
GENERAL, DOMAIN_LOSS, GENERAL_LOSS = "general\ntext", "domain\nloss", "general\nloss"


def change_text(value: float | None) -> str:
    """A change of the general loss against its start, as a percentage with its sign."""
    if not known(value):
        return UNKNOWN
    if abs(value) < NO_CHANGE:
        return "±0.0%"
    return ("+" if value > 0 else "−") + f"{abs(100 * value):.1f}%"


def share_text(value: float | None) -> str:
    """A share as a percentage; the last few percent of a share to a tenth."""
    return f"{100 * value:.1f}%" if known(value) and 0.9 < value < 1 else percent(value)


def domain_loss(run: Choice) -> str:
    """A run's domain loss ± half of its interval."""
    low, high = run.ends.domain.ends
    if not (known(low) and known(high)):
        return loss(run.domain)
    digits = max(digits_for(high - low), 3) if high - low < 0.002 else min(digits_for(high - low), 3)
    return f"{loss(run.domain, digits)} ± {loss((high - low) / 2, digits)}"


def general_range(run: Choice) -> str:
    """The interval of the general share that each draw by itself would choose."""
    low, high = run.chosen.share_ends if run.chosen else (None, None)
    return interval((1 - high, 1 - low), share_text) if known(low) and known(high) else ""


def rise_range(run: Choice) -> str:
    """The interval of the general loss's change."""
    low, high = run.ends.rise.ends
    return interval((low, high), change_text) if known(low) and known(high) else ""


def losses_text(run: Choice) -> str:
    return f"domain loss {domain_loss(run)}, general loss {change_text(run.rise)}"


def capitalized(text: str) -> str:
    return text[0].upper() + text[1:]


def headline(plan: Plan) -> str:
    """What to do, in a sentence."""
    run = plan.answer
    if run is None:
        return capitalized(refusal(plan))
    general = f"{share_text(run.general_share)} general text"
    if plan.sizes:
        what = f"Train {count_text(run.params)} parameters for {count_text(run.tokens)} tokens and keep {general}"
    else:
        what = f"Keep {general}" + (f" in {count_text(run.tokens)} tokens" if run.tokens is not None else "")
    if run.passes is not None:
        what += f" ({epochs_text(run.passes)} epochs of {count_text(plan.given['domain_tokens'])} domain tokens)"
    return f"{what}: {losses_text(run)}."


def refusal(plan: Plan) -> str:
    """That no share keeps the tolerance, the least rise there is, and how to allow it."""
    best, (low, high) = plan.least_rise, plan.looked_at
    needed = ceil(1000 * best.rise + 1e-6) / 1000
    option = f"--tolerance {100 * needed:.1f}%" if plan.kind == "cpt" else f"full.tolerance: {needed:g}"
    return (
        f"no share from {share_text(1 - high)} to {share_text(1 - low)} general text keeps the general loss within "
        f"{change_text(plan.tolerance)} of its start: the smallest rise is {change_text(best.rise)}, with "
        f"{share_text(best.general_share)} general text (domain loss {loss(best.domain)}): allow it with {option}"
    )


def sentences(plan: Plan) -> list[str]:
    """How sure the answer is, and what else could be chosen."""
    found = [_uncertainty(plan, plan.answer)] if plan.answer else []
    if plan.trained:
        general = f"{share_text(plan.trained.general_share)} general text"
        found.append(f"Among the trained shares the best is {general}: {losses_text(plan.trained)}.")
    return [*found, _no_forgetting(plan)]


def _uncertainty(plan: Plan, run: Choice) -> str:
    sure, sizes = plan.sure, ""
    if plan.sizes and run.chosen:
        sizes = f", of {' to '.join(dict.fromkeys(map(count_text, run.chosen.params_ends)))} parameters"
    text = (
        f"{plan.level:.0%} intervals: {general_range(run)} general text would be best{sizes}; the general loss "
        f"of this run changes by {rise_range(run)}{_in_no_share(run)}. "
    )
    if sure is None:
        return text + f"No share keeps it within {change_text(plan.tolerance)} with {plan.sure_at:.0%} probability."
    return (
        f"{text}To be {plan.sure_at:.0%} sure of {change_text(plan.tolerance)} or less keep "
        f"{share_text(sure.general_share)}: domain loss {domain_loss(sure)}."
    )


def _in_no_share(run: Choice) -> str:
    none_in = run.chosen.none_in if run.chosen else 0.0
    return f" (no share qualifies in {percent(none_in)} of the bootstrap draws)" if none_in > MIN_DRAWS else ""


def _no_forgetting(plan: Plan) -> str:
    run, best = plan.free, plan.least_rise
    if run is None:
        return (
            f"Some forgetting is unavoidable: of all shares searched, up to {share_text(1 - plan.looked_at[0])} "
            f"general text, {share_text(best.general_share)} raises the general loss least: {change_text(best.rise)}."
        )
    text = f"{share_text(run.general_share)} general text"
    if run.rise < -NO_CHANGE:  # nothing that was searched costs anything
        where = " (outside what was trained)" if run.outside else ""
        return f"Even with {text}{where} the general loss ends below its start ({change_text(run.rise)})."
    limit = ", outside what was trained" if run.outside else ""
    return (
        f"With {text} ({general_range(run)}{limit}) the general loss ends where it began{_in_no_share(run)}: domain "
        f"loss {domain_loss(run)}."
    )


def scope(plan: Plan) -> str:
    """What the plan was learned from, and by what."""
    runs = plan.trained_on
    ranges = [f"{interval(runs.share, percent)} domain text"]
    for key, (low, high), word in (("tokens", runs.tokens, "tokens"), ("params", runs.params, "parameters")):
        if key in plan.knows:
            lowest = "" if high <= 1.01 * low else f"{count_text(low)} to "
            ranges.append(f"{lowest}{count_text(high)} {word}")
    return (
        f"Fitted to {counted(runs.runs, 'run')} ({counted(runs.rows, 'row')}) with {', '.join(ranges)}. "
        f"{predictors_text(plan.losses)} Losses are nats/token; changes of the general loss are relative to "
        "its value before continuing."
    )


def predictors_text(losses: Mapping[str, Evidence]) -> str:
    """What predicts each loss: 'Domain loss (python): 52% shift law, 42% D-CPT law, 6% interpolation; general ...'."""
    parts = []
    for of, evidence in losses.items():
        ranked = sorted(evidence.weights.items(), key=lambda pair: -pair[1])
        blend = ", ".join(f"{percent(weight)} {LAWS.get(name, name)}" for name, weight in ranked)
        parts.append(f"{of} loss ({evidence.column}): {blend or LAWS.get(evidence.law, evidence.law)}")
    return f"{capitalized('; '.join(parts))}."


def warnings(plan: Plan) -> list[Warning]:
    """What limits the answer: extrapolation, what the laws warn of, what was assumed."""
    beyond, assumed = plan.warnings[: len(plan.beyond)], plan.warnings[len(plan.beyond) :]
    laws: list[Warning] = []
    for of, evidence in plan.losses.items():
        laws += [Warning("law", f"{of.capitalize()} loss: {text.rstrip('.')}.") for text in evidence.cautions]
        errors = evidence.held_out.get("tokens", {})
        last = errors.get("interpolation")
        least = min((e for name, e in errors.items() if name.startswith(("d-cpt", "shift")) and known(e)), default=None)
        if known(last) and known(least) and last < least:
            text = (
                f"{of.capitalize()} loss: held-out later checkpoints are predicted better by carrying the last loss "
                f"forward than by any law ({loss(last, 4)} against {loss(least, 4)} nats/token); weights reflect it."
            )
            laws.append(Warning("last-loss-better", text))
    return [*beyond, *laws, *assumed]


def _varied(plan: Plan) -> dict[str, Callable[[Run], str]]:
    """Columns of size, tokens and epochs, as far as runs of the plan differ in them."""
    tokens = [run.tokens for run in plan.front if run.tokens is not None]
    columns = [
        ("params", bool(plan.sizes), lambda run: count_text(run.params)),
        ("tokens", bool(tokens) and max(tokens) > 1.001 * min(tokens), lambda run: count_text(run.tokens)),
        ("epochs", any(run.passes is not None for run in plan.front), lambda run: epochs_text(run.passes)),
    ]
    return {name: text for name, shown, text in columns if shown}


def choices_table(plan: Plan) -> Table:
    """The answer and what else could be chosen, with intervals."""
    limit, varied = change_text(plan.tolerance), _varied(plan)
    choices = [
        ("recommended", plan.answer, f"lowest domain loss with a general loss of {limit} or less"),
        (f"{plan.sure_at:.0%} sure", plan.sure, f"the same in {plan.sure_at:.0%} of the bootstrap draws"),
        ("trained shares", plan.trained, "the same among the trained shares"),
        ("no forgetting", plan.free, "general loss no higher than its start"),
        ("least forgetting", None if plan.answer else plan.least_rise, "general loss lowest"),
    ]
    shown = [(name, run, meaning) for name, run, meaning in choices if run]
    rows = [
        (
            name + (" *" if run.outside else ""),
            share_text(run.general_share),
            general_range(run),
            domain_loss(run),
            change_text(run.rise),
            rise_range(run),
            *(text(run) for text in varied.values()),
        )
        for name, run, _ in shown
    ]
    meanings = "; ".join(f"{name}: {meaning}" for name, _, meaning in shown)
    note = f"{capitalized(meanings)}. Intervals: {plan.level:.0%} of {plan.draws} bootstrap draws."
    note += OUTSIDE if any(run.outside for _, run, _ in shown) else ""
    width = f"{plan.level:.0%}\ninterval"
    names = [GENERAL, width, DOMAIN_LOSS, GENERAL_LOSS, width, *varied]
    return Table("How much general text to keep", columns("choice", *names), rows, 0 if plan.answer else None, note)


def sizes_table(plan: Plan) -> Table:
    """The best of every trained size for the compute."""
    rows = []
    for row in plan.sizes:
        run = row.best
        cells = (share_text(run.general_share), loss(run.domain), change_text(run.rise)) if run else (UNKNOWN,) * 3
        rows.append((count_text(row.params), count_text(row.tokens), *cells))
    note = f"At 6 N D = {plan.given['compute']:.3g} FLOPs. {UNKNOWN}: no share stays within the tolerance."
    headings = [Column(name) for name in ("parameters", "tokens", GENERAL, DOMAIN_LOSS, GENERAL_LOSS)]
    return Table("The best of each trained size", headings, rows, note=note)


def front_table(plan: Plan) -> Table:
    """Some runs of the Pareto front, and how well Optuna's search agrees with it."""
    varied = _varied(plan)
    places = sorted({round(n * (len(plan.front) - 1) / (ROWS - 1)) for n in range(ROWS)})
    rows = [
        (
            share_text(run.general_share) + (" *" if run.outside else ""),
            loss(run.domain),
            loss(run.general),
            change_text(run.rise),
            *(text(run) for text in varied.values()),
        )
        for run in (plan.front[n] for n in places)
    ]
    note = "No run is better in one loss without being worse in the other."
    note += OUTSIDE if any(run.outside for run in plan.front) else ""
    if plan.search:
        note += (
            f" Optuna's {plan.search.sampler}, {plan.search.trials} trials, finds "
            f"{100 * plan.search.hypervolume_ratio:.2f}% of this front's hypervolume."
        )
    headings = [Column(name) for name in (GENERAL, DOMAIN_LOSS, GENERAL_LOSS, "change", *varied)]
    return Table("Pareto front of both losses", headings, rows, note=note)


def predictors_table(losses: Mapping[str, Evidence]) -> Table | None:
    """Weights and held-out errors of laws and curves; None where one law predicts each loss."""
    kinds = [kind for kind in HELD_OUT if any(kind in found.held_out for found in losses.values())]
    names = list(dict.fromkeys(name for found in losses.values() for name in found.weights))
    if not names or not kinds:
        return None
    rows = []
    for name in [*names, "blend"]:
        cells: list[str] = []
        for found in losses.values():
            weight = found.weights.get(name)
            cells.append(percent(weight) if known(weight) else "")
            cells += [loss(found.held_out.get(kind, {}).get(name), 4) for kind in kinds]
        rows.append((LAWS.get(name, name), *cells))
    headings = [f"{of}\n{what}" for of in losses for what in ("weight", *(HELD_OUT[kind][0] for kind in kinds))]
    tests = "; ".join(f"{HELD_OUT[kind][0]}: {HELD_OUT[kind][1]}" for kind in kinds)
    note = f"Mean absolute errors on held-out runs, nats/token. {capitalized(tests)}."
    return Table("Cross-validation of laws and curves", columns("law or curve", *headings), rows, len(rows) - 1, note)


def published_table(plan: Plan) -> Table:
    """Critical shares: published ones, and the runs' own."""
    rows = [(one.size, share_text(1 - one.share)) for one in plan.published]
    if plan.free:
        rows.append(("these runs", share_text(plan.free.general_share)))
    note = (
        f"Share of general text with which its loss returns to its start after {count_text(plan.centre.tokens)} "
        f"tokens, from {plan.published[0].source}; for their data and recipe, as a comparison."
    )
    own = len(rows) - 1 if plan.free else None
    return Table("Published critical shares", columns("model", "general text"), rows, own, note)


def check_table(verified: Verification) -> Table:
    """Measured losses of the recommended run, and the predicted ones."""
    rows = [
        (name, *map(loss, (check.measured, check.sd, check.predicted, check.low, check.high)))
        for name, check in (("domain loss", verified.domain), ("general loss", verified.general))
    ]
    headings = columns("", "measured", "sd of seeds", "predicted", "from", "to")
    return Table("Measured check", headings, rows, note="Nats/token; means over seeds.")


def check_text(verified: Verification) -> str:
    kept = "Both losses lie within their intervals" if verified.kept else "At least one loss lies outside its interval"
    return (
        f"The recommended run was trained with {counted(len(verified.runs), 'new seed')}. {kept}; the general loss "
        f"ends {change_text(verified.rise.measured)} from its start, {change_text(verified.tolerance)} was allowed."
    )


def fit_document(losses: Mapping[str, Evidence]) -> Document:
    """What predicts both losses."""
    table = predictors_table(losses)
    sections = [Section("predictors", "Predictors", [table], brief=True)] if table else []
    return Document("Fit of both losses", predictors_text(losses), sections=sections)


def verification_document(verified: Verification) -> Document:
    """The recommended run as trained."""
    section = Section("check", "Measured check", [check_table(verified)], brief=True)
    return Document("Measured check", check_text(verified), sections=[section])
