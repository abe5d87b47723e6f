"""Commands on tables of runs: `mixopt fit`, `mixopt leaderboard` and `mixopt predict`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mixopt.cli import options
from mixopt.cli.console import command_line, open_console, print_json, show_paths
from mixopt.cli.outputs import Outputs
from mixopt.cli.study import start
from mixopt.errors import MixoptError
from mixopt.report.terminal import show
from mixopt.serialization import CACHE_KEY

if TYPE_CHECKING:
    from mixopt.runs.read import Reading


@options.table_options()
def fit(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="RUNS.csv | STUDY.yaml", help=f"{options.TABLES}; or a study file"),
    ],
    table: options.TableOptions,
    target: options.Target = None,
    also: Annotated[
        str | None, typer.Option(metavar="A,B", help="losses to fit besides the target's own, or all")
    ] = None,
    out: Annotated[
        Path | None,
        options.output("--out", "-o", metavar="FILE", help="default: RUNS.fit.json; for a study, its folder"),
    ] = None,
    predictors: options.Predictors = None,
    folds: options.Folds = None,
    seed: options.Seed = 0,
    html: options.Html = None,
    force: options.Force = False,
    as_json: options.AsJson = False,
) -> None:
    """Score every predictor on held-out mixtures and fit the best, for a study or a table of runs."""
    given = table.of(files)
    if not given.of_tables:
        settings = {"target": target, "also": also, "predictors": predictors, "folds": folds, "seed": seed}
        _fit_study(_only_a_study(given, settings | {"html": html, "force": force, "json": as_json}), out)
        return
    from mixopt.mixture.report import fit_report
    from mixopt.mixture.stored import KIND
    from mixopt.mixture.table import cache_key, fit_table, kept_fit
    from mixopt.runs.stored import is_fit, write_fit

    console, progress = open_console(as_json)
    names = _predictors(predictors)
    path = out or Path(f"{given.name}.fit.json")
    outputs = Outputs(files, force=force)
    outputs.check("--out", path, lambda file: is_fit(file, KIND))
    outputs.check_page(html)
    runs = given.table(progress)
    objective = options.target_weights(target, runs.targets, runs.problems)
    extra = options.losses_to_fit(also, objective, runs.targets)
    key = cache_key(given.record(), objective, extra, predictors=names, folds=folds, seed=seed)
    record = kept_fit(path, key)
    kept = record is not None
    if record is None:
        record = fit_table(
            runs,
            objective,
            names,
            name=given.name,
            also=extra,
            folds=folds,
            seed=seed,
            source=given.record() | {CACHE_KEY: key},
            command=command_line(),
            progress=progress,
        ).record
    else:
        progress.stage("fit")
        progress.finish(f"{record['predictor']}, as before")
    document = fit_report(dict(record), runs.frame)
    if as_json:
        print_json({key: record[key] for key in ("predictor", "target", "domains", "texts", "made", "evidence")})
    else:
        show(console, document)
    replaces = not kept and is_fit(path, KIND)
    outputs.write("fit", path, lambda file: None if kept else write_fit(file, record))
    outputs.write_page(html, document)
    if replaces:
        progress.note(f"{path} held another fit, which this one has replaced.")
    show_paths(console, outputs.written)


def _fit_study(study: Path, out: Path | None) -> None:
    from mixopt.study import pipeline

    with start(study, out) as (session, console):
        fitted = session.kind.fit(session, pipeline.finished_runs(session))
        show(console, session.kind.fit_document(fitted))


def _only_a_study(given: Reading, settings: Mapping[str, object]) -> Path:
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
            f"{first}: --{typed[0].replace('_', '-')} goes with a table of runs; a study has such settings in its file "
            "(`mixopt schema` lists its keys)"
        )
    return first


def _predictors(text: str | None) -> list[str]:
    """The predictors to judge: those named, or by default those that studies try."""
    from mixopt.mixture.config import TRIED

    return list(TRIED) if text is None else options.predictor_names(text)


@options.table_options()
def leaderboard(
    files: options.Tables,
    table: options.TableOptions,
    target: Annotated[
        str | None, typer.Option("--target", "-t", metavar="LOSS", help="also score this target, a=0.7,b=0.3 or all")
    ] = None,
    predictors: options.AllPredictors = None,
    folds: options.Folds = None,
    seed: options.Seed = 0,
    html: options.Html = None,
    force: options.Force = False,
    as_json: options.AsJson = False,
) -> None:
    """Score every predictor on every loss of a table of runs."""
    from mixopt.mixture.leaderboard import MAX_SECONDS, leaderboard_document
    from mixopt.mixture.leaderboard import leaderboard as judged
    from mixopt.version import versions

    console, progress = open_console(as_json)
    names = options.predictor_names(options.ALL if predictors is None else predictors)
    outputs = Outputs(files, force=force)
    outputs.check_page(html)
    given = table.of(files)
    runs = given.table(progress)
    record = judged(
        runs,
        names,
        target=options.target_weights(target, runs.targets, runs.problems) if target else None,
        folds=folds,
        seed=seed,
        limit=MAX_SECONDS if predictors is None else math.inf,
        source=given.record() | {"name": given.name, "command": command_line(), "versions": versions()},
        progress=progress,
    )
    document = leaderboard_document(record)
    if as_json:
        print_json(record)
    else:
        show(console, document)
    outputs.write_page(html, document)
    show_paths(console, outputs.written)


@options.table_options("weights", "where", "renormalise")
def predict(
    fitted: Annotated[Path, typer.Argument(metavar="FIT.json", help="what `mixopt fit RUNS.csv` wrote")],
    mixtures: Annotated[Path, typer.Argument(metavar="MIXTURES.csv", help="a row per mixture, a column per domain")],
    table: options.TableOptions,
    level: Annotated[float, typer.Option(min=0.01, max=0.99, help="level of the intervals")] = 0.8,
    out: Annotated[
        Path | None,
        options.output("--out", "-o", metavar="FILE.csv", help="file for predictions"),
    ] = None,
    force: options.Force = False,
    as_json: options.AsJson = False,
) -> None:
    """Predict the target loss of mixtures from a fit, with intervals."""
    from mixopt.mixture.stored import load_fit
    from mixopt.mixture.table import predictions, write_predictions
    from mixopt.runs.mixtures import read_mixtures
    from mixopt.runs.read import choice
    from mixopt.runs.stored import is_fit
    from mixopt.scaling.stored import KIND

    if is_fit(fitted, KIND):
        raise MixoptError(
            f"{fitted}: a fit over scales: in Python, mixopt.load_scale(...).predict(mixtures, params=...)"
        )
    console, progress = open_console(as_json)
    outputs = Outputs([fitted, mixtures], force=force)
    outputs.check("--out", out)
    stored = load_fit(fitted)
    recorded = stored.record["made"].get("options", {})
    read = read_mixtures(
        mixtures,
        stored.domains,
        targets=list(stored.target),
        weights=choice(table.weights or recorded.get("weights"), "--weights"),
        losses=choice(recorded.get("losses"), "--losses"),
        where=table.where or (),
        strict=table.weights is not None,
        renormalise=table.renormalise,
        interface="command",
    )
    for note in read.notes:
        progress.note(note)
    predicted = predictions(stored, read, level=level)
    if as_json:
        print_json(predicted)
    else:
        from mixopt.mixture.summary import predictions_document

        show(console, predictions_document(predicted))
    outputs.write("predictions", out, lambda file: write_predictions(file, predicted["mixtures"]))
    show_paths(console, outputs.written)
