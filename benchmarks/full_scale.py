"""A ladder's prediction held against runs one rung above it: losses, ranges, gains, on the demo's text.

    python benchmarks/full_scale.py [--quick] [--out DIR]

Runs configs/quickstart.yaml (a ladder up to 393,216 parameters), then trains the recommendation, natural, uniform and
what the smallest rung alone recommends at 4 times the largest rung's parameters and tokens: seeds 1000 to 1002 for the
recommendation and uniform, 1000 for the others. Each of these runs takes about 20 minutes of one core; finished runs in
DIR are kept. --quick does the same two rungs lower, on other text, with one seed each.
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

from mixopt.errors import MixoptError
from mixopt.mixture.design import full_pools, make_recipe, proxy_pools
from mixopt.mixture.full_scale import Ladder, fit_ladder
from mixopt.runs.objective import target_of
from mixopt.runs.table import read_run
from mixopt.study.jobs import PlannedRun, make_job
from mixopt.study.pipeline import finished_runs, open_session, run
from mixopt.study.prepare import open_shards
from mixopt.study.progress import Progress
from mixopt.study.training import train_missing

HERE = Path(__file__).resolve().parent
ABOVE = 4.0  # times the largest rung's parameters, and tokens
FIRST_SEED = 1000
SEEDS = {"recommended": 3, "uniform": 3, "natural": 1, "smallest_rung": 1}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--out", type=Path, help="study folder to keep; default: a temporary one")
    given = options.parse_args()
    study = HERE / "full_scale_quick.yaml" if given.quick else HERE.parent / "configs" / "quickstart.yaml"
    print("benchmark,case,method,metric,value")
    with tempfile.TemporaryDirectory() as scratch:
        try:
            compare(study, given.out or Path(scratch) / "study", dict.fromkeys(SEEDS, 1) if given.quick else SEEDS)
        except MixoptError as error:
            print(f"full_scale: {error}", file=sys.stderr)
            return 2
    return 0


def compare(path: Path, out: Path, seeds: dict[str, int]) -> None:
    """Trains, predicts and prints."""
    session = open_session(path, out)
    found = run(session)
    quiet = replace(session, progress=Progress())
    runs = finished_runs(quiet)
    fitted = session.kind.fit(quiet, runs)
    objective = target_of(session.study.target_weights, fitted.table)
    ladder = fit_ladder(fitted, runs, objective, seed=session.study.seed)
    assert ladder is not None
    mixtures = {
        group: {row["domain"]: row[group] for row in found["domains"]}
        for group in seeds
        if found["domains"][0][group] is not None
    }
    place, measured = trained(session, mixtures, seeds, runs.targets)
    report(ladder, place, mixtures, measured, baselines(runs, ladder, mixtures))


def trained(session: Any, mixtures: dict[str, Any], seeds: dict[str, int], texts: Any) -> tuple[Any, dict[str, Any]]:
    """(params, tokens, unique tokens over tokens by domain), and losses by mixture, (n_seeds, n_texts)."""
    study, folder = session.study, session.folder
    shards, top = open_shards(study, folder), study.ladder[-1]
    vocab = next(iter(shards.values())).meta.vocab_size
    recipe = make_recipe(study, vocab=vocab, params_scale=ABOVE * top.params, tokens_scale=ABOVE * top.tokens)
    pools, _ = proxy_pools(study, shards, full_pools(study, shards, session.path), recipe)
    jobs = {
        group: [
            make_job(PlannedRun(group, weights, dict(pools), FIRST_SEED + i), study, shards, recipe)
            for i in range(seeds[group])
        ]
        for group, weights in mixtures.items()
    }
    above = folder.root / "above"
    flat = list({job.run_id: job for each in jobs.values() for job in each}.values())
    train_missing(flat, recipe, study, shards, folder, above, session.progress)
    losses = {
        group: np.array(
            [[read_run(above / f"{job.run_id}.json").losses[text].nats_per_token for text in texts] for job in each]
        )
        for group, each in jobs.items()
    }
    unique = {name: pool / recipe.tokens_seen for name, pool in pools.items()}
    return (recipe.shape.params, recipe.tokens_seen, unique), losses


def baselines(runs: Any, ladder: Ladder, mixtures: dict[str, Any]) -> dict[str, Any]:
    """Losses by the largest rung alone, and by its ratio to the one below, (n_mixtures, n_texts) each."""
    W = np.array([[weights[name] for name in ladder.domains] for weights in mixtures.values()])
    unique = ladder.law.reference_unique_
    below, top = (ladder.law.at(params, tokens, unique) for params, tokens, _ in ladder.scales[-2:])
    uniform = ladder.law.reference_[None]
    return {
        "persistence": top.predict(W),
        "ratio again": top.predict(W) * (top.predict(uniform) / below.predict(uniform)),
    }


def report(ladder: Ladder, place: Any, mixtures: dict[str, Any], measured: dict[str, Any], others: Any) -> None:
    """CSV: mean relative error over mixtures and texts, ranges that hold, and gains in the target."""
    params, tokens, unique = place
    case = f"{params} parameters, {tokens} tokens"
    at = ladder.law.at(params, tokens, [unique[name] for name in ladder.domains])
    W = np.array([[weights[name] for name in ladder.domains] for weights in mixtures.values()])
    truth = np.array([losses.mean(axis=0) for losses in measured.values()])
    low, high = np.quantile(at.drawn(W, scatter=True), [0.1, 0.9], axis=0)
    of, names = ladder.objective.of, list(mixtures)
    row(case, "default", "coverage80", float(((low <= truth) & (truth <= high)).mean()))
    for method, predicted in {"default": at.predict(W), **others}.items():
        row(case, method, "mre", 100 * float(np.abs(predicted / truth - 1).mean()))
        row(case, method, "mre_target", 100 * float(np.abs(of(predicted) / of(truth) - 1).mean()))
        for k, name in enumerate(names):
            if name != "recommended":
                row(f"gain over {name}", method, "predicted", float(of(predicted)[k] - of(predicted)[0]))
    drawn = of(at.drawn(W, scatter=True))
    for k, name in enumerate(names):
        if name == "recommended":
            continue
        n = min(len(measured[name]), len(measured["recommended"]))
        pairs = of(measured[name][:n]) - of(measured["recommended"][:n])
        row(f"gain over {name}", "default", "measured", float(pairs.mean()))
        if n > 1:
            row(f"gain over {name}", "default", "standard_error", float(pairs.std(ddof=1) / n**0.5))
        ends = np.quantile(drawn[:, k] - drawn[:, 0], [0.1, 0.9])
        row(f"gain over {name}", "default", "inside80", float(ends[0] <= pairs.mean() <= ends[1]))


def row(case: str, method: str, metric: str, value: float) -> None:
    print(f'full_scale,"{case}",{method},{metric},{value:.4f}', flush=True)


if __name__ == "__main__":
    sys.exit(main())
