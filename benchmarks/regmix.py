"""Learning curves on RegMix's published table: 1M-parameter proxies on The Pile, 17 domains, 13 validation losses.

Every predictor is fitted to random subsets of the 512 training runs and judged on the 256 test runs, which nothing
else sees. Prints CSV, each value a mean over the subsets of SEEDS:

    benchmark,case,method,metric,value

case: the Pile-CC loss alone, or the mean over the 13 losses; n: how many runs were fitted. rmse: nats/token; regret_sd:
measured loss of the test run with the lowest predicted loss less the lowest measured, in standard deviations of the
test runs' loss. method `default` is what mixopt chooses by itself.

Usage: python benchmarks/regmix.py [--quick] [--data DIR]
"""

import argparse
import csv
import os
import sys
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # before NumPy is loaded: the tables are small, threads only wait for each other

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))  # runs from a checkout that isn't installed

from regressors import DEFAULT, PREDICTORS, regret, rmse, spearman  # noqa: E402

SIZES = (32, 64, 128, 512)
SEEDS = (0, 1, 2, 3, 4)  # of the subsets; also of the fits
QUICK_SEEDS = (0, 1)
QUICK = (DEFAULT, "exponential-mixing", "log-linear", "bimix", "regmix-linear")  # the others take most of the time
PILE_CC = "loss_pile_cc"


def read(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Shares (n_runs, 17), losses (n_runs, 13) and the losses' names."""
    table = pd.read_csv(path)
    losses = [name for name in table.columns if name.startswith("loss_")]
    weights = [name for name in table.columns if name.startswith("w_")]
    return table[weights].to_numpy(float), table[losses].to_numpy(float), losses


def judge(method: str, size: int, seed: int, data: Path) -> dict[tuple[str, str], float]:
    """(case, metric) -> value of one method on one subset."""
    W, Y, names = read(data / "train_1m.csv")
    W_test, Y_test, _ = read(data / "test_1m.csv")
    rows = np.random.default_rng(seed).permutation(len(W))[:size]
    predicted = PREDICTORS[method](seed).fit(W[rows], Y[rows]).predict(W_test)
    targets = range(len(names))
    ranks = [spearman(predicted[:, k], Y_test[:, k]) for k in targets]
    given_up = [regret(predicted[:, k], Y_test[:, k]) / Y_test[:, k].std() for k in targets]
    k = names.index(PILE_CC)
    return {
        (f"pile_cc n={size}", "rmse"): rmse(predicted[:, k], Y_test[:, k]),
        (f"pile_cc n={size}", "spearman"): ranks[k],
        (f"mean13 n={size}", "spearman"): float(np.mean(ranks)),
        (f"mean13 n={size}", "regret_sd"): float(np.mean(given_up)),
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
        for method in QUICK if options.quick else PREDICTORS:
            # all 512 runs are one subset, whatever the seed
            results = [judge(method, size, seed, data) for seed in (seeds[:1] if size == 512 else seeds)]
            for name in (method, "default") if method == DEFAULT else (method,):
                for case, metric in results[0]:
                    value = np.mean([result[case, metric] for result in results])
                    out.writerow(["regmix", case, name, metric, f"{value:.4f}"])
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
