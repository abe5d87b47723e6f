"""The command line. Heavy imports happen inside the commands that need them, so that help answers at once."""

import atexit
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mixopt.cli import options
from mixopt.cli.plan import cpt, plan
from mixopt.errors import MixoptError
from mixopt.version import __version__

app = typer.Typer(
    help="Decide what text a language model is trained on, how much of it, and how often, before the expensive run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
plan.command()(cpt)
app.add_typer(plan, name="plan")

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="the study file")]
Out = Annotated[Path | None, typer.Option("--out", "-o", metavar="DIR", help="study folder (default: studies/<name>)")]
TABLES = "a .csv, .tsv or .parquet file with a run a row, or two: mixtures, then losses"
RUNS_OR_STUDY = f"{TABLES}; or a study file"


def show_version(wanted: bool) -> None:
    if wanted:
        print(f"mixopt {__version__}")
        raise typer.Exit


@app.callback()
def every_command(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="where to write it")],
    example: Annotated[str, typer.Option(help="which example: see --list")] = "quickstart",
    list_examples: Annotated[bool, typer.Option("--list", help="List the examples and stop.")] = False,
) -> None:
    """Write a commented study file to start from."""
    from mixopt.study import examples

    if list_examples:
        print("\n".join(examples.names()))
        return
    for path in examples.copy(example, folder):
        print(path)


@app.command()
def schema(kind: Annotated[str, typer.Option(help="of studies: mixture, repetition or continual")] = "mixture") -> None:
    """Print the JSON Schema of study files."""
    import json

    from mixopt.study.kind import kind_named

    print(json.dumps(kind_named(kind).record.model_json_schema(), indent=2))


@app.command()
def run(study: StudyFile, out: Out = None) -> None:
    """Do everything: prepare, design, train, fit, search, report, export. Skips what is done."""
    from mixopt.cli.console import show_paths
    from mixopt.study import pipeline

    session, console = start(study, out)
    present(console, session.kind.document(pipeline.run(session)))
    show_paths(console, session.kind.outputs(session))


@app.command()
def prepare(study: StudyFile, out: Out = None) -> None:
    """Turn each domain's documents into token shards."""
    from mixopt.study.prepare import prepare as do

    session, _ = start(study, out, needs_corpora="prepare")
    do(session.study, session.path, session.folder, session.progress)


@app.command()
def design(study: StudyFile, out: Out = None) -> None:
    """Plan the proxy runs: design.csv."""
    from mixopt.study import pipeline

    session, _ = start(study, out, needs_corpora="design")
    pipeline.planned(session)


@app.command()
def train(study: StudyFile, out: Out = None) -> None:
    """Train the planned proxies that aren't trained yet."""
    from mixopt.study import pipeline

    session, _ = start(study, out, needs_corpora="train")
    plan, shards = pipeline.planned(session)
    session.kind.train(session, plan, shards)
    session.kind.collect(session, plan)


@app.command()
def fit(
    files: Annotated[list[Path], typer.Argument(metavar="RUNS.csv | STUDY.yaml", help=RUNS_OR_STUDY)],
    target: Annotated[
        str | None, typer.Option("--target", "-t", metavar="LOSS", help="the loss to minimise, a=0.7,b=0.3 or all")
    ] = None,
    also: Annotated[
        str | None, typer.Option(metavar="A,B", help="losses to fit beside the target's own, or all")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="the fit (default: RUNS.fit.json); of a study its folder"),
    ] = None,
    predictors: options.Predictors = None,
    folds: options.Folds = None,
    seed: options.Seed = 0,
    weights: options.Weights = None,
    losses: options.Losses = None,
    where: options.Where = None,
    on: options.On = None,
    params: options.Params = None,
    tokens: options.Tokens = None,
    last_step: options.LastStep = False,
    renormalise: options.Renormalise = False,
    html: options.Html = None,
    as_json: options.AsJson = False,
) -> None:
    """Judge every predictor on held-out mixtures and fit the best: of a study, or of a table of runs."""
    from mixopt.cli import tables
    from mixopt.runs.read import Reading
    from mixopt.study import pipeline

    reading = Reading(files, weights, losses, on, tuple(where or ()), params, tokens, last_step, renormalise)
    given = {"target": target, "also": also, "predictors": predictors, "folds": folds, "seed": seed, "html": html}
    if not reading.of_tables:
        study = tables.only_a_study(reading, given | {"json": as_json})
        session, console = start(study, out)
        fit = session.kind.fit(session, pipeline.finished_runs(session))
        present(console, session.kind.fit_document(fit))
        return
    tables.fit(reading, **given, out=out, as_json=as_json)


@app.command()
def leaderboard(
    files: Annotated[list[Path], typer.Argument(metavar="RUNS.csv [METRICS.csv]", help=TABLES)],
    target: Annotated[
        str | None, typer.Option("--target", "-t", metavar="LOSS", help="also score a loss, a=0.7,b=0.3 or all alone")
    ] = None,
    predictors: options.Predictors = None,
    folds: options.Folds = None,
    seed: options.Seed = 0,
    weights: options.Weights = None,
    losses: options.Losses = None,
    where: options.Where = None,
    on: options.On = None,
    params: options.Params = None,
    tokens: options.Tokens = None,
    last_step: options.LastStep = False,
    renormalise: options.Renormalise = False,
    html: options.Html = None,
    as_json: options.AsJson = False,
) -> None:
    """Judge every predictor on every loss of a table of runs."""
    from mixopt.cli import tables
    from mixopt.runs.read import Reading

    reading = Reading(files, weights, losses, on, tuple(where or ()), params, tokens, last_step, renormalise)
    tables.leaderboard(
        reading, target=target, predictors=predictors, folds=folds, seed=seed, html=html, as_json=as_json
    )


@app.command()
def predict(
    fitted: Annotated[Path, typer.Argument(metavar="FIT.json", help="what `mixopt fit RUNS.csv` wrote")],
    mixtures: Annotated[Path, typer.Argument(metavar="MIXTURES.csv", help="a mixture a row, a column a domain")],
    level: Annotated[float, typer.Option(min=0.01, max=0.99, help="of the intervals")] = 0.8,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE.csv", help="write the predictions")] = None,
    weights: options.Weights = None,
    where: options.Where = None,
    renormalise: options.Renormalise = False,
    as_json: options.AsJson = False,
) -> None:
    """Predict the target loss of mixtures from a fit, with intervals."""
    from mixopt.cli import tables
    from mixopt.scaling.stored import is_scale

    if is_scale(fitted):
        raise MixoptError(
            f"{fitted}: a fit over scales: in Python, mixopt.load_scale(...).predict(mixtures, params=...)"
        )

    tables.predict(
        fitted,
        mixtures,
        level=level,
        out=out,
        weights=weights,
        where=where or (),
        renormalise=renormalise,
        as_json=as_json,
    )


@app.command()
def scale(
    files: Annotated[list[Path], typer.Argument(metavar="RUNS.csv [METRICS.csv]", help=TABLES)],
    target: Annotated[
        str | None, typer.Option("--target", "-t", metavar="LOSS", help="the loss to minimise, a=0.7,b=0.3 or all")
    ] = None,
    at_params: options.AtParams = None,
    at_tokens: options.AtTokens = None,
    pool: options.Pools = None,
    compute: options.Budget = None,
    laws: options.Laws = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="the fit (default: RUNS.scale.json)")] = None,
    seed: options.Seed = 0,
    weights: options.Weights = None,
    losses: options.Losses = None,
    where: options.Where = None,
    on: options.On = None,
    params: options.Params = None,
    tokens: options.Tokens = None,
    last_step: options.LastStep = False,
    renormalise: options.Renormalise = False,
    as_json: options.AsJson = False,
) -> None:
    """Predict the best mixture, and its loss, for larger models or more tokens than a table's runs have."""
    from mixopt.cli import scaling
    from mixopt.runs.read import Reading

    reading = Reading(files, weights, losses, on, tuple(where or ()), params, tokens, last_step, renormalise)
    scaling.scale(
        reading,
        target=target,
        at_params=at_params,
        at_tokens=at_tokens,
        pools=pool,
        compute=compute,
        laws=laws,
        seed=seed,
        out=out,
        as_json=as_json,
    )


@app.command()
def recommend(study: StudyFile, out: Out = None) -> None:
    """Answer the study's question from the runs that are there: the best mixture, or the best number of epochs."""
    from mixopt.study import pipeline

    session, console = start(study, out)
    recommendation = session.kind.recommend(session, pipeline.finished_runs(session))
    present(console, session.kind.document(recommendation))


@app.command()
def report(study: StudyFile, out: Out = None) -> None:
    """Write report.html from what is in the study folder."""
    from mixopt.study import pipeline

    session, _ = start(study, out)
    pipeline.write_report(session)


@app.command()
def export(study: StudyFile, out: Out = None) -> None:
    """Write the recommendation as trainer configs: interleave_datasets probabilities and a Megatron blend."""
    session, _ = start(study, out)
    for path in session.kind.export(session):
        print(path)


@app.command()
def verify(study: StudyFile, out: Out = None) -> None:
    """Really train what is recommended: a mixture beside the natural and the uniform one, or a continued run."""
    from mixopt.study import pipeline

    session, console = start(study, out, needs_corpora="verify")
    verified = session.kind.verify(session)
    pipeline.write_report(session)
    present(console, session.kind.verification_document(verified))


def present(console: Any, shown: Any) -> None:
    """A document on the terminal."""
    from mixopt.report.terminal import show

    if callable(shown):
        shown(console)
    else:
        show(console, shown)


def start(study: Path, out: Path | None, *, needs_corpora: str | None = None):
    """The session and console of a command. Raises MixoptError when a command on corpora gets a study on runs."""
    from mixopt.cli.console import TerminalProgress, standard_console
    from mixopt.study.pipeline import open_session

    console = standard_console()
    progress = TerminalProgress(console)
    atexit.register(progress.close)  # however it ends, the terminal's cursor comes back
    session = open_session(study, out, progress)
    if needs_corpora and session.study.brings_runs:
        raise MixoptError(
            f"{study}: runs: is given, so there is no text to {needs_corpora}; `mixopt run` goes on from the runs"
        )
    return session, console


class Stopped(BaseException):
    """Ctrl-C. Not KeyboardInterrupt, which Typer would turn into a bare "Aborted!"."""


def stop(signum: int, frame: object) -> None:
    raise Stopped


def main() -> None:
    """Exit status 0: done; 2: something that the user can mend, said in one line; 130: stopped by Ctrl-C."""
    signal.signal(signal.SIGINT, stop)
    try:
        app()
    except MixoptError as error:
        print(f"mixopt: {error}", file=sys.stderr)
        sys.exit(2)
    except Stopped:
        print("mixopt: stopped; finished runs are kept, the same command goes on from them", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
