"""Held-out scores on olmix's published table: 127 proxies of 30M parameters, 24 web topics, 110 metrics.

Grouped 5-fold cross-validation: runs of one mixture stay together. Metrics are noisy downstream scores in bits/byte,
lower is better. Prints CSV, each value a mean over the metrics:

    benchmark,case,method,metric,value

rmse_sd: root mean squared error in standard deviations of the metric over runs; regret_sd: measured score of the run
with the lowest prediction less the lowest measured, in the same unit. method `default` is what mixopt chooses for
each fold and metric by the errors on the other folds; `log-linear` is olmix's own form.

Usage: python benchmarks/olmix.py [--quick] [--data DIR]
"""

import argparse
import csv
import os
import sys
from collections.abc import Mapping
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # before NumPy is loaded: the tables are small, threads only wait for each other

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))  # runs from a checkout that isn't installed

from mixopt.mixture.config import TRIED  # noqa: E402
from regressors import PREDICTORS, SIMPLICITY, cross_validate, regret, rmse, spearman  # noqa: E402
from regressors.evaluation.cross_validation import HeldOut  # noqa: E402
from regressors.evaluation.model_selection import nested  # noqa: E402

FOLDS = 5
SEED = 0  # of the folds and of the fits
KEYS = ("run", "name", "index")  # columns that are neither topics nor metrics
QUICK_EVERY = 12  # metrics
QUICK = ("effective-data", "log-linear", "exponential-mixing", "bimix", "gp-log", "scheffe", "regmix-linear")


def read(folder: Path, every: int) -> tuple[np.ndarray, np.ndarray]:
    """Shares (n_runs, n_topics) and every so many-th metric (n_runs, n_metrics), nan where one is missing."""
    ratios, metrics = (pd.read_csv(folder / f"{name}.csv", index_col=0) for name in ("ratios", "metrics"))
    topics = [name for name in ratios.columns if name not in KEYS]
    wanted = [name for name in metrics.columns if name not in KEYS][::every]
    table = ratios[["run", *topics]].merge(metrics[["run", *wanted]], on="run", validate="one_to_one")
    return table[topics].to_numpy(float), table[wanted].to_numpy(float)


def mixtures(W: np.ndarray) -> np.ndarray:
    return np.unique(W, axis=0, return_inverse=True)[1].reshape(-1)


def judge(method: str, W: np.ndarray, Y: np.ndarray) -> HeldOut:
    return cross_validate(lambda: PREDICTORS[method](SEED), W, Y, mixtures(W), folds=FOLDS, seed=SEED)


def default(judged: Mapping[str, HeldOut], W: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """What the choice among those that are tried by default predicts for every run without having seen it."""
    tried = {name: judged[name].predicted for name in TRIED if name in judged}
    fold, groups = next(iter(judged.values())).fold, mixtures(W)
    columns = [
        nested({name: Z[:, [k]] for name, Z in tried.items()}, Y[:, [k]], groups, fold, SIMPLICITY)[0]
        for k in range(Y.shape[1])
    ]
    return np.hstack(columns)


def scores(predictions: np.ndarray, Y: np.ndarray) -> dict[str, float]:
    """metric -> mean over the columns of Y."""
    found = []
    for predicted, measured in zip(predictions.T, Y.T, strict=True):
        known = np.isfinite(measured)
        pair = predicted[known], measured[known]
        spread = measured[known].std()
        found.append((spearman(*pair), rmse(*pair) / spread, regret(*pair) / spread))
    names = ("spearman", "rmse_sd", "regret_sd")
    return dict(zip(names, np.mean(found, axis=0), strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"every {QUICK_EVERY}th metric, only {', '.join(QUICK)}")
    parser.add_argument(
        "--data", type=Path, default=REPO.parent / "shared" / "data", help="folder with olmix_dclm/ratios.csv"
    )
    options = parser.parse_args()
    folder = options.data / "olmix_dclm"
    if not (folder / "ratios.csv").exists():
        print(f"olmix: no {folder / 'ratios.csv'}: give the tables' folder by --data", file=sys.stderr)
        return 2
    W, Y = read(folder, QUICK_EVERY if options.quick else 1)
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["benchmark", "case", "method", "metric", "value"])
    judged = {method: judge(method, W, Y) for method in (QUICK if options.quick else PREDICTORS)}
    predictions = {"default": default(judged, W, Y)} | {name: found.predicted for name, found in judged.items()}
    for name, predicted in predictions.items():
        for metric, value in scores(predicted, Y).items():
            out.writerow(["olmix", f"mean of {Y.shape[1]} metrics", name, metric, f"{value:.4f}"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
