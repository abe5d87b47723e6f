"""`mixopt scale`: the best mixture for larger models and more tokens, from a table of runs of several sizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from mixopt.cli import options
from mixopt.cli.console import command_line, open_console, print_json, show_paths
from mixopt.cli.outputs import Outputs
from mixopt.errors import MixoptError
from mixopt.report.terminal import show

SHOWN = ("law", "target", "domains", "texts", "at", "trained", "pools", "made", "evidence")


@options.table_options()
def scale(
    files: options.Tables,
    table: options.TableOptions,
    target: options.Target = None,
    at_params: options.AtParams = None,
    at_tokens: options.AtTokens = None,
    pool: options.Pools = None,
    compute: options.Budget = None,
    laws: options.Laws = None,
    out: Annotated[
        Path | None,
        options.output("--out", "-o", metavar="FILE", help="file for the fit (default: RUNS.scale.json)"),
    ] = None,
    force: options.Force = False,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
) -> None:
    """Predict the best mixture, and its loss, for larger models or more tokens than in a table of runs."""
    from mixopt.runs.scales import read_scales
    from mixopt.runs.stored import is_fit
    from mixopt.scaling.fit import fit_scale
    from mixopt.scaling.stored import KIND
    from mixopt.scaling.summary import scale_document
    from regressors.estimators.joint import JOINT_LAWS

    given = table.of(files)
    if not given.of_tables:
        raise MixoptError(f"{given.files[0]}: not a table of runs (.csv, .tsv, .parquet)")
    console, progress = open_console(as_json)
    path = out or Path(f"{given.name}.scale.json")
    outputs = Outputs(files, force=force)
    outputs.check("--out", path, lambda file: is_fit(file, KIND))
    settings = {
        "at_params": options.positive_count("at-params", at_params),
        "at_tokens": options.positive_count("at-tokens", at_tokens),
        "pools": pool_counts(pool),
        "compute": options.positive_count("compute", compute),
        "laws": None if laws in (None, options.ALL) else options.names_among(JOINT_LAWS, laws, "--laws"),
    }
    runs = read_scales(given, progress)
    weights = options.target_weights(target, runs.targets)
    made = {"source": given.record(), "command": command_line()}
    fitted = fit_scale(runs, weights, **settings, **made, seed=seed, progress=progress)
    if as_json:
        print_json({key: fitted.record[key] for key in SHOWN})
    else:
        show(console, scale_document(fitted))
    outputs.write("scale fit", path, fitted.save)
    show_paths(console, outputs.written)


def pool_counts(given: Sequence[str] | None) -> dict[str, float]:
    """domain=COUNT, each once, as numbers. Raises MixoptError for anything else."""
    found: dict[str, float] = {}
    for text in given or ():
        name, _, number = (part.strip() for part in text.rpartition("="))
        pool = options.positive_count(f"pool {name}", number) if name else None
        if pool is None:
            raise MixoptError(f"--pool {text}: write domain=count, such as math=5B")
        if name in found:
            raise MixoptError(f"--pool {name}: given twice: keep one of them")
        found[name] = pool
    return found
