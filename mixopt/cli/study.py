"""Commands on studies: `mixopt run` and its stages one by one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mixopt.cli import options
from mixopt.cli.console import open_console, show_paths
from mixopt.cli.outputs import Outputs
from mixopt.errors import MixoptError
from mixopt.report.terminal import show
from mixopt.serialization import WriteError

if TYPE_CHECKING:
    from rich.console import Console

    from mixopt.study.kind import Session

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="the study file")]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Train without asking even where an edit makes finished runs useless.")
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Show runs, tokens, FLOPs, disk, memory and time that it would take, and stop."),
]
ExportTo = Annotated[
    Path | None,
    options.output(
        "--export", metavar="DIR", help="write every planned run as a configuration too, and a table to fill in"
    ),
]
SmallestRung = Annotated[
    bool, typer.Option("--smallest-rung", help="Of a ladder train the smallest rung alone; the others may come later.")
]
Filled = Annotated[Path, typer.Argument(metavar="RUNS.csv", help="the filled table of `mixopt design --export`")]
ForceRuns = Annotated[bool, typer.Option("--force", help="Replace runs on record that have other losses.")]
Out = Annotated[
    Path | None, options.output("--out", "-o", metavar="DIR", help="study folder (default: studies/<name>)")
]
Markdown = Annotated[Path | None, options.output("--markdown", metavar="FILE.md", help="write it as Markdown as well")]


def init(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", parser=options.path_of("DIR"), help="where to write it")
    ] = None,
    example: Annotated[str, typer.Option(help="which example: see --list")] = "quickstart",
    list_examples: Annotated[bool, typer.Option("--list", help="List the examples and stop.")] = False,
) -> None:
    """Write a commented study file to start from."""
    from mixopt.study import examples

    if list_examples:
        print("\n".join(examples.names()))
        return
    if folder is None:
        raise MixoptError("name the folder to write to: mixopt init DIR")
    try:
        for path in examples.copy(example, folder):
            print(path)
    except WriteError as error:
        raise MixoptError(f"{error}: choose another DIR") from None


def schema(kind: Annotated[str, typer.Option(help="mixture, repetition or continual")] = "mixture") -> None:
    """Print the JSON Schema of study files."""
    import json

    from mixopt.study.kind import kind_named

    print(json.dumps(kind_named(kind).record.model_json_schema(), indent=2))


def run(study: StudyFile, out: Out = None, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Run all stages: prepare, design, train, fit, recommend, report, export. Skips finished work."""
    from mixopt.study import pipeline

    with start(study, out) as (session, console):
        if dry_run:
            show(console, pipeline.cost(session))
            return
        pipeline.run(confirming(session, yes))
        show_paths(console, session.kind.outputs(session))


def prepare(study: StudyFile, out: Out = None) -> None:
    """Turn each domain's documents into token shards."""
    from mixopt.study.prepare import prepare as do

    with start(study, out, needs_corpora="prepare") as (session, _):
        do(session.study, session.path, session.folder, session.progress)


def design(study: StudyFile, out: Out = None, export: ExportTo = None, force: options.Force = False) -> None:
    """Plan the proxy runs: design.csv."""
    from mixopt.runs import exchange
    from mixopt.study import pipeline
    from mixopt.study.loading import files_read

    with start(study, out, needs_corpora="design") as (session, console):
        outputs = Outputs([study, *files_read(session.study, study), *session.folder.artefacts], force=force)
        if export:
            exchange.check_portable(session)
            outputs.check("--export", export / exchange.TABLE, exchange.is_unfilled, what="folder")
        plan, shards = pipeline.planned(session)
        if not export:
            return
        paths = [export / f"{job.run_id}.json" for job in plan.jobs]
        for path in (path for path in paths if path.exists() and not exchange.is_configuration(path)):
            outputs.check("--export", path, what="folder")
        outputs.write(
            "table to fill in",
            export / exchange.TABLE,
            lambda table: exchange.write_configurations(table.parent, plan, shards),
        )
        show_paths(console, [("configurations", export), *outputs.written])


def train(study: StudyFile, out: Out = None, yes: Yes = False, smallest_rung: SmallestRung = False) -> None:
    """Train the planned proxies that aren't trained yet."""
    from mixopt.study import pipeline

    with start(study, out, needs_corpora="train") as (session, _):
        pipeline.trained(confirming(session, yes), *pipeline.planned(session), extend=not smallest_rung)


def import_runs(study: StudyFile, runs: Filled, out: Out = None, force: ForceRuns = False) -> None:
    """Take planned runs that were trained elsewhere into the study, from the filled table of `design --export`."""
    from mixopt.runs import exchange
    from mixopt.study import pipeline

    with start(study, out, needs_corpora="train") as (session, _):
        exchange.check_portable(session)
        plan, _ = pipeline.planned(session)
        session.progress.stage("import")
        imported = exchange.read_filled(runs, session, plan, force=force)
        for note in imported.notes:
            session.progress.note(note)
        session.progress.finish(exchange.write_imported(imported, session))


def recommend(study: StudyFile, out: Out = None) -> None:
    """Answer the study's question from its finished runs: the best mixture, or the best number of epochs."""
    from mixopt.study import pipeline

    with start(study, out) as (session, _):
        session.kind.recommend(session, pipeline.finished_runs(session))


def report(study: StudyFile, out: Out = None, markdown: Markdown = None, force: options.Force = False) -> None:
    """Write report.html from what is in the study folder."""
    from mixopt.report.markdown import render
    from mixopt.study import pipeline
    from mixopt.study.loading import files_read

    with start(study, out) as (session, _):
        folder = session.folder
        outputs = Outputs([study, *files_read(session.study, study), *folder.artefacts], force=force)
        outputs.check("--markdown", markdown, folder.wrote)
        document = pipeline.write_report(session)
        outputs.write("Markdown", markdown, lambda file: folder.write(file, render(document), force=force))


def export(study: StudyFile, out: Out = None) -> None:
    """Write the recommendation as trainer configs: interleave_datasets probabilities and a Megatron blend."""
    from mixopt.study import pipeline

    with start(study, out) as (session, _):
        for path in pipeline.export(session):
            print(path)


def verify(study: StudyFile, out: Out = None) -> None:
    """Train the recommendation: the mixture against the natural and the uniform one, or the continued run."""
    from mixopt.study import pipeline

    with start(study, out, needs_corpora="verify") as (session, console):
        pipeline.verify(session, lambda verified: show(console, session.kind.verification_document(verified)))


def confirming(session: Session, yes: bool) -> Session:
    """The session, with a prompt on a terminal before runs are trained in place of others; yes: a note only."""

    def may_retrain(why: str) -> bool:
        if not yes and not (sys.stdin.isatty() and sys.stdout.isatty()):
            return False
        session.progress.note(f"{why}.")
        return yes or typer.confirm("Train them?")

    return replace(session, may_retrain=may_retrain)


@contextmanager
def start(study: Path, out: Path | None, *, needs_corpora: str | None = None) -> Iterator[tuple[Session, Console]]:
    """The session and console of a command. Raises MixoptError when a command on corpora gets a study on runs."""
    from mixopt.study.pipeline import held_session

    console, progress = open_console()
    with held_session(study, out, progress) as session:
        if needs_corpora and session.study.brings_runs:
            raise MixoptError(
                f"{study}: runs: is given, so there is no text to {needs_corpora}; `mixopt run` goes on from the runs"
            )
        yield session, console
