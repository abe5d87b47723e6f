"""Continued pretraining: later checkpoints and ratios that weren't trained, predicted from published runs.

Prints CSV:

    benchmark,case,method,metric,value

Cases on Pythia-70M continued on Pile and Python at 5 ratios (python: the domain loss, against the domain's share; pile:
the general loss, against the general share), starting loss included: `later`: fitted to steps up to 5,000, asked for
6,000 to 10,000; `leave-one-ratio-out`: each ratio predicted from the other four. `critical share`: the least Pile share
that leaves the Pile loss after 10,000 steps where it began, fitted to all rows; `critical share later`: to steps up to
5,000. `chemistry ratio`: the largest chemistry share that raises the general loss by 3 % (1.8B parameters, 10B tokens;
published: .924). `cmr 0.25`: the domain loss of 4 sizes at a share of .25 from shares of 1/3 and more.

mae: mean absolute error, nats/token, over the rows asked for; bias: mean error, above 0 where losses are predicted too
high; coverage, width: of 80 % intervals from draws; share, low, high: a share and its 80 % interval; error: its
distance from the measured crossing. Methods: every law, the same with what it misses carried on, `persistence` (last
loss seen at the nearest ratio), `interpolation` (held after the last checkpoint), `trend` (goes on as a line of ln
tokens), `default`: what mixopt uses by itself; `measured`: the crossing between the two nearest ratios' last
checkpoints; `published`: the source's own prediction.

Usage: python benchmarks/continual.py [--quick] [--data DIR]. --quick draws fewer fits.
"""

import argparse
import csv
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # before NumPy is loaded: the tables are small, threads only wait for each other

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))  # runs from a checkout that isn't installed

from regressors.estimators.continual import ContinualRegressor  # noqa: E402
from regressors.estimators.continual_base import BaseContinualRegressor  # noqa: E402
from regressors.estimators.continual_ensemble import ContinualEnsembleRegressor  # noqa: E402
from regressors.evaluation.critical_share import least_share  # noqa: E402
from regressors.evaluation.metrics import coverage  # noqa: E402
from regressors.laws.continual import CRITICAL_SHARES  # noqa: E402

SEED = 0
LEVEL = 0.8
CUT, STEPS = 5_000, 10_000
TOLERANCE = 0.03  # of the chemistry table's rule
Row = tuple[str, str, str, float]

METHODS: dict[str, Callable[[], BaseContinualRegressor]] = {
    "d-cpt": lambda: ContinualRegressor("d-cpt"),
    "d-cpt carried": lambda: ContinualRegressor("d-cpt", carry=True),
    "shift": lambda: ContinualRegressor("shift"),
    "shift carried": lambda: ContinualRegressor("shift", carry=True),
    "forgetting": lambda: ContinualRegressor("forgetting"),
    "persistence": lambda: ContinualRegressor("persistence"),
    "interpolation": lambda: ContinualRegressor("interpolation"),
    "trend": lambda: ContinualRegressor("trend"),
    "default": lambda: ContinualEnsembleRegressor(random_state=SEED),
}


def pythia(data: Path, loss: str, share: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X, y and steps of one loss; the row of step 0 is the start."""
    table = pd.read_csv(data / "pythia70m_pile_python.csv")
    X = table[["N_nonemb", "tokens", share]].to_numpy(float)
    return X, table[loss].to_numpy(float), table["step"].to_numpy()


def methods(name: str) -> Iterator[tuple[str, Callable[[], BaseContinualRegressor]]]:
    """Those that a loss has a use for: the forgetting law says what a general loss does."""
    return ((method, make) for method, make in METHODS.items() if method != "forgetting" or name == "pile")


def errors(case: str, method: str, predicted: np.ndarray, y: np.ndarray) -> Iterator[Row]:
    yield case, method, "mae", float(np.abs(predicted - y).mean())
    yield case, method, "bias", float((predicted - y).mean())


def intervals(case: str, method: str, draws: np.ndarray, y: np.ndarray) -> Iterator[Row]:
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    yield case, method, "coverage", coverage(y, low, high)
    yield case, method, "width", float((high - low).mean())


def later(name: str, X: np.ndarray, y: np.ndarray, step: np.ndarray, draws: int) -> Iterator[Row]:
    early = step <= CUT
    for method, make in methods(name):
        fitted = make().fit(X[early], y[early])
        yield from errors(f"{name} later", method, fitted.predict(X[~early]), y[~early])
        if method == "default":
            drawn = fitted.draws(X[~early], draws, random_state=SEED)
            yield from intervals(f"{name} later", method, drawn, y[~early])


def one_ratio_out(name: str, X: np.ndarray, y: np.ndarray, step: np.ndarray, draws: int) -> Iterator[Row]:
    case = f"{name} leave-one-ratio-out"
    ratios = [(X[:, 2] == ratio) & (step > 0) for ratio in np.unique(X[step > 0, 2])]
    measured = np.concatenate([y[out] for out in ratios])
    for method, make in methods(name):
        fits = [make().fit(X[~out], y[~out]) for out in ratios]
        predicted = [fitted.predict(X[out]) for fitted, out in zip(fits, ratios, strict=True)]
        yield from errors(case, method, np.concatenate(predicted), measured)
        if method == "default":
            drawn = [fitted.draws(X[out], draws, random_state=SEED) for fitted, out in zip(fits, ratios, strict=True)]
            yield from intervals(case, method, np.concatenate(drawn, axis=1), measured)


def measured_crossing(X: np.ndarray, y: np.ndarray, step: np.ndarray) -> float:
    """Where the last checkpoints' general loss, linear between ratios, crosses the starting loss."""
    last = np.flatnonzero(step == STEPS)
    last = last[X[last, 2].argsort()]
    over = y[last] - float(y[step == 0].mean())
    k = int(np.flatnonzero(over > 0).max())
    share = X[last, 2]
    return float(share[k] + (share[k + 1] - share[k]) * over[k] / (over[k] - over[k + 1]))


def critical(X: np.ndarray, y: np.ndarray, step: np.ndarray, draws: int) -> Iterator[Row]:
    truth = measured_crossing(X, y, step)
    yield "critical share", "measured", "share", truth
    tokens = float(X[step == STEPS, 1].max())
    for case, rows in (("critical share", step <= STEPS), ("critical share later", step <= CUT)):
        for method, make in methods("pile"):
            fitted = make().fit(X[rows], y[rows])
            found = least_share(fitted, params=X[0, 0], tokens=tokens, draws=draws, level=LEVEL, random_state=SEED)
            for metric in ("share", "low", "high"):
                yield case, method, metric, getattr(found, metric)
            yield case, method, "error", abs(found.share - truth)


def chemistry(data: Path, draws: int) -> Iterator[Row]:
    table = pd.read_csv(data / "dcpt_usage1_chemistry_1.8B_10B.csv")
    share = 1 - table["r_d"].to_numpy(float)
    X = np.column_stack([np.full(len(share), 1.8e9), np.full(len(share), 1e10), share])
    X = np.vstack([X, [1.8e9, 0.0, np.nan]])
    y = np.append(table["L_g"].to_numpy(float), float(table["L_g0"].iloc[0]))
    for method, make in METHODS.items():
        found = least_share(
            make().fit(X, y),
            params=1.8e9,
            tokens=1e10,
            tolerance=TOLERANCE,
            draws=draws,
            level=LEVEL,
            random_state=SEED,
        )
        for metric, value in (("share", found.share), ("low", found.high), ("high", found.low)):
            yield "chemistry ratio", method, metric, 1 - value


def cmr(data: Path) -> Iterator[Row]:
    table = pd.read_csv(data / "cmr_table2.csv")
    size = np.array([CRITICAL_SHARES[name].params for name in table["size"]])
    X = np.column_stack([size, np.ones(len(table)), table["R_domain"].to_numpy(float)])  # tokens: as good as any
    y, out = table["domain_loss"].to_numpy(float), table["R_domain"].to_numpy() == 0.25
    yield from errors("cmr 0.25", "published", table.loc[out, "paper_pred_at_0.25"].to_numpy(float), y[out])
    for method, make in METHODS.items():
        if method.split()[0] not in ("shift", "forgetting"):  # the table has no starting loss
            yield from errors("cmr 0.25", method, make().fit(X[~out], y[~out]).predict(X[out]), y[out])


def rows(data: Path, draws: int) -> Iterator[Row]:
    for name, loss, share in (("python", "loss_python", "w_Python"), ("pile", "loss_full", "w_Pile")):
        X, y, step = pythia(data, loss, share)
        yield from later(name, X, y, step, draws)
        yield from one_ratio_out(name, X, y, step, draws)
        if name == "pile":
            yield from critical(X, y, step, draws)
    yield from chemistry(data, draws)
    yield from cmr(data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer draws")
    parser.add_argument(
        "--data", type=Path, default=REPO.parent / "shared" / "data", help="folder with continual/ in it"
    )
    options = parser.parse_args()
    folder = options.data / "continual"
    if not folder.is_dir():
        print(f"continual: no {folder}: give the tables' folder by --data", file=sys.stderr)
        return 2
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["benchmark", "case", "method", "metric", "value"])
    for case, method, metric, value in rows(folder, 100 if options.quick else 1000):
        out.writerow(["continual", case, method, metric, f"{value:.5f}"])
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
