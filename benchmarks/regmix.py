"""Learning curves on RegMix's published table: 1M-parameter proxies on The Pile, 17 domains, 13 validation losses.

Every predictor is fitted to random subsets of the 512 training runs and judged on the 256 test runs, which nothing
else sees. Prints CSV, each value a mean over the subsets of SEEDS:

    benchmark,case,method,metric,value

case: the Pile-CC loss alone, or the mean over the 13 losses; n: how many runs were fitted. rmse: nats/token; regret_sd:
measured loss of the test run with the lowest predicted loss less the lowest measured, in standard deviations of the
test runs' loss. method `default` is what `mixopt fit` chooses for a loss by held-out errors on the fitted runs alone;
with --quick it chooses among fewer, by 3 folds.

Usage: python benchmarks/regmix.py [--quick] [--data DIR]
"""

import argparse
import csv
import os
import sys
from collections.abc import Sequence
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # before NumPy is loaded: the tables are small, threads only wait for each other

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))  # runs from a checkout that isn't installed

from mixopt.mixture.config import TRIED  # noqa: E402
from mixopt.mixture.fit import judge_all  # noqa: E402
from mixopt.runs.table import RunTable  # noqa: E402
from regressors import PREDICTORS, SIMPLICITY, regret, rmse, spearman  # noqa: E402
from regressors.evaluation.model_selection import choose  # noqa: E402

SIZES = (32, 64, 128, 512)
SEEDS = (0, 1, 2, 3, 4)  # of the subsets; also of the fits
QUICK_SEEDS = (0,)
QUICK_FOLDS = 3
QUICK = (
    "effective-data",
    "exponential-mixing",
    "log-linear",
    "bimix",
    "regmix-linear",
)  # the others take longer
PILE_CC = "loss_pile_cc"


def read(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Shares (n_runs, 17), losses (n_runs, 13) and the losses' names."""
    table = pd.read_csv(path)
    losses = [name for name in table.columns if name.startswith("loss_")]
    weights = [name for name in table.columns if name.startswith("w_")]
    return table[weights].to_numpy(float), table[losses].to_numpy(float), losses


def judge(methods: Sequence[str], size: int, seed: int, data: Path) -> dict[tuple[str, str, str], float]:
    """(method, case, metric) -> value on one subset."""
    W, Y, names = read(data / "train_1m.csv")
    W_test, Y_test, _ = read(data / "test_1m.csv")
    rows = np.random.default_rng(seed).permutation(len(W))[:size]
    W, Y = W[rows], Y[rows]
    predicted = {name: PREDICTORS[name](seed).fit(W, Y).predict(W_test) for name in methods}
    quick = methods == QUICK
    tried = [name for name in TRIED if name in QUICK or not quick]
    chosen = choices(W, Y, names, tried, folds=QUICK_FOLDS if quick else None)
    default = {"default": np.column_stack([predicted[name][:, k] for k, name in enumerate(chosen)])}
    values = {}
    for method, losses in (default | predicted).items():
        for (case, metric), value in scores(losses, Y_test, names.index(PILE_CC)).items():
            values[method, f"{case} n={size}", metric] = value
    return values


def choices(W: np.ndarray, Y: np.ndarray, names: Sequence[str], tried: Sequence[str], folds: int | None) -> list[str]:
    """The predictor that a fit to these runs chooses for each loss."""
    domains = [f"d{k}" for k in range(W.shape[1])]
    frame = pd.DataFrame({"run_id": range(len(W))} | {f"w/{name}": W[:, k] for k, name in enumerate(domains)})
    frame = frame.assign(**{f"loss/{name}": Y[:, k] for k, name in enumerate(names)})
    found = judge_all(RunTable(frame, tuple(domains), tuple(names)), {names[0]: 1.0}, tried, folds=folds)
    held_out = {name: judged.predicted for name, judged in found.judged.items()}
    return [
        choose({name: Z[:, [k]] for name, Z in held_out.items()}, Y[:, [k]], found.groups, SIMPLICITY).name
        for k in range(len(names))
    ]


def scores(predicted: np.ndarray, measured: np.ndarray, k: int) -> dict[tuple[str, str], float]:
    """(case, metric) -> value; k: the column of the Pile-CC loss."""
    pairs = list(zip(predicted.T, measured.T, strict=True))
    ranks = [spearman(*pair) for pair in pairs]
    return {
        ("pile_cc", "rmse"): rmse(*pairs[k]),
        ("pile_cc", "spearman"): ranks[k],
        ("mean13", "spearman"): float(np.mean(ranks)),
        ("mean13", "regret_sd"): float(np.mean([regret(*pair) / pair[1].std() for pair in pairs])),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"subsets {QUICK_SEEDS}, only {', '.join(QUICK)}")
    parser.add_argument(
        "--data", type=Path, default=REPO.parent / "shared" / "data", help="folder with regmix/train_1m.csv"
    )
    options = parser.parse_args()
    data = options.data / "regmix"
    if not (data / "train_1m.csv").exists():
        print(f"regmix: no {data / 'train_1m.csv'}: give the tables' folder by --data", file=sys.stderr)
        return 2
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["benchmark", "case", "method", "metric", "value"])
    for size in SIZES:
        seeds = QUICK_SEEDS if options.quick else SEEDS
        methods = QUICK if options.quick else tuple(PREDICTORS)
        # all 512 runs are one subset, whatever the seed
        results = [judge(methods, size, seed, data) for seed in (seeds[:1] if size == 512 else seeds)]
        for method, case, metric in results[0]:
            value = np.mean([result[method, case, metric] for result in results])
            out.writerow(["regmix", case, method, metric, f"{value:.4f}"])
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
