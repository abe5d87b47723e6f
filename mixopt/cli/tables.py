"""What the commands on tables of runs do: `mixopt fit`, `mixopt leaderboard` and `mixopt predict`."""

from __future__ import annotations

import atexit
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.cli import table_options
from mixopt.cli.console import TerminalProgress, show_paths, standard_console
from mixopt.errors import MixoptError
from mixopt.mixture import summary
from mixopt.runs.read import Reading, choice
from mixopt.serialization import replacing, write_text
from mixopt.version import versions

if TYPE_CHECKING:
    from rich.console import Console

    from mixopt.mixture.stored import StoredFit
    from mixopt.runs.mixtures import Mixtures

INSIDE = 1e-3  # a share of tokens: the rounding of printed weights is not outside the trained mixtures
FEW = 3  # measured mixtures, below which there's nothing to score
MANY_MIXTURES = 1000  # beyond, the way to the hull of the runs isn't measured: a linear program each


def only_a_study(given: Reading, settings: Mapping[str, Any]) -> Path:
    """The study file that a command was given in place of tables. Raises MixoptError for options that tables have."""
    first = given.files[0]
    for path in given.files:
        if path.suffix.lower() not in (".yaml", ".yml"):
            raise MixoptError(f"{path}: neither a table of runs (.csv, .tsv, .parquet) nor a study file (.yaml)")
    if len(given.files) > 1:
        raise MixoptError(f"{first}: give one study file; two tables of a study stand under its runs:")
    typed = [name for name, value in (dict(settings) | given.options()).items() if value]
    if typed:
        raise MixoptError(
            f"{first}: --{typed[0].replace('_', '-')} goes with a table of runs; a study says such things in its file "
            "(`mixopt schema` lists its keys)"
        )
    return first


def fit(
    given: Reading,
    *,
    target: str | None,
    also: str | None,
    predictors: str | None,
    folds: int | None,
    seed: int,
    out: Path | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """Reads, judges, fits, searches; writes the fit and shows it. The same again is not done again."""
    from mixopt.mixture.table import fit_table, kept_fit, stamp_of

    console, progress = _console(as_json)
    names = table_options.predictor_names(predictors)
    path = out or Path(f"{given.name}.fit.json")
    table = given.table(progress)
    aim = table_options.target_weights(target, table.targets)
    extra = table_options.extra_texts(also, aim, table.targets)
    stamp = stamp_of(given.record(), aim, extra, predictors=names, folds=folds, seed=seed)
    record = kept_fit(path, stamp)
    if record is None:
        replaces = path.exists()
        fitted = fit_table(
            table,
            aim,
            names,
            name=given.name,
            also=extra,
            folds=folds,
            seed=seed,
            source=given.record() | {"stamp": stamp},
            command=_typed(),
            progress=progress,
        )
        fitted.save(path)
        record = fitted.record
        if replaces:
            progress.note(f"{path} held another fit, which this one has replaced.")
    else:
        progress.stage("fit")
        progress.finish(f"{record['predictor']}, as before")
    paths = [("fit", path)]
    if html:
        from mixopt.mixture.report.tables import render_fit

        write_text(html, render_fit(record, table.frame))
        paths.append(("report", html))
    if as_json:
        _print_json({key: record[key] for key in ("predictor", "target", "domains", "texts", "made", "evidence")})
    else:
        summary.show_fit(console, record)
    show_paths(console, paths)


def leaderboard(
    given: Reading,
    *,
    target: str | None,
    predictors: str | None,
    folds: int | None,
    seed: int,
    html: Path | None,
    as_json: bool,
) -> None:
    """Reads the runs, judges every predictor on every loss and shows it."""
    from mixopt.mixture.leaderboard import leaderboard as judged

    console, progress = _console(as_json)
    names = table_options.predictor_names(predictors, table_options.predictor_names(table_options.EVERY))
    table = given.table(progress)
    aim = table_options.target_weights(target, table.targets) if target else None
    record = judged(
        table,
        names,
        target=aim,
        folds=folds,
        seed=seed,
        source=given.record() | {"name": given.name, "command": _typed(), "versions": versions()},
        progress=progress,
    )
    if html:
        from mixopt.mixture.report.tables import render_leaderboard

        write_text(html, render_leaderboard(record))
    if as_json:
        _print_json(record)
    else:
        summary.show_board(console, record)
    if html:
        show_paths(console, [("report", html)])


def predict(
    fitted: Path,
    mixtures: Path,
    *,
    level: float,
    out: Path | None,
    weights: str | None,
    where: Sequence[str],
    renormalise: bool,
    as_json: bool,
) -> None:
    """Reads a fit and mixtures, and shows their predicted losses."""
    from mixopt.mixture.stored import load_fit
    from mixopt.runs.mixtures import read_mixtures

    console, progress = _console(as_json)
    stored = load_fit(fitted)
    options = stored.record["made"].get("options", {})
    read = read_mixtures(
        mixtures,
        stored.domains,
        texts=list(stored.target),
        weights=choice(weights or options.get("weights")),
        losses=choice(options.get("losses")),
        where=where,
        strict=weights is not None,
        renormalise=renormalise,
        door="command",
    )
    for note in read.notes:
        progress.note(note)
    told = predictions(stored, read, level=level)
    if out:
        _write_predictions(out, told["mixtures"])
    if as_json:
        _print_json(told)
    else:
        summary.show_predictions(console, told)
    if out:
        show_paths(console, [("predictions", out)])


def predictions(stored: StoredFit, given: Mixtures, *, level: float) -> dict[str, Any]:
    """A row a mixture: predicted target loss and its interval, nearest run, and how far outside of all runs it is.

    Where the file has the target's losses, also what was measured, and how good the predictions of unseen mixtures are.
    """
    shares = given.shares
    loss, (low, high) = stored.predict(shares), stored.interval(shares, level=level)
    texts = stored.losses(shares)
    runs, distance = stored.nearest_run(shares)
    outside = stored.outside(shares) if len(shares) <= MANY_MIXTURES else np.full(len(shares), np.nan)
    weights = np.array(list(stored.target.values()))
    measured = np.full(len(shares), np.nan) if given.losses is None else given.losses @ weights
    rows = [
        {
            "mixture": name,
            "loss": _number(loss[i]),
            "low": _number(low[i]),
            "high": _number(high[i]),
            "measured": _number(measured[i]),
            "nearest_run": runs[i],
            "distance": _number(distance[i]),
            "outside": _number(outside[i]),
            "losses": {text: _number(texts[i, j]) for j, text in enumerate(stored.texts)},
        }
        for i, name in enumerate(given.names)
    ]
    return {
        "predictor": stored.predictor,
        "target": stored.target,
        "unit": "nats/token",
        "level": level,
        "inside": INSIDE,
        "mixtures": rows,
        "score": _score(loss, low, high, measured, distance),
    }


def _score(loss: Any, low: Any, high: Any, measured: Any, distance: Any) -> dict[str, Any] | None:
    """How well measured losses were predicted: of mixtures new to the fit, or else of all; None without any."""
    from regressors import rmse, spearman

    known = np.isfinite(measured)
    new = known & (distance > INSIDE)
    asked = new if new.sum() >= FEW else known
    if asked.sum() < FEW:
        return None
    held = (low <= measured) & (measured <= high)
    return {
        "mixtures": int(asked.sum()),
        "new": bool(asked is new),
        "spearman": _number(spearman(loss[asked], measured[asked])),
        "rmse": rmse(loss[asked], measured[asked]),
        "covered": float(held[asked].mean()),
    }


def _write_predictions(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    import pandas as pd

    flat = [
        {key: value for key, value in row.items() if key != "losses"}
        | {f"loss/{text}": value for text, value in row["losses"].items()}
        for row in rows
    ]
    with replacing(path) as half:
        pd.DataFrame(flat).to_csv(half, index=False)


def _console(as_json: bool) -> tuple[Console, TerminalProgress]:
    """Where a command talks: standard output, or with --json standard error."""
    console = standard_console(error=as_json)
    progress = TerminalProgress(console)
    atexit.register(progress.close)  # however it ends, the terminal's cursor comes back
    return console, progress


def _typed() -> str:
    return shlex.join(["mixopt", *sys.argv[1:]])


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1) + "\n")


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
