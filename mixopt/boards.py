"""Scores, fits and predictions as the terminal shows them, drawn by Rich."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mixopt.selection import TARGET
from mixopt.summary import told_optimism

NOTHING = 5e-4  # a share that prints as 0.0%
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
    console.print(f"Target: {escape(describe(record['target']['weights']))}", highlight=False)
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
    used = [row for row in rows if max(row["best_measured"], row["recommended"]) >= NOTHING]
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
        title = f"On the target alone, {describe(record['target'])}, nats/token"
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


def describe(target: Mapping[str, float], most: int = 4) -> str:
    """'x', '0.7 x + 0.3 y' or 'the mean of 13 losses'."""
    if len(target) == 1:
        return next(iter(target))
    if len(target) > most and max(target.values()) - min(target.values()) < 1e-9:
        return f"the mean of {len(target)} losses"
    parts = [f"{weight:.3g} {name}" for name, weight in target.items()]
    return " + ".join(parts if len(parts) <= most else [*parts[: most - 1], f"{len(parts) - most + 1} more"])


def show_predictions(console: Console, told: Mapping[str, Any]) -> None:
    """Predicted losses of mixtures, the lowest first, and how good they are where losses were measured."""
    rows = sorted(told["mixtures"], key=lambda row: row["loss"])
    measured = any(row["measured"] is not None for row in rows)
    table = Table(title=f"{describe(told['target'])}, nats/token, by {told['predictor']}", title_justify="left")
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


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if value < 1 else f"{value:.2g}" if value < 10 else f"{value:.0f}"
