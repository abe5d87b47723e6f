"""`mixopt plan`: questions that are answered without training anything."""

import typer

from mixopt import options

plan = typer.Typer(
    help="Answer without training: how often to repeat text, how large a model for how many tokens, how much general "
    "text to keep.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@plan.command()
def epochs(
    unique: options.Unique = None,
    compute: options.Compute = None,
    params: options.ModelParams = None,
    tokens: options.RunTokens = None,
    preset: options.PresetName = None,
    runs: options.PlanRuns = None,
    columns: options.PlanColumns = None,
    where: options.Where = None,
    seed: options.Seed = 0,
    html: options.Html = None,
    as_json: options.AsJson = False,
) -> None:
    """The best model and number of epochs for a text of so many unique tokens; what one more epoch is worth."""
    from mixopt.plan import commands

    given = {"unique": unique, "compute": compute, "params": params, "tokens": tokens, "preset": preset}
    table = commands.Source(runs, columns, tuple(where or ()), seed)
    commands.epochs(given, table, html=html, as_json=as_json)


@plan.command()
def scale(
    compute: options.Compute = None,
    loss: options.TargetLoss = None,
    inference_tokens: options.InferenceTokens = None,
    unique: options.Unique = None,
    preset: options.PresetName = None,
    runs: options.PlanRuns = None,
    columns: options.PlanColumns = None,
    where: options.Where = None,
    seed: options.Seed = 0,
    html: options.Html = None,
    as_json: options.AsJson = False,
) -> None:
    """The best model size and tokens for a budget, or the cheapest for a loss, with the cost of using it."""
    from mixopt.plan import commands

    given = {
        "compute": compute,
        "loss": loss,
        "inference_tokens": inference_tokens,
        "unique": unique,
        "preset": preset,
    }
    table = commands.Source(runs, columns, tuple(where or ()), seed)
    commands.scale(given, table, html=html, as_json=as_json)
