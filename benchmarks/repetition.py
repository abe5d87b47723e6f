"""Loss where text is repeated: every form beside the published constants and Chinchilla's law, on 182 published runs.

Prints CSV:

    benchmark,case,method,metric,value

case: what is predicted. `182 in-sample`: what was fitted. `182 5-fold`: a fifth of the configurations (parameters,
tokens, unique tokens) at a time from the others, all seeds together. The others are regions left out, predicted from
the rest: `above 60 epochs`; `large N`, more than 1B parameters; `large N/U`, more than 1 parameter a unique token;
`rising`, runs whose loss lies above that of a shorter run of the same size on the same text. rmse_log: root mean
squared error of ln loss; r2: of the loss itself; objective: sum of Huber losses of ln loss, knee .001, over what is
predicted (in-sample: what published fits minimise). Methods: `published`, the data-constrained law with the published
constants; `published; both R* refitted`, those two alone fitted, the other constants frozen; `two stages`, all of it
by ourselves: single-epoch runs first; a law's name: all of it fitted, least sum of those Huber losses, no priors; a
name with `(weak priors)`: one of the forms of the default by itself; `default`: what mixopt chooses by itself, an
average of those, with their weights (metric weight) and the share of points beyond the fitted runs (outside).
Cases `R*_D 80%` and `R*_D 95%`: low and high, the ends of its profile interval; inf: no end.

Usage: python benchmarks/repetition.py [--quick] [--data DIR]. --quick: one seed of folds in place of five, 3 starts
in place of 12, and 80% intervals alone.
"""

import argparse
import csv
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # before NumPy is loaded: the table is small, threads only wait for each other

import numpy as np  # noqa: E402

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))  # runs from a checkout that isn't installed

from regressors.estimators.repetition import RepetitionRegressor  # noqa: E402
from regressors.estimators.scaling import ScalingRegressor  # noqa: E402
from regressors.evaluation.cross_validation import configurations  # noqa: E402
from regressors.laws.overfitting import FORMS  # noqa: E402
from regressors.laws.presets import PRESETS  # noqa: E402
from regressors.laws.repetition import REPETITION_LAWS, tied  # noqa: E402
from regressors.laws.scaling import CHINCHILLA  # noqa: E402

KNEE = 1e-3  # of Huber's loss on ln loss
FOLDS = 5
SEEDS = (0, 1, 2, 3, 4)
LEVELS = (0.8, 0.95)

PUBLISHED = PRESETS["data-constrained"]
FROZEN = {name: value for name, value in PUBLISHED.values.items() if not name.startswith("r_star")}
BOTH = "published; both R* refitted"

Predict = Callable[[np.ndarray], np.ndarray]
Fitter = Callable[[np.ndarray, np.ndarray], Predict]


def row(case: str, method: str, metric: str, value: float) -> None:
    print(f"repetition,{case},{method},{metric},{value:.7g}", flush=True)


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Parameters, tokens and unique tokens (n_runs, 3), and losses (n_runs,)."""
    with path.open(newline="") as file:
        rows = [[float(r[name]) for name in ("N", "D", "U", "loss")] for r in csv.DictReader(file)]
    table = np.array(rows)
    return table[:, :3], table[:, 3]


def published(X: np.ndarray, y: np.ndarray) -> Predict:
    return lambda Z: PUBLISHED.loss(*Z.T)


def two_stages(X: np.ndarray, y: np.ndarray, starts: int) -> ScalingRegressor:
    """The published procedure from the runs alone: alpha = beta, A, B and E from single epochs, then both R*."""
    fresh = X[:, 1] <= X[:, 2]
    first = ScalingRegressor(tied(CHINCHILLA), n_starts=starts).fit(X[fresh, :2], y[fresh])
    frozen = {name: float(value[0]) for name, value in first.values_.items()}
    return ScalingRegressor("data-constrained-tied", frozen=frozen, n_starts=starts).fit(X, y)


def chinchilla(X: np.ndarray, y: np.ndarray, starts: int) -> Predict:
    model = ScalingRegressor("chinchilla", n_starts=starts).fit(X[:, :2], y)
    return lambda Z: model.predict(Z[:, :2])


def law(name: str, starts: int, frozen: dict[str, float] | None = None) -> Fitter:
    return lambda X, y: ScalingRegressor(name, frozen=frozen, n_starts=starts).fit(X, y).predict


def forms(*names: str) -> Fitter:
    return lambda X, y: RepetitionRegressor(names).fit(X, y).predict


def methods(starts: int) -> dict[str, Fitter]:
    return {
        "published": published,
        BOTH: law("data-constrained", starts, FROZEN),
        "two stages": lambda X, y: two_stages(X, y, starts).predict,
        "chinchilla": lambda X, y: chinchilla(X, y, starts),
        **{name: law(name, starts) for name in REPETITION_LAWS},
        **{f"{name} (weak priors)": forms(name) for name in FORMS},
        "default": forms(*FORMS),
    }


def rising(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Runs (n_runs,) bool that a shorter one of the same size and text has beaten by more than .005 nats."""
    size, tokens, unique = X.T
    same = (np.abs(size[:, None] / size - 1) < 0.01) & (unique[:, None] == unique) & (tokens[:, None] > tokens)
    return (same & (y[:, None] > y + 0.005)).any(axis=1)


def regions(X: np.ndarray, y: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    params, tokens, unique = X.T
    yield "above 60 epochs", tokens > 60 * unique
    yield "large N", params > 1e9
    yield "large N/U", params > unique
    yield "rising", rising(X, y)


def judge(case: str, method: str, predicted: np.ndarray, measured: np.ndarray) -> None:
    off = np.log(predicted / measured)
    row(case, method, "rmse_log", np.sqrt(np.mean(off**2)))
    row(case, method, "r2", 1 - np.sum((predicted - measured) ** 2) / np.sum((measured - measured.mean()) ** 2))
    size = np.abs(off)
    row(case, method, "objective", np.where(size < KNEE, size**2 / 2, KNEE * (size - KNEE / 2)).sum())


def in_folds(fit: Fitter, X: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Every run predicted from other configurations' runs."""
    group = configurations(X)
    fold = (np.random.default_rng(seed).permutation(group.max() + 1) % FOLDS)[group]
    predicted = np.empty(len(y))
    for k in range(FOLDS):
        predicted[fold == k] = fit(X[fold != k], y[fold != k])(X[fold == k])
    return predicted


def intervals(X: np.ndarray, y: np.ndarray, starts: int, levels: tuple[float, ...]) -> None:
    """How sure the runs are of R*_D: by the published procedure, by ourselves, and with everything refitted."""
    laws = ("data-constrained", "data-decay", "overfit-decay")
    models = {
        BOTH: ScalingRegressor("data-constrained", frozen=FROZEN, n_starts=starts).fit(X, y),
        "two stages": two_stages(X, y, starts),
        **{name: ScalingRegressor(name, n_starts=starts).fit(X, y) for name in laws},
    }
    for method, model in models.items():
        for level in levels:
            found = model.profile("r_star_d", level=level)
            row(f"R*_D {level:.0%}", method, "low", float(found.low[0]))
            row(f"R*_D {level:.0%}", method, "high", float(found.high[0]))
    average = RepetitionRegressor().fit(X, y)
    for level in levels:
        for name, found in average.profiles("r_star_d", level=level).items():
            row(f"R*_D {level:.0%}", f"{name} (weak priors)", "low", float(found.low[0]))
            row(f"R*_D {level:.0%}", f"{name} (weak priors)", "high", float(found.high[0]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed of folds, fewer starts, 80%% intervals alone")
    parser.add_argument(
        "--data", type=Path, default=REPO.parent / "shared" / "data", help="folder with repetition/datablations_182.csv"
    )
    options = parser.parse_args()
    path = options.data / "repetition" / "datablations_182.csv"
    if not path.exists():
        print(f"repetition: no {path}: give the tables' folder by --data", file=sys.stderr)
        return 2
    X, y = read(path)
    seeds, starts, levels = (SEEDS[:1], 3, LEVELS[:1]) if options.quick else (SEEDS, 12, LEVELS)
    print("benchmark,case,method,metric,value")
    for method, fit in methods(starts).items():
        judge("182 in-sample", method, fit(X, y)(X), y)
        folded = np.concatenate([in_folds(fit, X, y, seed) for seed in seeds])
        judge("182 5-fold", method, folded, np.tile(y, len(seeds)))
        for case, rows in regions(X, y):
            judge(case, method, fit(X[~rows], y[~rows])(X[rows]), y[rows])
    for case, rows in regions(X, y):
        model = RepetitionRegressor().fit(X[~rows], y[~rows])
        row(case, "default", "outside", model.outside(X[rows]).mean())
        for name, weight in model.forms_.items():
            row(case, f"{name} (weak priors)", "weight", weight)
    intervals(X, y, starts, levels)
    return 0


if __name__ == "__main__":
    sys.exit(main())
