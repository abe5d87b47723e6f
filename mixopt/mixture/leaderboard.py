"""Leaderboard: held-out scores of every predictor on every loss of a table."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.errors import MixoptError
from mixopt.formatting import UNKNOWN, counted, duration, format_target, known, loss, mean, percent
from mixopt.mixture.fit import judge_all
from mixopt.mixture.pool_ablation import NEED_POOLS, runs_of, task_of
from mixopt.mixture.results import Score
from mixopt.mixture.summary import SCORE_NOTE, reproduce_section, score_table, seconds
from mixopt.report.document import (
    NATS,
    Bar,
    Bars,
    Block,
    Document,
    Folded,
    Listing,
    Paragraph,
    Section,
    Table,
    Warning,
    columns,
    in_unit,
)
from mixopt.runs.objective import TARGET, TargetChoice, check_objective, narrowed, weights_of
from mixopt.serialization import Json
from mixopt.study.progress import Progress
from mixopt.threads import on_one_thread
from regressors.registry import DEFAULT

if TYPE_CHECKING:
    from mixopt.runs.table import RunTable

SCALED = {"rmse": "rmse_sd", "regret": "regret_sd", "regret5": "regret5_sd"}  # nats/token -> spreads of the loss
MIN_ANNOUNCED = 30.0  # seconds: what takes longer is announced
MAX_SECONDS = 200.0  # of scoring, as foreseen, where nobody names predictors
PILOT, PILOT_LOSSES = 64, 2  # runs and losses of a trial fit; tables of few losses up to twice this size need none
MIN_SCORED = 8  # losses, below which predictors are left out rather than losses
AVERAGED = ("spearman", "coverage80", *SCALED.values())


@on_one_thread
def leaderboard(
    table: RunTable,
    predictors: Sequence[str],
    *,
    target: TargetChoice | None = None,
    folds: int | None = None,
    seed: int = 0,
    limit: float = math.inf,
    source: Json | None = None,
    progress: Progress | None = None,
) -> Json:
    """Held-out scores of every predictor on every loss, as JSON-able numbers and text.

    target: as in `fit_table`, scored beside the losses; None: the losses alone.
    "board": a row a predictor, the lowest mean error first: means over the losses of spearman, coverage80 (a share),
    rmse_sd, regret_sd and regret5_sd (in standard deviations of a loss between mixtures); seconds, of one fit to all
    losses; best_on, how many losses it predicts with the lowest error. "scores": a row a predictor and loss, in
    nats/token.
    limit: seconds that scoring may take, by an estimate. Beyond, a sample of the losses is scored, those of the target
    among them, and where that doesn't suffice, the slowest predictors are refused, never the default one.
    "refused": predictors that can't be fitted to these runs, and why.
    Raises MixoptError when none can.
    """
    progress = progress or Progress()
    if TARGET in table.targets and (target or len(table.targets) > 1):
        raise MixoptError(
            f"a loss is called {TARGET!r}, which stands for the weighted target: name it otherwise with --losses "
            "other=column"
        )
    target = weights_of(target) if target else None
    check_objective(target or {}, table)
    found: Json = {}
    progress.stage("judge", total=len(predictors))
    expected = _expected(predictors, table, folds=folds or 5, seed=seed, progress=progress)
    every = table.targets
    table, refused = _within(limit, expected, table, target or {})
    judged = [name for name in predictors if name not in refused]
    _announce({name: expected[name] * len(table.targets) for name in judged}, progress)
    objective = target or dict.fromkeys(table.targets, 1.0)
    progress.stage("judge", total=sum(1 + expected[name] for name in judged))
    for i, name in enumerate(judged):
        progress.update(sum(1 + expected[name] for name in judged[:i]), f"{name}, {i + 1} of {len(judged)}")
        if task_of(name, runs_of(table), seed=seed) is None:
            refused[name] = f"it {NEED_POOLS}"
            continue
        try:
            # One by one: a predictor that these runs don't suit must not cost the others' scores.
            found[name] = judge_all(table, objective, [name], folds=folds, seed=seed).selection.to_json()
        except MixoptError as error:
            refused[name] = str(error)
    if not found:
        raise MixoptError(f"{judged[0]} can't be scored on these runs: {refused[judged[0]]}")
    progress.finish(f"{len(found)} predictors on {counted(len(table.targets), 'loss')}")
    scores = [row for selection in found.values() for row in selection["scores"]]
    first = next(iter(found.values()))
    spreads = {row["target"]: row["signal_sd"] for row in first["noise"]}
    return {
        **(source or {}),
        "runs": first["runs"],
        "mixtures": first["mixtures"],
        "folds": first["folds"],
        "seed": seed,
        "domains": list(table.domains),
        "texts": list(table.targets),
        "sampled_from": len(every) if len(every) > len(table.targets) else None,
        "target": dict(target) if target else None,
        "unit": "" if table.other_units & set(table.targets) else NATS,
        "board": board(scores, list(found), spreads),
        "scores": [row for row in scores if target or row["target"] != TARGET],
        "noise": [row for row in first["noise"] if target or row["target"] != TARGET],
        "refused": refused,
        "left_out": first["left_out"],
        "notes": list(table.notes),
    }


def _expected(
    predictors: Sequence[str], table: RunTable, *, folds: int, seed: int, progress: Progress
) -> dict[str, float]:
    """Roughly how many seconds judging each predictor takes a loss."""
    expected = {}
    for name in predictors:
        progress.update(0, f"timing {name}")
        expected[name] = expected_seconds(name, table, folds=folds, seed=seed) / len(table.targets)
    return expected


def _within(
    limit: float, expected: Mapping[str, float], table: RunTable, target: Mapping[str, float]
) -> tuple[RunTable, dict[str, str]]:
    """The table with as many losses as can be scored within the limit, and why predictors can't be."""
    refused: dict[str, str] = {}
    left, most = dict(expected), len(table.targets)
    least = min(most, max(MIN_SCORED, len(target)))
    while len(left) > 1 and sum(left.values()) * least > limit:
        slowest = max((name for name in left if name != DEFAULT), key=left.__getitem__)
        takes = duration(left.pop(slowest) * most)
        refused[slowest] = f"scoring it takes {takes} or more: name it with --predictors to have it scored all the same"
    losses = most if sum(left.values()) * most <= limit else max(least, int(limit / sum(left.values())))
    if losses == most:
        return table, refused
    free = [name for name in table.targets if name not in target]
    places = np.linspace(0, len(free) - 1, losses - len(target)).round().astype(int)
    return narrowed(table, [*target, *(free[place] for place in places)]), refused


def _announce(expected: Mapping[str, float], progress: Progress) -> None:
    """Says beforehand what will take long. expected: seconds by predictor."""
    slow = sorted((name for name in expected if expected[name] > MIN_ANNOUNCED / 3), key=lambda name: -expected[name])
    if sum(expected.values()) > MIN_ANNOUNCED:
        named = ", ".join(f"{name} {duration(expected[name])}" for name in slow[:4])
        progress.note(
            f"Scoring takes {duration(sum(expected.values()))} or more{f' ({named})' if named else ''}: name fewer "
            "predictors with --predictors to shorten it."
        )


def expected_seconds(name: str, table: RunTable, *, folds: int, seed: int) -> float:
    """Roughly how long judging a predictor takes, from two small fits to a few losses; 0 for a small table, or one it
    doesn't suit."""
    fitted_on = runs_of(table)
    task, Y = task_of(name, fitted_on, seed=seed), fitted_on.losses
    few = min(PILOT_LOSSES, Y.shape[1])
    if task is None or len(Y) < PILOT or (len(Y) <= 2 * PILOT and Y.shape[1] <= MIN_SCORED):
        return 0.0
    rows = np.random.default_rng(seed).permutation(len(Y))[: 2 * PILOT]
    half = rows[: len(rows) // 2]
    known = np.flatnonzero(np.isfinite(Y[half]).any(axis=0))[:few]
    try:
        one, two = (_timed(task.make, task.X[some], Y[some][:, known]) for some in (half, rows))
    except ValueError:
        return 0.0
    power = float(np.clip(math.log2(two / one), 1, 3))  # of the number of runs: trees 1, Gaussian processes up to 3
    return folds * two * (len(Y) * (1 - 1 / folds) / len(rows)) ** power * Y.shape[1] / max(len(known), 1)


def _timed(make: Callable[[], Any], W: Any, Y: Any) -> float:
    started = time.perf_counter()
    make().fit(W, Y)
    return time.perf_counter() - started


def board(scores: Iterable[Json], predictors: Sequence[str], spreads: Mapping[str, float | None]) -> list[Json]:
    """A row a predictor: means over the losses, the lowest error first. spreads: a loss's sd between mixtures."""
    rows = [row for row in scores if row["target"] != TARGET]
    scaled = [{**row, **_in_spreads(row, spreads.get(row["target"]))} for row in rows]
    # The last of a loss's rows stays, that of the lowest error; of equal ones the first predictor's.
    judged = [row for row in scaled[::-1] if row["rmse_sd"] is not None]
    best = {row["target"]: row["predictor"] for row in sorted(judged, key=lambda row: -row["rmse_sd"])}
    made = []
    for name in predictors:
        own = [row for row in scaled if row["predictor"] == name]
        means = {key: mean(row.get(key) for row in own) for key in AVERAGED}
        seconds = next((row.get("seconds") for row in own), None)
        made.append({"predictor": name, **means, "best_on": [*best.values()].count(name), "seconds": seconds})
    return sorted(made, key=lambda row: float("inf") if row["rmse_sd"] is None else row["rmse_sd"])


def _in_spreads(row: Json, spread: float | None) -> dict[str, float | None]:
    return {new: row[key] / spread if spread and row.get(key) is not None else None for key, new in SCALED.items()}


# The leaderboard as a document


MAX_OPEN = 20  # losses in the open part of a table


def leaderboard_document(record: Json) -> Document:
    """What `leaderboard` gave, for the terminal and as a page."""
    best, texts = record["board"][0], len(record["texts"])
    losses = f"{texts} losses" if texts > 1 else "1 loss"
    refused = [Warning("predictor-refused", f"{name} is left out: {why}") for name, why in record["refused"].items()]
    if record.get("sampled_from"):
        text = f"To end within minutes, {texts} of {record['sampled_from']} losses are scored, evenly spread over the "
        text += "table: name predictors with --predictors to score them on all losses."
        refused.insert(0, Warning("losses-sampled", text))
    if record["left_out"]:
        text = f"{counted(len(record['left_out']), 'run')} diverged and are left out."
        refused.append(Warning("runs-left-out", text))
    sections = [
        _means(record, losses),
        *([_on_target(record)] if record.get("target") else []),
        _by_loss(record),
        Section("noise", "Noise", [Paragraph(_noise_text(record))], "Noise"),
        *([Section("notes", "Notes on the table", [Listing(record["notes"])])] if record["notes"] else []),
        reproduce_section(record),
    ]
    document = Document(
        title=f"Predictors of {record.get('name') or 'a table of runs'}",
        headline=f"{best['predictor']} predicts held-out mixtures best.",
        summary=[
            f"Of {len(record['board'])} predictors it has the lowest mean error over {losses}, and the lowest of all "
            f"on {best['best_on']} of them."
        ],
        scope="Scores are at the scale of these runs; the ranking may differ at other scales.",
        warnings=refused,
        sections=sections,
    )
    return in_unit(document, record.get("unit", NATS))


def _means(record: Json, losses: str) -> Section:
    """Means over the losses, in standard deviations of a loss between mixtures."""
    rows = record["board"]
    caption = (
        "Mean error over the losses, in standard deviations of a loss between mixtures; shorter is better. At the "
        "dashed line a predictor does no better than always predicting the mean."
    )
    bars = [Bar(row["predictor"], row["rmse_sd"], loss(row["rmse_sd"]), mark=1.0) for row in rows if row["rmse_sd"]]
    names = ("Spearman", "RMSE", "Regret@1", "@5", "Coverage", "Best on", "s/fit")
    cells = [
        (
            row["predictor"],
            *(loss(row[key]) for key in ("spearman", "rmse_sd", "regret_sd", "regret5_sd")),
            percent(row["coverage80"]),
            f"{row['best_on']} of {len(record['texts'])}",
            seconds(row["seconds"]),
        )
        for row in rows
    ]
    title = f"{losses}, {record['runs']} runs of {record['mixtures']} mixtures, {record['folds']} folds"
    note = f"Means over the losses; RMSE and regret in standard deviations of a loss between mixtures. {SCORE_NOTE}"
    table = Table(title, columns("Predictor", *names), cells, marked=0, note=note)
    return Section("board", "Leaderboard", [Bars(bars, caption), table], "Leaderboard", brief=True)


def _on_target(record: Json) -> Section:
    scores = [Score.from_json(row) for row in record["scores"] if row["target"] == TARGET]
    title = f"On the target alone, {format_target(record['target'])}, nats/token"
    return Section("target", "The target", [score_table(scores, title=title, note="")], "The target", brief=True)


def _by_loss(record: Json) -> Section:
    """Each predictor's error on each loss, in standard deviations of it, and which is the lowest."""
    spreads = {row["target"]: row["signal_sd"] for row in record["noise"]}
    names = [row["predictor"] for row in record["board"]]
    errors: dict[str, dict[str, float]] = {text: {} for text in record["texts"]}
    for row in record["scores"]:
        spread = spreads.get(row["target"])
        if row["target"] in errors and known(row["rmse"]) and known(spread) and spread > 0:
            errors[row["target"]][row["predictor"]] = row["rmse"] / spread
    rows = [
        (text, *(loss(own.get(name)) for name in names), min(own, key=own.__getitem__, default=UNKNOWN))
        for text, own in errors.items()
    ]
    headings = columns("Loss", *names, "Lowest", strong="Lowest", text=["Lowest"])
    caption = "RMSE on each loss, in its standard deviations between mixtures"
    blocks: list[Block] = [Table(caption, headings, rows[:MAX_OPEN])]
    if rows[MAX_OPEN:]:
        blocks.append(Folded(f"{len(rows) - MAX_OPEN} more losses", [Table(caption, headings, rows[MAX_OPEN:])]))
    return Section("losses", "Loss by loss", blocks, "Loss by loss")


def _noise_text(record: Json) -> str:
    """What no predictor can get below: the scatter of repeats."""
    ratios = [row["sd"] / row["signal_sd"] for row in record["noise"] if known(row["sd"]) and row["signal_sd"]]
    if not ratios:
        return "No mixture was trained twice, so run-to-run noise is unknown."
    return (
        f"Noise floor: runs of one mixture differ by {loss(mean(ratios))} standard deviations of a loss between "
        "mixtures, on average over the losses; no predictor of single runs can have a smaller error."
    )
