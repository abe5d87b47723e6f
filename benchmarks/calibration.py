"""Coverage of 80% intervals, and the optimism at the selected mixture beside the expected one, on published tables.

The default predictor is fitted to some of a table's runs, as a study would do it, and says an interval for each of the
others. Prints CSV, each value a mean over subsets of runs and over targets:

    benchmark,case,method,metric,value

case: `regmix n=64` and so on: random subsets of RegMix's 512 training runs, the intervals checked on the rest of them;
`regmix test n=64`: the same fits checked on its 256 test runs, which took no part in any choice; `olmix`: olmix's 127
runs, groups of mixtures left out by fifths. A case's name followed by `lowest tenth` or `highest tenth`: the runs with
the lowest or highest predictions alone; by `picked`: only the run with the lowest predicted loss among a random half
of those, over and over.
method: `default`: what mixopt does, CV+ scaled by the errors usual at that prediction, and for `picked` the errors of
repeated holdouts; `cv+`: plain CV+; `split-conformal`: fitted to half of the runs, the other half's errors around it.
metric: `coverage80`: share of losses inside 80% intervals; `width`: of the intervals, in units of the held-out RMSE;
`optimism`: measured less predicted loss of the picked run in the same unit, as expected (`default`) and as it came out
(`measured`).
Targets: losses one by one, and random weighted means of them. Usage: python benchmarks/calibration.py [--quick]
[--data DIR]
"""

import argparse
import csv
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # before NumPy is loaded: the tables are small, threads only wait for each other

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))  # runs from a checkout that isn't installed

from mixopt.mixture.fit import FOLDS, HOLDOUTS, HOLDOUTS_OF_MANY, MANY_MIXTURES  # noqa: E402
from regressors import DEFAULT, PREDICTORS, cross_validate, cv_plus  # noqa: E402
from regressors.evaluation.cross_validation import assign_folds, near_groups, repeated_holdout  # noqa: E402
from regressors.evaluation.intervals import scaled_cv_plus  # noqa: E402
from regressors.evaluation.optimism import expected_optimism  # noqa: E402

LEVEL = 0.8
SUBSETS = {64: 10, 128: 6, 256: 4}  # of RegMix's runs, by their size
QUICK_LOSSES = 2  # of each table, spread over its columns
OLMIX_LOSSES = 16
BLENDS = 10  # random weighted means of the losses, targets too
CANDIDATES = 6  # random halves of the runs to pick from, a target


@dataclass(frozen=True)
class Part:
    """Runs to fit and runs to check the intervals on: shares and losses, (n_runs, ...)."""

    case: str
    W: np.ndarray
    Y: np.ndarray
    checks: dict[str, tuple[np.ndarray, np.ndarray]]  # case -> shares and losses
    seed: int


def columns(path: Path, prefix: str = "") -> np.ndarray:
    table = pd.read_csv(path)
    names = [name for name in table if name.startswith(prefix)] if prefix else list(table)
    return table[names].to_numpy(float)


def regmix(data: Path, quick: bool) -> Iterator[Part]:
    W, Y = (columns(data / "train_1m.csv", prefix) for prefix in ("w_", "loss_"))
    W_test, Y_test = (columns(data / "test_1m.csv", prefix) for prefix in ("w_", "loss_"))
    kept = spread(Y.shape[1], QUICK_LOSSES) if quick else np.arange(Y.shape[1])
    for size, subsets in SUBSETS.items():
        for seed in range(1 if quick else subsets):
            order = np.random.default_rng([size, seed]).permutation(len(W))
            fit, rest = order[:size], order[size:]
            checks = {
                f"regmix n={size}": (W[rest], Y[rest][:, kept]),
                f"regmix test n={size}": (W_test, Y_test[:, kept]),
            }
            yield Part(f"regmix n={size}", W[fit], Y[fit][:, kept], checks, seed)


def olmix(data: Path, quick: bool) -> Iterator[Part]:
    ratios, metrics = (pd.read_csv(data / f"{name}.csv") for name in ("ratios", "metrics"))
    joined, head = ratios.merge(metrics, on="run", suffixes=("", "_again")), ratios.columns
    named = {"run", "name", "index", "name_again", "index_again"}
    usable = [name for name in joined if name not in named and not name.startswith("Unnamed")]
    W = joined[[name for name in usable if name in head]].to_numpy(float)
    Y = joined[[name for name in usable if name not in head]].to_numpy(float)
    Y = Y[:, spread(Y.shape[1], QUICK_LOSSES if quick else OLMIX_LOSSES)]
    fold = assign_folds(near_groups(W), folds=5, seed=0)
    for k in range(1 if quick else 5):
        out = fold == k
        yield Part("olmix", W[~out], Y[~out], {"olmix": (W[out], Y[out])}, k)


def spread(there: int, wanted: int) -> np.ndarray:
    return np.unique(np.linspace(0, there - 1, wanted).astype(int))


def targets(Y: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Weights (n_losses,) of the targets: each loss by itself, and blends of a few in units of their spread."""
    blends = rng.dirichlet(np.full(Y.shape[1], 0.3), size=BLENDS) / Y.std(axis=0)
    return [*np.eye(Y.shape[1]), *blends]


Values = dict[tuple[str, str, str], list[float]]  # (case, method, metric) -> values


def judge(part: Part, values: Values) -> None:
    """Adds what one fit's intervals cover."""

    def make():
        return PREDICTORS[DEFAULT](part.seed)

    groups = near_groups(part.W)
    many = len(np.unique(groups)) > MANY_MIXTURES
    held_out = cross_validate(make, part.W, part.Y, groups, folds=5 if many else FOLDS, seed=part.seed)
    repeats = HOLDOUTS_OF_MANY if many else HOLDOUTS
    holdout = repeated_holdout(make, part.W, part.Y, groups, repeats=repeats, seed=part.seed)
    half = np.setdiff1d(np.arange(len(part.W)), holdout.rows[0])
    fitted, fitted_to_half = make().fit(part.W, part.Y), make().fit(part.W[half], part.Y[half])
    rng = np.random.default_rng([part.seed, 1])
    weights = targets(part.Y, rng)
    for case, (W, Y) in part.checks.items():
        at, full, by_half = held_out.at(W), fitted.predict(W), fitted_to_half.predict(W)
        for a in weights:
            residual = (part.Y - held_out.predicted) @ a
            error = float(np.sqrt(np.mean(residual**2)))
            kept_out = np.abs(part.Y[holdout.rows[0]] @ a - holdout.predicted[0] @ a)
            rank = min(int(np.ceil(LEVEL * (len(kept_out) + 1))), len(kept_out))
            width = np.sort(kept_out)[rank - 1]
            bounds = {
                "default": scaled_cv_plus(residual, held_out.predicted @ a, held_out.fold, at @ a, LEVEL),
                "cv+": cv_plus(residual, held_out.fold, at @ a, LEVEL),
                "split-conformal": (by_half @ a - width, by_half @ a + width),
            }
            order = np.argsort(full @ a)
            tenth = max(1, len(order) // 10)
            add(values, case, bounds, Y @ a, np.arange(len(order)), error)
            add(values, f"{case} lowest tenth", bounds, Y @ a, order[:tenth], error)
            add(values, f"{case} highest tenth", bounds, Y @ a, order[-tenth:], error)
            expected = expected_optimism(
                holdout.rows,
                [np.column_stack([one @ a, one]) for one in holdout.predicted],
                np.column_stack([part.Y @ a, part.Y]),
                residual,
            )
            assert expected is not None, "tables of these sizes have repeated holdouts"
            low, high = expected.bounds(LEVEL)
            bounds["default"] = (full @ a + low, full @ a + high)
            halves = (rng.permutation(len(order))[: len(order) // 2] for _ in range(CANDIDATES))
            picks = np.array([some[(full @ a)[some].argmin()] for some in halves])
            add(values, f"{case} picked", bounds, Y @ a, picks, error)
            values[f"{case} picked", "default", "optimism"].append(expected.loss / error)
            values[f"{case} picked", "measured", "optimism"].append(float(((Y - full) @ a)[picks].mean()) / error)


def add(values: Values, case: str, bounds: dict, measured: np.ndarray, rows: np.ndarray, error: float) -> None:
    """What each method's bounds cover of some rows, and how wide they are there."""
    for method, (low, high) in bounds.items():
        inside = (low[rows] <= measured[rows]) & (measured[rows] <= high[rows])
        values[case, method, "coverage80"].append(float(inside.mean()))
        values[case, method, "width"].append(float((high - low)[rows].mean()) / error)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one subset a case, and fewer losses")
    parser.add_argument(
        "--data", type=Path, default=REPO.parent / "shared" / "data", help="folder with regmix/ and olmix_dclm/"
    )
    options = parser.parse_args()
    needed = [f"regmix/{name}_1m.csv" for name in ("train", "test")]
    needed += [f"olmix_dclm/{name}.csv" for name in ("ratios", "metrics")]
    for name in needed:
        if not (options.data / name).exists():
            print(f"calibration: no {options.data / name}: give the tables' folder by --data", file=sys.stderr)
            return 2
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["benchmark", "case", "method", "metric", "value"])
    for parts in (
        regmix(options.data / "regmix", options.quick),
        olmix(options.data / "olmix_dclm", options.quick),
    ):
        values: Values = defaultdict(list)
        for part in parts:
            judge(part, values)
        for (case, method, metric), found in values.items():
            out.writerow(["calibration", case, method, metric, f"{np.mean(found):.3f}"])
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
