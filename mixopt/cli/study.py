"""Commands on studies: `mixopt run` and its stages one by one."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mixopt.cli.console import open_console, show_paths
from mixopt.errors import MixoptError
from mixopt.report.terminal import show

if TYPE_CHECKING:
    from rich.console import Console

    from mixopt.study.kind import Session

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="the study file")]
Out = Annotated[Path | None, typer.Option("--out", "-o", metavar="DIR", help="study folder (default: studies/<name>)")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Train again what an edit left without use; else it is asked.")]
Markdown = Annotated[
    Path | None,
    typer.Option(metavar="FILE.md", help="write it as Markdown as well; never overwrites a file"),
]


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


def schema(kind: Annotated[str, typer.Option(help="mixture, repetition or continual")] = "mixture") -> None:
    """Print the JSON Schema of study files."""
    import json

    from mixopt.study.kind import kind_named

    print(json.dumps(kind_named(kind).record.model_json_schema(), indent=2))


def run(study: StudyFile, out: Out = None, yes: Yes = False) -> None:
    """Run all stages: prepare, design, train, fit, recommend, report, export. Skips finished work."""
    from mixopt.study import pipeline

    session, console = start(study, out)
    show(console, session.kind.document(pipeline.run(asking(session, yes))))
    show_paths(console, session.kind.outputs(session))


def prepare(study: StudyFile, out: Out = None) -> None:
    """Turn each domain's documents into token shards."""
    from mixopt.study.prepare import prepare as do

    session, _ = start(study, out, needs_corpora="prepare")
    do(session.study, session.path, session.folder, session.progress)


def design(study: StudyFile, out: Out = None) -> None:
    """Plan the proxy runs: design.csv."""
    from mixopt.study import pipeline

    session, _ = start(study, out, needs_corpora="design")
    pipeline.planned(session)


def train(study: StudyFile, out: Out = None, yes: Yes = False) -> None:
    """Train the planned proxies that aren't trained yet."""
    from mixopt.study import pipeline

    session, _ = start(study, out, needs_corpora="train")
    pipeline.trained(asking(session, yes), *pipeline.planned(session))


def recommend(study: StudyFile, out: Out = None) -> None:
    """Answer the study's question from its finished runs: the best mixture, or the best number of epochs."""
    from mixopt.study import pipeline

    session, console = start(study, out)
    recommendation = session.kind.recommend(session, pipeline.finished_runs(session))
    show(console, session.kind.document(recommendation))


def report(study: StudyFile, out: Out = None, markdown: Markdown = None) -> None:
    """Write report.html from what is in the study folder."""
    from mixopt.study import pipeline

    if markdown is not None and markdown.exists():
        raise MixoptError(f"{markdown} is there already: choose another name for --markdown, or remove it")
    session, _ = start(study, out)
    pipeline.write_report(session, markdown=markdown)


def export(study: StudyFile, out: Out = None) -> None:
    """Write the recommendation as trainer configs: interleave_datasets probabilities and a Megatron blend."""
    from mixopt.study import pipeline

    session, _ = start(study, out)
    for path in pipeline.export(session):
        print(path)


def verify(study: StudyFile, out: Out = None) -> None:
    """Train the recommendation: the mixture against the natural and the uniform one, or the continued run."""
    from mixopt.study import pipeline

    session, console = start(study, out, needs_corpora="verify")
    show(console, session.kind.verification_document(pipeline.verify(session)))


def asking(session: Session, yes: bool) -> Session:
    """The session, asking on a terminal before finished runs are trained anew; yes: told only."""

    def may_retrain(why: str) -> bool:
        if not yes and not (sys.stdin.isatty() and sys.stdout.isatty()):
            return False
        session.progress.note(f"{why}.")
        return yes or typer.confirm("Train them?")

    return replace(session, may_retrain=may_retrain)


def start(study: Path, out: Path | None, *, needs_corpora: str | None = None) -> tuple[Session, Console]:
    """The session and console of a command. Raises MixoptError when a command on corpora gets a study on runs."""
    from mixopt.study.pipeline import open_session

    console, progress = open_console()
    session = open_session(study, out, progress)
    if needs_corpora and session.study.brings_runs:
        raise MixoptError(
            f"{study}: runs: is given, so there is no text to {needs_corpora}; `mixopt run` goes on from the runs"
        )
    return session, console
