"""Scores, fits and predictions as the terminal shows them, drawn by Rich."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mixopt.formatting import MIN_SHARE, digits, format_target, number
from mixopt.runs.objective import TARGET
from mixopt.search.certificate import certificate_text

ROWS = 30  # predictions shown; --out and --json give all


def show_scores(console: Console, selection: Mapping[str, Any]) -> None:
    """Held-out scores of every predictor on the target, the one used marked, and how it was chosen."""
    title = f"Held-out scores over {selection['mixtures']} mixtures, {selection['folds']} folds"
    scores = selection["scores"]
    console.print(score_table(scores, TARGET, title, chosen=selection["chosen"]))
    others = len({row["target"] for row in scores}) > 2
    last = "The last column is the mean Spearman of the losses, one by one." if others else ""
    for sentence in (last, selection.get("why"), nested(selection), floor(selection)):
        if sentence:
            console.print(escape(sentence), highlight=False)


def score_table(rows: Sequence[Mapping[str, Any]], target: str, title: str, *, chosen: str | None = None) -> Table:
    """Scores of every predictor on one loss, the lowest error first, beside the mean rank correlation of the others."""
    others = {row["target"] for row in rows} - {target}
    headings = ["Spearman", "RMSE", "regret@1, @5", "80% holds", "s/fit"]
    table = scores_of(title, headings + (["all losses"] if len(others) > 1 else []))
    on_target = [row for row in rows if row["target"] == target]
    for row in sorted(on_target, key=lambda row: math.inf if row["rmse"] is None else row["rmse"]):
        name = row["predictor"]
        error = number(row["rmse"]) + (f" ± {row['rmse_se']:.3f}" if row.get("rmse_se") is not None else "")
        regrets = ", ".join(number(row.get(key)) for key in ("regret", "regret5") if row.get(key) is not None)
        cells = [number(row["spearman"]), error, regrets, percent(row.get("coverage80")), seconds(row.get("seconds"))]
        if len(others) > 1:
            ranks = [r["spearman"] for r in rows if r["predictor"] == name and r["target"] != target]
            known = [rank for rank in ranks if rank is not None]
            cells.append(number(sum(known) / len(known)) if known else "")
        used = name == chosen
        table.add_row(escape(name) + (" (used)" if used else ""), *cells, style="bold" if used else None)
    return table


def scores_of(title: str, headings: Sequence[str]) -> Table:
    """An empty table with a row a predictor; names are folded rather than cut."""
    table = Table(title=title, title_justify="left")
    table.add_column("predictor", overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def nested(selection: Mapping[str, Any]) -> str:
    """What choosing by the same rule scores on folds that take no part in the choice."""
    own = selection.get("nested")
    if not own or own.get("rmse") is None:
        return ""
    told = f"Chosen anew without each fold: Spearman {number(own['spearman'])}, RMSE {number(own['rmse'])}"
    told += f", regret {number(own['regret'])}" if own.get("regret") is not None else ""
    picks = sorted((own.get("chosen") or {}).items(), key=lambda pair: -pair[1])
    names = ", ".join(f"{name} in {times}" for name, times in picks)
    return (
        f"{told} nats/token ({names} of {sum(times for _, times in picks)} folds)." if picks else f"{told} nats/token."
    )


def floor(selection: Mapping[str, Any]) -> str:
    noise = selection.get("floor")
    return "" if noise is None else f"Noise floor: {noise:.3f} nats/token between runs of one mixture."


def show_fit(console: Console, record: Mapping[str, Any]) -> None:
    """The leaderboard of the target, the best mixtures, and what limits the evidence."""
    recommendation = record["evidence"]["recommendation"]
    console.print()
    console.print(f"Target: {escape(format_target(record['target']['weights']))}", highlight=False)
    show_scores(console, record["evidence"]["selection"])
    console.print(best_table(recommendation))
    console.print(loss_table(recommendation))
    if optimism := told_optimism(recommendation):
        console.print(escape(optimism), highlight=False)
    for warning in recommendation["warnings"]:
        console.print(f"[yellow]![/] {escape(warning)}", highlight=False)


def best_table(recommendation: Mapping[str, Any]) -> Table:
    """The best measured mixture beside the recommended one, the one that is predicted to be best."""
    table = Table(title="Best mixtures", title_justify="left")
    table.add_column("domain", overflow="fold")
    for heading in ("best measured", "recommended"):
        table.add_column(heading, justify="right")
    rows = sorted(recommendation["domains"], key=lambda row: -row["recommended"])
    used = [row for row in rows if max(row["best_measured"], row["recommended"]) >= MIN_SHARE]
    for row in used:
        table.add_row(escape(row["domain"]), f"{row['best_measured']:.1%}", f"{row['recommended']:.1%}")
    if more := len(rows) - len(used):
        table.add_row(f"{more} other{'s' * (more > 1)}", "0.0%", "0.0%", style="dim")
    return table


def loss_table(recommendation: Mapping[str, Any]) -> Table:
    """Predicted losses of the recommended, the best measured and the uniform mixture, and what was measured."""
    table = Table(title="Target loss at the runs' own scale, nats/token", title_justify="left")
    table.add_column("mixture", overflow="fold")
    for heading in ("predicted", f"{recommendation['interval']['level']:.0%} interval", "measured"):
        table.add_column(heading, justify="right")
    for name in ("recommended", "best_measured", "uniform"):
        row = recommendation["predicted"][name]
        run = f", run {row['run_id']}" if "run_id" in row else ""
        label = escape(name.replace("_", " ") + run)
        table.add_row(label, number(row["loss"]), bounds(row), number(row.get("measured")))
    return table


def bounds(row: Mapping[str, Any]) -> str:
    return "" if row["low"] is None or row["high"] is None else f"{row['low']:.3f} to {row['high']:.3f}"


def show_board(console: Console, record: Mapping[str, Any]) -> None:
    """A leaderboard: means over the losses, then the target's own scores where one is asked for."""
    console.print()
    console.print(board_table(record))
    console.print(
        "Means over the losses. RMSE, regret: in standard deviations of a loss between mixtures. Regret@k: given up by "
        "training the k mixtures that the predictor likes best.",
        highlight=False,
    )
    if record["target"]:
        title = f"On the target alone, {format_target(record['target'])}, nats/token"
        alone = [row for row in record["scores"] if row["target"] == TARGET]
        console.print(score_table(alone, TARGET, escape(title)))
    for name, why in record["refused"].items():
        console.print(f"[yellow]![/] {escape(f'{name} is left out: {why}')}", highlight=False)


def board_table(record: Mapping[str, Any]) -> Table:
    losses = len(record["texts"])
    title = f"{losses} losses, {record['runs']} runs of {record['mixtures']} mixtures, {record['folds']} folds"
    table = scores_of(title, ("Spearman", "RMSE", "regret@1", "regret@5", "80% holds", "best on", "s/fit"))
    for i, row in enumerate(record["board"]):
        cells = [number(row[key]) for key in ("spearman", "rmse_sd", "regret_sd", "regret5_sd")]
        best = f"{row['best_on']} of {losses}"
        cells = [*cells, percent(row["coverage80"]), best, seconds(row["seconds"])]
        table.add_row(escape(row["predictor"]), *cells, style="bold" if i == 0 else None)
    return table


def show_predictions(console: Console, told: Mapping[str, Any]) -> None:
    """Predicted losses of mixtures, the lowest first, and how good they are where losses were measured."""
    rows = sorted(told["mixtures"], key=lambda row: row["loss"])
    measured = any(row["measured"] is not None for row in rows)
    table = Table(title=f"{format_target(told['target'])}, nats/token, by {told['predictor']}", title_justify="left")
    table.add_column("mixture", overflow="fold")
    middle = ["measured"] if measured else []
    for heading in ("predicted", f"{told['level']:.0%} interval", *middle, "outside the runs", "nearest run"):
        table.add_column(heading, justify="right")
    for row in rows[:ROWS]:
        outside = (
            "" if row["outside"] is None else "no" if row["outside"] <= told["inside"] else f"{row['outside']:.1%}"
        )
        near = f"{row['nearest_run']}, {row['distance']:.0%} away"
        middle = [number(row["measured"])] if measured else []
        table.add_row(escape(row["mixture"]), number(row["loss"]), bounds(row), *middle, outside, escape(near))
    console.print(table)
    if len(rows) > ROWS:
        console.print(f"The {ROWS} lowest of {len(rows)}; --out FILE.csv or --json give all.", highlight=False)
    score = told["score"]
    if score:
        whose = "new to the fit" if score["new"] else "of the fit's own mixtures"
        console.print(
            f"{score['mixtures']} measured losses {whose}: Spearman {number(score['spearman'])}, RMSE "
            f"{number(score['rmse'])} nats/token, {score['covered']:.0%} inside the {told['level']:.0%} interval.",
            highlight=False,
        )


def percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if value < 1 else f"{value:.2g}" if value < 10 else f"{value:.0f}"


# The recommendation as the terminal shows it: plain text, drawn by the command line.


HEADER = ("Domain", "Natural", "Recommended", "Tokens", "Epochs")
NONE = "–"


def summary_rows(recommendation: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row of text a domain under HEADER, the largest recommended share first."""
    rows = sorted(recommendation["domains"], key=lambda row: -row["recommended"])
    return [
        (
            row["domain"],
            _share(row["natural"]),
            _share(row["recommended"]),
            count(row["tokens"]),
            _epochs(row["epochs"]),
        )
        for row in rows
    ]


def told_optimism(recommendation: Mapping[str, Any]) -> str:
    """A sentence on the expected optimism, for a reader of the recommendation; empty where it isn't known."""
    expected = recommendation.get("optimism") or {}
    loss, error = expected.get("loss"), expected.get("standard_error")
    if loss is None or error is None:
        return ""
    told = f"{abs(loss):.3f} ± {error:.3f} nats/token"
    if loss <= 0:
        return (
            f"Rehearsed choices measured no worse than predicted ({told} better): no optimism is to be expected at the "
            "recommended mixture."
        )
    return (
        f"Expected optimism {told}: a mixture chosen for its low prediction measures so much higher on average. The "
        "interval of the recommended mixture takes it into account."
    )


def count(value: float | None) -> str:
    """1234567 as 1.23M."""
    if value is None:
        return NONE
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.0f}"


def _share(value: float | None) -> str:
    return NONE if value is None else f"{value:.1%}"


def _epochs(value: float | None) -> str:
    return NONE if value is None else f"{value:.2g}" if value < 10 else f"{value:.0f}"


# What more unique text is worth, and how surely the mixture is the best one, in sentences.


MIN_GAIN = 1e-6  # nats/token that twice the unique text would bring: a price below that is none
SIZES = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1e3, "thousand"))
SMALL = 0.25  # of a pool; amounts are named that are no larger, as prices hold for small changes
NAMED = 3  # domains named after the first


def told_worth(recommendation: Mapping[str, Any]) -> list[str]:
    """Sentences on the shadow prices, what matters most first; none where the recommendation says nothing of them."""
    priced = recommendation.get("shadow_prices")
    if not priced:
        return []
    if priced.get("why"):
        return [f"What more unique text is worth can't be said: {priced['why']}."]
    rows = [row for row in priced["domains"] if row["unique"]]
    worth = sorted((row for row in rows if _counts(row)), key=lambda row: -row["unique"]["gain"])
    told = []
    if not priced["sees_repetition"]:
        what = "only as far as it loosens a cap on epochs" if worth else "unknown"
        told.append(
            "The predictor sees shares alone, not how often text is repeated: what more unique text is worth is "
            f"{what}."
        )
    elif not worth:
        told.append(_nothing_to_gain(rows))
    if worth:
        told.append(_first(worth[0], priced))
        told += _others(worth, priced)
    return [*told, *_caps(priced)]


def told_most(recommendation: Mapping[str, Any]) -> list[str]:
    """The one or two sentences that a terminal has room for; none where there is nothing to say."""
    priced = recommendation.get("shadow_prices") or {}
    told = told_worth(recommendation)
    if priced.get("why") or not priced.get("sees_repetition"):
        priced_caps = [row for row in priced.get("domains") or [] if row["cap"] and row["cap"]["gain"] > MIN_GAIN]
        return told[-1:] if priced_caps else []
    return told[:2]


def _counts(row: Mapping[str, Any]) -> bool:
    return row["unique"]["gain"] * row["pool"] > MIN_GAIN


def _nothing_to_gain(rows: Sequence[Mapping[str, Any]]) -> str:
    repeated = [row["domain"] for row in rows if row["epochs"] > 1 + 1e-6]
    if not repeated:
        return "No domain is repeated: more unique text would change nothing at this budget."
    which = f"{_listed(repeated)} {'is' if len(repeated) == 1 else 'are'} repeated"
    return f"{which}, but by the fitted law more unique text would not lower the loss."


def _first(row: Mapping[str, Any], priced: Mapping[str, Any]) -> str:
    worth = row["worth"]
    if worth is None or worth["gain"] is None:
        told = f"{_tenth(row)} would lower the loss by about {_fall(row, 0.1 * row['pool'], priced)}."
        if worth is None:
            return told
        return f"As far as these runs can tell, a longer run on the same text would not lower the loss. {told}"
    size, name = _unit(row["pool"])
    one = f"One more {name}unique token{'s' if size > 1 else ''} of {row['domain']}"
    span = _interval(worth, priced, size, _tokens)
    return f"{one} is worth what {_tokens(size * worth['gain'])} more training tokens are{span}."


def _tenth(row: Mapping[str, Any]) -> str:
    return f"10% more unique text of {row['domain']} ({_tokens(0.1 * row['pool'])} tokens)"


def _fall(row: Mapping[str, Any], size: float, priced: Mapping[str, Any]) -> str:
    return f"{digits(size * row['unique']['gain'])} nats/token{_interval(row['unique'], priced, size)}"


def _others(worth: Sequence[Mapping[str, Any]], priced: Mapping[str, Any]) -> list[str]:
    """The same amount of the next domains' text, beside the first's."""
    if len(worth) < 2:
        return []
    first, rest = worth[0], worth[1 : 1 + NAMED]
    known = all(row["worth"] and row["worth"]["gain"] is not None for row in worth)
    size, name = _unit(first["pool"]) if known else (0.1 * first["pool"], "")
    if known:
        each = [f"{_tokens(size * row['worth']['gain'])} for {row['domain']}" for row in rest]
        told = f"The same for one more {name}unique token{'s' if size > 1 else ''} of another domain: {_listed(each)}"
    else:
        each = [f"{digits(size * row['unique']['gain'])} for {row['domain']}" for row in rest]
        told = f"As many more unique tokens of another domain would lower it by {_listed(each)}"
    more = len(worth) - 1 - len(rest)
    return [told + (f", and less for {more} other{'s' if more > 1 else ''}." if more else ".")]


def _caps(priced: Mapping[str, Any]) -> list[str]:
    """What a higher cap would bring, for the cap that costs most: 10% more epochs, or 1% of the tokens."""

    def step(cap: Mapping[str, Any]) -> float:
        return 0.1 * cap["at"] if cap["setting"] == "max_epochs" else 0.01

    def gain(row: Mapping[str, Any]) -> float:
        return row["cap"]["gain"] * step(row["cap"])

    capped = sorted((row for row in priced["domains"] if row["cap"] and gain(row) > MIN_GAIN), key=gain, reverse=True)
    if not capped:
        return []
    row = capped[0]
    cap = row["cap"]
    raised = (
        f"{cap['at'] + step(cap):.3g} in place of {cap['at']:.3g} epochs"
        if cap["setting"] == "max_epochs"
        else f"{cap['at'] + step(cap):.1%} in place of {cap['at']:.1%} of the tokens"
    )
    fall = f"{digits(gain(row))} nats/token{_interval(cap, priced, step(cap))}"
    more = len(capped) - 1
    rest = (
        ""
        if not more
        else "; that on another domain costs less"
        if more == 1
        else f"; those on {more} others cost less"
    )
    return [f"A higher cap on {row['domain']}, {raised}, would lower the loss by about {fall}{rest}."]


def _interval(value: Mapping[str, Any], priced: Mapping[str, Any], size: float, told: Any = None) -> str:
    """' (80% interval 1 to 3)'; empty without one, open above where no bound is known."""
    low, high = value["low"], value["high"]
    if low is None:
        return ""
    say = told or digits
    span = f"{say(size * low)} to {say(size * high)}" if high is not None else f"{say(size * low)} and more"
    return f" ({priced['level']:.0%} interval {span})"


def _unit(pool: float) -> tuple[float, str]:
    """An amount of text that is small beside a pool: 1e6, 'million '."""
    return next(((size, f"{name} ") for size, name in SIZES if size <= SMALL * pool), (1.0, ""))


def _tokens(count: float) -> str:
    """3100000 as '3.1 million', to two digits."""
    for size, name in SIZES:
        if abs(count) >= 0.995 * size:
            return f"{digits(count / size)} {name}"
    return digits(count)


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def show_recommendation(console: Console, recommendation: Mapping[str, Any]) -> None:
    """The recommended mixture, what it is predicted to gain, and what to be careful about."""

    console.print()
    console.print(mixture_table(recommendation))
    console.print(prediction_table(recommendation))
    if optimism := told_optimism(recommendation):
        console.print(escape(optimism), highlight=False)
    for sentence in (certificate_text(recommendation), *told_most(recommendation)):
        if sentence:
            console.print(escape(sentence), highlight=False)
    for warning in recommendation["warnings"]:
        console.print(f"[yellow]![/] {escape(warning)}", highlight=False)


def mixture_table(recommendation: Mapping[str, Any]) -> Table:

    table = Table(title="Recommended mixture", title_justify="left")
    for i, heading in enumerate(HEADER):
        table.add_column(heading, justify="right" if i else "left")
    for row in summary_rows(recommendation):
        table.add_row(*map(escape, row))
    return table


def prediction_table(recommendation: Mapping[str, Any]) -> Table:
    level = recommendation["interval"]["level"]
    table = Table(title="Predicted target loss at proxy scale", title_justify="left")
    table.add_column("mixture")
    for heading in ("nats/token", f"{level:.0%} interval"):
        table.add_column(heading, justify="right")
    for name in ("recommended", "natural", "uniform", "best_measured"):
        row = recommendation["predicted"].get(name)
        if row:
            bounds = "" if row["low"] is None or row["high"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
            table.add_row(name.replace("_", " "), f"{row['loss']:.3f}", bounds)
    return table


def show_verification(console: Console, verified: Mapping[str, Any]) -> None:
    """Measured target losses of every arm at every size, with the noise between seeds."""
    for size in verified["sizes"]:
        table = Table(title=f"Trained: {size['params']:,} parameters, {size['tokens']:,} tokens", title_justify="left")
        table.add_column("mixture")
        for heading in ("mean loss", "seeds", "recommended is lower by"):
            table.add_column(heading, justify="right")
        for arm, losses in size["arms"].items():
            gain = size["gains"].get(arm)
            told = "" if gain is None else f"{gain['mean']:+.3f} ± {gain['standard_error']:.3f}"
            mean = f"{sum(losses) / len(losses):.3f}" if losses else "diverged"
            table.add_row(escape(arm), mean, ", ".join(f"{x:.3f}" for x in losses), told)
        console.print(table)
    for sentence in verified["conclusions"]:
        console.print(escape(sentence), highlight=False)
