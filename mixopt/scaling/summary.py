""""""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mixopt.formatting import MIN_SHARE, format_target, number, short
from mixopt.search.certificate import certificate_text

MIXTURES = {
    "best": "best",
    "best_at_trained": "best at trained scale",
    "best_measured": "best measured",
    "uniform": "uniform",
}


def show(console: Console, record: Mapping[str, Any]) -> None:
    """Held-out errors of every law, what the exponents are known to be, the best mixture, and what limits it."""
    evidence = record["evidence"]
    judged, best = evidence["judged"], evidence["best"]
    console.print()
    console.print(f"Target: {escape(format_target(record['target']['weights']))}", highlight=False)
    if judged["laws"]:
        console.print(judged_table(judged))
        splits = "; ".join(map(told_origin, judged["origins"]))
        console.print(f"Fitted to all before, predicted after: {splits}.", highlight=False)
    if judged["why"]:
        console.print(escape(judged["why"]), highlight=False)
    console.print(exponent_table(evidence["exponents"], record["law"]))
    for prior in evidence["priors"]:
        console.print(told_prior(prior), highlight=False)
    console.print(mixture_table(record))
    console.print(loss_table(record))
    told = (told_size(record), told_range(judged), told_difference(record), told_repetition(evidence["repetition"]),
            told_measured(best, record["trained"]), certificate_text(best))  # fmt: skip
    for sentence in told:
        if sentence:
            console.print(escape(sentence), highlight=False)
    for warning in evidence["warnings"]:
        console.print(f"[yellow]![/] {escape(warning)}", highlight=False)


def titled(title: str) -> Table:
    """An empty table, wide enough for its title."""
    return Table(title=title, title_justify="left", min_width=len(title))


def judged_table(judged: Mapping[str, Any]) -> Table:
    table = titled("Held-out scales: relative errors of the target loss, mean of the splits")
    table.add_column("law", overflow="fold")
    for heading in ("error", "bias", "Spearman", "larger sizes", "more tokens"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in judged["laws"]:
        used = row["law"] == judged["chosen"]
        table.add_row(
            escape(row["law"]) + (" (used)" if used else ""),
            percent(row["error"]),
            percent(row["bias"], sign=True),
            number(row["spearman"]),
            percent(row["error_size"]),
            percent(row["error_tokens"]),
            style="bold" if used else "dim" if row["law"] == "persistence" else None,
        )
    return table


def told_origin(origin: Mapping[str, Any]) -> str:
    what = "parameters" if origin["kind"] == "size" else "tokens"
    return f"{rounded(origin['up_to'])} to {rounded(origin['then'])} {what} ({origin['predicted']} rows)"


def exponent_table(exponents: list[Mapping[str, Any]], law: str) -> Table:
    table = titled(f"Exponents, {law}")
    table.add_column("exponent")
    for heading in ("value", "before the runs", "decided by"):
        table.add_column(heading, justify="right")
    meaning = {"alpha": "alpha, parameters", "beta": "beta, tokens"}
    for one in exponents:
        before = "" if one["prior"] is None else f"{one['prior']:.2f} ± {one['prior_standard_error']:.3f}"
        value = f"{one['value']:.3f} ± {one['standard_error']:.3f}"
        told = one["from"]
        if one["narrowed_to"] is not None and told != "the prior":
            told += f", width x{one['narrowed_to']:.2f}"
        table.add_row(meaning.get(one["name"], one["name"]), value, before, told)
    return table


def told_prior(prior: Mapping[str, Any]) -> str:
    what = "size" if prior["kind"] == "size" else "tokens"
    strength = "as the law says" if prior["strength"] == 1 else f"{prior['strength']:g} times as strong"
    strength = "none" if prior["strength"] == 0 else strength
    if not prior["tried"]:
        return f"Prior for {what}: {strength}; the runs can't judge it (it takes three {what_it_takes(what)})."
    tried = ", ".join(f"{name}: {percent(error)}" for name, error in prior["tried"].items())
    return f"Prior for {what}: {strength}. Held-out errors by strength: {tried}; 1 unless another is clearly better."


def what_it_takes(what: str) -> str:
    return "sizes" if what == "size" else "early token counts"


def mixture_table(record: Mapping[str, Any]) -> Table:
    """Shares by domain of the best mixture and those beside it."""
    mixtures = record["evidence"]["best"]["mixtures"]
    shown = [name for name in MIXTURES if name in mixtures and name != "uniform"]
    table = titled(f"Best mixture at {told_scale(record['at'])}")
    table.add_column("domain", overflow="fold")
    for name in shown:
        table.add_column(MIXTURES[name], justify="right")
    best, epochs = mixtures["best"]["weights"], record["evidence"]["best"]["epochs"]
    extra = ("tokens", "epochs") if record["pools"] else ()
    for heading in extra:
        table.add_column(heading, justify="right")
    used = [name for name in best if max(mixtures[key]["weights"][name] for key in shown) >= MIN_SHARE]
    for name in sorted(used, key=lambda name: -best[name]):
        cells = [rounded(best[name] * record["at"]["tokens"]), told_epochs(epochs[name])] if extra else []
        table.add_row(escape(name), *(f"{mixtures[key]['weights'][name]:.1%}" for key in shown), *cells)
    if more := len(best) - len(used):
        table.add_row(f"{more} other{'s' * (more > 1)}", *["0.0%"] * len(shown), *[""] * len(extra), style="dim")
    return table


def loss_table(record: Mapping[str, Any]) -> Table:
    mixtures = record["evidence"]["best"]["mixtures"]
    table = titled(f"Predicted target loss at {told_scale(record['at'])}")
    table.add_column("mixture")
    for heading in ("nats/token", "range", "outside the runs"):
        table.add_column(heading, justify="right")
    for name, row in mixtures.items():
        span = "" if row["low"] is None else f"{row['low']:.2f} to {row['high']:.2f}"
        outside = "no" if row["outside"] <= 1e-3 else f"{row['outside']:.1%}"
        table.add_row(MIXTURES[name], number(row["loss"]), span, outside)
    return table


def told_epochs(epochs: float | None) -> str:
    return "no limit" if epochs is None else f"{epochs:.2f}" if epochs < 10 else f"{epochs:.1f}"


def told_size(record: Mapping[str, Any]) -> str:
    """What the compute is best spent on, and how much that matters; empty where the size was given."""
    sized = record["evidence"]["size"]
    if sized is None:
        return ""
    low, high = sized["as_good"]
    told = (
        f"Best use of {sized['compute']:.3g} FLOPs (6 N D): {told_scale(record['at'])}. Sizes from {rounded(low)} to "
        f"{rounded(high)} parameters come within {sized['level']:.1%} of its loss."
    )
    edge = " It is the smallest or largest size that was looked at: the runs say too little of others."
    return told + (edge if sized["at_edge"] else "")


def told_repetition(known: Mapping[str, Any] | None) -> str:
    """Where R* is from; empty without pools."""
    if known is None:
        return ""
    values = list(dict.fromkeys(f"{value:.3g}" for value in known["r_star"].values()))
    if known["from"] == "published":
        return (
            f"Repeated text counts less by the published R* = {values[0]} epochs (arXiv:2305.16264): the runs repeated "
            "nothing, or don't say how much text they had."
        )
    span = values[0] if len(values) == 1 else f"{', '.join(values)} by text"
    return f"Repeated text counts less by R* = {span} epochs, fitted to runs that repeat and a prior around 15.4."


def told_range(judged: Mapping[str, Any]) -> str:
    if judged["spread"] is None:
        return "No range: no scale could be held out to measure errors on."
    return (
        f"Range: ±{percent(judged['spread'])}, within which {judged['spread_level']:.0%} of the held-out losses lay "
        "in the worst split. Mixtures err alike: their differences are known better than their losses."
    )


def told_difference(record: Mapping[str, Any]) -> str:
    """How far beyond the runs this is, and what that changes."""
    best, trained = record["evidence"]["best"], record["trained"]
    if record["at"] == trained:
        return f"{told_scale(trained)} is the largest trained scale: --at-params and --at-tokens go beyond."
    beyond = f"{best['beyond']['params']:.3g} x the parameters, {best['beyond']['tokens']:.3g} x the tokens"
    told = f"Largest trained: {told_scale(trained)}; this is {beyond}."
    if "best_at_trained" in best["differs"]:
        told += (
            f" The best mixture moves {best['differs']['best_at_trained']:.1%} of the tokens against the best there."
        )
    return told


def told_measured(best: Mapping[str, Any], trained: Mapping[str, float]) -> str:
    run = best["best_measured_run"]
    if run is None:
        return ""
    return (
        f"Best measured: {run['run_id']}, {run['loss']:.3f} nats/token at the largest size and its most tokens "
        f"({best['differs']['best_measured']:.0%} of the tokens away from the best mixture)."
    )


def told_scale(scale: Mapping[str, float]) -> str:
    return f"{rounded(scale['params'])} parameters, {rounded(scale['tokens'])} tokens"


def rounded(value: float) -> str:
    """122M, 1.35B: three digits."""
    return short(float(f"{value:.3g}"))


def percent(value: float | None, *, sign: bool = False) -> str:
    return "" if value is None else f"{100 * value:{'+' if sign else ''}.2f}%"
