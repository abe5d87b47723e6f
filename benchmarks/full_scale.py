"""A ladder's prediction held against runs one rung above it: losses, ranges and gains.

    python benchmarks/full_scale.py [--quick | --smaller] [--out DIR]

Runs configs/quickstart.yaml (a ladder up to 393,216 parameters), then trains the recommendation, natural, uniform and
what the smallest rung alone recommends at 4 times the largest rung's parameters and tokens: seeds 1000 to 1002 for the
recommendation and uniform, 1000 for the others. Each of these runs takes about 20 minutes of one core; finished runs in
DIR are kept. --smaller does the same one rung lower, on other text, with one seed each, in a quarter of an hour;
--quick fits and predicts anew from the losses of those runs (full_scale_smaller.csv; --smaller --store writes it).
Method `default` is what mixopt predicts; `persistence` each mixture's loss at the largest rung; `ratio again` that loss
times the ratio of the two largest rungs' losses at uniform shares.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mixopt.errors import MixoptError
from mixopt.mixture.design import Plan, full_pools, make_recipe, proxy_pools
from mixopt.mixture.fit import fit_runs
from mixopt.mixture.full_scale import Ladder, fit_ladder
from mixopt.runs.objective import target_of
from mixopt.runs.pools import full_unique
from mixopt.runs.table import RunTable, collect
from mixopt.study.jobs import PlannedRun, make_job
from mixopt.study.loading import load_study
from mixopt.study.pipeline import finished_runs, open_session, run
from mixopt.study.prepare import open_shards
from mixopt.study.progress import Progress
from mixopt.study.training import train_missing

HERE = Path(__file__).resolve().parent
ABOVE = 4.0  # times the largest rung's parameters, and tokens
FIRST_SEED = 1000
SEEDS = {"recommended": 3, "uniform": 3, "natural": 1, "smallest_rung": 1}
ONE = dict.fromkeys(SEEDS, 1)
SMALLER, STORED = HERE / "full_scale_smaller.yaml", HERE / "full_scale_smaller.csv"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="predict from stored losses")
    options.add_argument("--smaller", action="store_true", help="one rung lower")
    options.add_argument("--store", action="store_true", help="write the losses that --quick predicts from")
    options.add_argument("--out", type=Path, help="study folder to keep; default: a temporary one")
    given = options.parse_args()
    path = SMALLER if given.quick or given.smaller else HERE.parent / "configs" / "quickstart.yaml"
    print("benchmark,case,method,metric,value")
    try:
        if given.quick:
            compare(load_study(path), pd.read_csv(STORED))
        else:
            with tempfile.TemporaryDirectory() as scratch:
                frame = everything(path, given.out or Path(scratch) / "study", SEEDS if path != SMALLER else ONE)
            if given.store:
                frame.to_csv(STORED, index=False)
            compare(load_study(path), frame)
    except MixoptError as error:
        print(f"full_scale: {error}", file=sys.stderr)
        return 2
    return 0


def everything(path: Path, out: Path, seeds: dict[str, int]) -> pd.DataFrame:
    """The ladder's runs, and those above it with their mixture's name as role: what `compare` needs."""
    session = open_session(path, out)
    found = run(session)
    runs = finished_runs(replace(session, progress=Progress())).frame
    above = trained(session, found["domains"], seeds)
    return pd.concat([runs.assign(above=False), above.assign(above=True)], ignore_index=True)


def compare(study: Any, frame: Any) -> None:
    """Fits the ladder, predicts the runs above it and prints."""
    domains, targets = (
        tuple(name.removeprefix(key) for name in frame if name.startswith(key)) for key in ("w/", "loss/")
    )
    above = frame["above"].astype(bool)
    table = RunTable(frame[~above].reset_index(drop=True), domains, targets)
    pools = {name: study.domains[name].pool for name in domains}
    unique = full_unique(domains, pools, study.full.tokens)
    fitted = fit_runs(table, study.target_weights, study.predictors, seed=study.seed, unique=unique)
    ladder = fit_ladder(fitted, table, target_of(study.target_weights, fitted.table), seed=study.seed)
    assert ladder is not None
    report(ladder, frame[above])


def trained(session: Any, rows: Any, seeds: dict[str, int]) -> pd.DataFrame:
    """Runs of every mixture a rung above the ladder, as rows of a run table. rows: the recommendation's domains."""
    study, folder = session.study, session.folder
    shards, top = open_shards(study, folder), study.ladder[-1]
    vocab = next(iter(shards.values())).meta.vocab_size
    recipe = make_recipe(study, vocab=vocab, params_scale=ABOVE * top.params, tokens_scale=ABOVE * top.tokens)
    pools, _ = proxy_pools(study, shards, full_pools(study, shards, session.path), recipe)
    jobs = [
        make_job(
            PlannedRun(group, {row["domain"]: row[group] for row in rows}, dict(pools), FIRST_SEED + i),
            study,
            shards,
            recipe,
        )
        for group, count in seeds.items()
        for i in range(count)
    ]
    above = folder.root / "above"
    train_missing(jobs, recipe, study, shards, folder, above, session.progress)
    plan = Plan([], jobs, recipe, {}, {}, [])
    return collect(above, plan=plan, write=False).frame


def report(ladder: Ladder, above: Any) -> None:
    """CSV: mean relative error over mixtures and validation sets, ranges that hold, and gains in the target."""
    place = above.iloc[0]
    params, tokens = float(place["params"]), float(place["tokens"])
    case = f"{params:.0f} parameters, {tokens:.0f} tokens"
    unique = [place[f"pool/{name}"] / tokens for name in ladder.domains]
    losses = [name for name in above if name.startswith("loss/")]
    groups = {name: rows.sort_values("seed") for name, rows in above.groupby("role")}
    names = sorted(groups, key=lambda name: name != "recommended")
    W = np.array([groups[name].iloc[0][[f"w/{one}" for one in ladder.domains]].to_numpy(float) for name in names])
    truth = np.array([groups[name][losses].mean().to_numpy() for name in names])
    at, of = ladder.law.at(params, tokens, unique), ladder.objective.of
    drawn = at.drawn(W, scatter=True)
    low, high = np.quantile(drawn, [0.1, 0.9], axis=0)
    row(case, "default", "coverage80", float(((low <= truth) & (truth <= high)).mean()))
    for method, predicted in {"default": at.predict(W), **baselines(ladder, W, unique)}.items():
        row(case, method, "mre", 100 * float(np.abs(predicted / truth - 1).mean()))
        row(case, method, "mre_target", 100 * float(np.abs(of(predicted) / of(truth) - 1).mean()))
        for k, name in enumerate(names[1:], 1):
            row(f"gain over {name}", method, "predicted", float(of(predicted)[k] - of(predicted)[0]))
    for k, name in enumerate(names[1:], 1):
        each = [of(groups[one][losses].to_numpy()) for one in (name, "recommended")]
        n = min(map(len, each))
        pairs = each[0][:n] - each[1][:n]  # of one seed
        row(f"gain over {name}", "default", "measured", float(pairs.mean()))
        if n > 1:
            row(f"gain over {name}", "default", "standard_error", float(pairs.std(ddof=1) / n**0.5))
        ends = np.quantile(of(drawn)[:, k] - of(drawn)[:, 0], [0.1, 0.9])
        row(f"gain over {name}", "default", "inside80", float(ends[0] <= pairs.mean() <= ends[1]))


def baselines(ladder: Ladder, W: Any, unique: Any) -> dict[str, Any]:
    """Losses by the largest rung alone, and by its ratio to the one below, (n_mixtures, n_targets) each."""
    below, top = (ladder.law.at(params, tokens, unique) for params, tokens, _ in ladder.scales[-2:])
    uniform = ladder.law.reference_[None]
    ratio = top.predict(uniform) / below.predict(uniform)
    return {"persistence": top.predict(W), "ratio again": top.predict(W) * ratio}


def row(case: str, method: str, metric: str, value: float) -> None:
    print(f'full_scale,"{case}",{method},{metric},{value:.4f}', flush=True)


if __name__ == "__main__":
    sys.exit(main())
