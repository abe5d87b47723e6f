"""`mixopt plan cpt`: the options of the plan of continued pretraining."""

from pathlib import Path
from typing import Annotated

import typer

from mixopt import options


def _column(option: str, what: str) -> typer.models.OptionInfo:
    return typer.Option(option, metavar="COLUMN", help=f"column of {what} (default: by usual names)")


Runs = Annotated[
    Path | None,
    typer.Option(metavar="RUNS.csv", help="runs of continued pretraining, a checkpoint a row (.csv, .tsv, .parquet)"),
]
Tolerance = Annotated[
    str | None, typer.Option(metavar="PERCENT", help="how far the general loss may rise above its start (default: 3%)")
]
DomainTokens = Annotated[
    str | None,
    typer.Option(metavar="COUNT", help="different domain tokens there are; without --tokens a run is passes over them"),
]
Passes = Annotated[float | None, typer.Option(help="over --domain-tokens, where they set the length (default: 1)")]
RStar = Annotated[
    float | None, typer.Option(help="passes after the first until repeated text is worth little (default: published)")
]
GeneralStart = Annotated[
    float | None, typer.Option(metavar="NATS", help="general loss before continuing, where the table doesn't say it")
]
Share = Annotated[str | None, _column("--share", "the domain's share of the training tokens")]
DomainLoss = Annotated[str | None, _column("--domain-loss", "loss on the domain, nats/token")]
GeneralLoss = Annotated[str | None, _column("--general-loss", "loss on general text, nats/token")]
StartColumn = Annotated[str | None, _column("--start-column", "general loss before continuing")]
ParamsColumn = Annotated[str | None, _column("--params-column", "parameters")]
TokensColumn = Annotated[
    str | None,
    _column("--tokens-column", "tokens since the checkpoint that is continued"),
]
RunColumn = Annotated[str | None, _column("--run-column", "run ids; rows of one id are its checkpoints")]
Law = Annotated[str, typer.Option(help="one law or curve for both losses (default: weighted by held-out errors)")]
Sampler = Annotated[str, typer.Option(help="of Optuna's search for the front: nsga2 or tpe")]
Trials = Annotated[int, typer.Option(min=0, help="of Optuna's search for the front; 0: none")]


def cpt(
    runs: Runs = None,
    tolerance: Tolerance = None,
    params: options.ModelParams = None,
    tokens: options.RunTokens = None,
    compute: options.Compute = None,
    domain_tokens: DomainTokens = None,
    passes: Passes = None,
    r_star: RStar = None,
    general_start: GeneralStart = None,
    share: Share = None,
    domain_loss: DomainLoss = None,
    general_loss: GeneralLoss = None,
    start_column: StartColumn = None,
    params_column: ParamsColumn = None,
    tokens_column: TokensColumn = None,
    run_column: RunColumn = None,
    where: options.Where = None,
    law: Law = "blend",
    sampler: Sampler = "nsga2",
    trials: Trials = 600,
    seed: options.Seed = 0,
    html: options.Html = None,
    as_json: options.AsJson = False,
) -> None:
    """Continued pretraining: how much general text to keep, and what the domain gains, from a table of runs."""
    from mixopt.continual import commands

    columns = {
        "share": share,
        "domain_loss": domain_loss,
        "general_loss": general_loss,
        "general_start": start_column,
        "params_column": params_column,
        "tokens_column": tokens_column,
        "run_column": run_column,
    }
    counts = {"params": params, "tokens": tokens, "compute": compute, "domain_tokens": domain_tokens}
    commands.cpt(
        runs,
        columns=columns,
        where=where or (),
        asked={"tolerance": tolerance, **counts},
        general_start=general_start,
        passes=passes,
        r_star=r_star,
        law=law,
        sampler=sampler,
        trials=trials,
        seed=seed,
        html=html,
        as_json=as_json,
    )
