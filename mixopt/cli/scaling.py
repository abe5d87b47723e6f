"""What `mixopt scale` does, and how it shows what it found."""

from __future__ import annotations

import atexit
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from mixopt.cli import table_options
from mixopt.cli.console import TerminalProgress, show_paths, standard_console
from mixopt.errors import MixoptError
from mixopt.runs.read import Reading, column_or_count
from mixopt.scaling.summary import show

SHOWN = ("law", "target", "domains", "texts", "at", "trained", "pools", "made", "evidence")


def scale(
    given: Reading,
    *,
    target: str | None,
    at_params: str | None,
    at_tokens: str | None,
    pools: Sequence[str] | None,
    compute: str | None,
    laws: str | None,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Reads, judges, fits, searches; writes the fit and shows it."""
    from mixopt.runs.scales import read_scales
    from mixopt.scaling.fit import fit_scale
    from mixopt.scaling.stored import is_scale

    if not given.of_tables:
        raise MixoptError(f"{given.files[0]}: not a table of runs (.csv, .tsv, .parquet)")
    console = standard_console(error=as_json)
    progress = TerminalProgress(console)
    atexit.register(progress.close)  # however it ends, the terminal's cursor comes back
    path = out or Path(f"{given.name}.scale.json")
    if path.exists() and not is_scale(path):
        raise MixoptError(f"{path} is there already and is no fit over scales: choose another name with --out")
    wanted = {
        "at_params": count("at-params", at_params),
        "at_tokens": count("at-tokens", at_tokens),
        "pools": pool_counts(pools),
        "compute": count("compute", compute),
    }
    names = law_names(laws)
    table = read_scales(given, progress)
    fitted = fit_scale(
        table,
        table_options.target_weights(target, table.targets),
        names,
        **wanted,
        seed=seed,
        source=given.record(),
        command=shlex.join(["mixopt", *sys.argv[1:]]),
        progress=progress,
    )
    fitted.save(path)
    if as_json:
        told = {key: fitted.record[key] for key in SHOWN}
        sys.stdout.write(json.dumps(told, ensure_ascii=False, allow_nan=False, indent=1) + "\n")
    else:
        show(console, fitted.record)
    show_paths(console, [("scale fit", path)])


def count(option: str, text: str | None) -> float | None:
    """1B and 1e9 as numbers. Raises MixoptError for anything else."""
    value = column_or_count(text)
    if isinstance(value, str) or not (value is None or 0 < value < float("inf")):
        raise MixoptError(f"--{option} {text}: write a count above 0, such as 1e9, 300M or 20B")
    return value


def pool_counts(given: Sequence[str] | None) -> dict[str, float]:
    """domain=COUNT, each once, as numbers. Raises MixoptError for anything else."""
    found: dict[str, float] = {}
    for text in given or ():
        name, equals, number_of = text.rpartition("=")
        if not equals or not name.strip():
            raise MixoptError(f"--pool {text}: write domain=count, such as math=5B")
        if name.strip() in found:
            raise MixoptError(f"--pool {name.strip()}: given twice: keep one of them")
        found[name.strip()] = count(f"pool {name.strip()}", number_of.strip())  # pyright: ignore[reportArgumentType]
    return found


def law_names(text: str | None) -> list[str] | None:
    """a,b as names of joint laws; None or all: every one. Raises MixoptError for others."""
    from regressors.estimators.joint import JOINT_LAWS

    if text is None or text == table_options.EVERY:
        return None
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for name in names:
        if name not in JOINT_LAWS:
            raise MixoptError(
                f"--laws: there is no {name!r}: choose from {', '.join(JOINT_LAWS)}, or {table_options.EVERY}"
            )
    if not names:
        raise MixoptError(f"--laws: name one or more of {', '.join(JOINT_LAWS)}, or {table_options.EVERY}")
    return names


# What is shown
