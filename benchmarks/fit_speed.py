"""How fast laws are fitted, and how the cost grows.

case chinchilla: the 240 runs read off Chinchilla's figure, sum of Huber(1e-3) on ln loss (Besiroglu et al. 2024,
arXiv:2404.10102). Beside mixopt's fit: scipy's L-BFGS-B with exact gradients from the published grid of 4,500 starts
(--quick: every 100th of them), and the PyPI package `chinchilla` where it is installed, from a grid of its own kind.
objective: of the best start. bootstrap4000_seconds: 4,000 refits to rows drawn again. times_slower: seconds over
mixopt's, measured in this run. Where the table isn't there, the case says so on standard error and is left out.

cases domains=, runs=, targets=, bootstraps=: seconds of the default predictor's fit on made runs (seed 0; otherwise 10
domains, 128 runs, 2 targets).

    python benchmarks/fit_speed.py [--quick] [--data DIR]

One thread: set before NumPy is loaded. Prints CSV: benchmark,case,method,metric,value
"""

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))  # runs from a checkout that isn't installed

from regressors import DEFAULT, PREDICTORS  # noqa: E402
from regressors.estimators.scaling import ScalingRegressor  # noqa: E402

KNEE = 1e-3  # of Huber's loss on ln loss
DRAWS = 4000
# ln A, ln B, ln E, alpha, beta as published: 6 * 6 * 5 * 5 * 5 = 4,500 starts
GRID = [(0, 5, 10, 15, 20, 25)] * 2 + [(-1, -0.5, 0, 0.5, 1)] + [(0, 0.5, 1, 1.5, 2)] * 2


def row(case: str, method: str, metric: str, value: float) -> None:
    print(f"fit_speed,{case},{method},{metric},{value:.6g}" if metric != "objective" else
          f"fit_speed,{case},{method},{metric},{value:.14f}", flush=True)  # fmt: skip


def timed(what: Callable[[], Any], *, best_of: int = 1) -> tuple[Any, float]:
    """The result, and the shortest of so many times: on a shared machine the others tell of its other users."""
    result, seconds = None, []
    for _ in range(best_of):
        start = time.perf_counter()
        result = what()
        seconds.append(time.perf_counter() - start)
    return result, min(seconds)


# The published case


def published_objective(x: np.ndarray, log_n: np.ndarray, log_d: np.ndarray, log_loss: np.ndarray) -> tuple[float, Any]:
    """Sum of Huber losses and its gradient at (ln A, ln B, ln E, alpha, beta)."""
    size, data, floor = np.exp(x[0] - x[3] * log_n), np.exp(x[1] - x[4] * log_d), np.exp(x[2])
    loss = size + data + floor
    residual = np.log(loss) - log_loss
    far = np.abs(residual) > KNEE
    total = np.where(far, KNEE * (np.abs(residual) - KNEE / 2), residual**2 / 2).sum()
    pull = np.clip(residual, -KNEE, KNEE) / loss
    return total, np.array(
        [pull @ size, pull @ data, floor * pull.sum(), -(pull * size) @ log_n, -(pull * data) @ log_d]
    )


def by_scipy(n: np.ndarray, d: np.ndarray, loss: np.ndarray, starts: list[tuple[float, ...]]) -> float:
    from scipy.optimize import minimize

    logs = (np.log(n), np.log(d), np.log(loss))
    with np.errstate(over="ignore", invalid="ignore"):  # some published starts overflow
        ends = [minimize(published_objective, x, args=logs, jac=True, method="L-BFGS-B",
                         options={"maxiter": 5000, "ftol": 1e-14, "gtol": 1e-10}).fun for x in starts]  # fmt: skip
    return float(np.nanmin(ends))


def by_chinchilla_package(n: np.ndarray, d: np.ndarray, loss: np.ndarray, starts: int) -> float | None:
    """The package's own fit; None where it isn't installed. starts: about so many."""
    try:
        from chinchilla import Chinchilla  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    side = max(2, round(starts ** (1 / 5)))
    grid = {"e": np.linspace(-1, 1, side), "a": np.linspace(0, 25, side), "b": np.linspace(0, 25, side),
            "alpha": np.linspace(0.1, 1, side), "beta": np.linspace(0.1, 1, side)}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        model = Chinchilla(folder, param_grid=grid, seed_ranges={"C": (1e15, 1e16), "N_to_D": (10, 100)}, log_level=40)
        for one in zip(n, d, loss, strict=True):
            model.database.append(**dict(zip(("N", "D", "loss"), map(float, one), strict=True)), C=6 * one[0] * one[1])
        model.fit(parallel=False)
        x = np.array([np.log(model.A), np.log(model.B), np.log(model.E), model.alpha, model.beta])
    return float(published_objective(x, np.log(n), np.log(d), np.log(loss))[0])


def chinchilla_case(data: Path, *, quick: bool) -> None:
    import pandas as pd

    path = data / "scaling" / "chinchilla_epoch.csv"
    if not path.exists():
        print(f"fit_speed: no {path}: case chinchilla left out; give the tables' folder by --data", file=sys.stderr)
        return
    table = pd.read_csv(path).query("kept240")
    n, d, loss = (table[c].to_numpy(float) for c in ("N", "D", "loss"))
    X = np.column_stack([n, d])
    ScalingRegressor().fit(X, loss)  # imports and first calls aren't the fit
    model, seconds = timed(lambda: ScalingRegressor().fit(X, loss), best_of=5)
    row("chinchilla", "default", "objective", model.objective_[0])
    row("chinchilla", "default", "seconds", seconds)
    row("chinchilla", "default", "agreeing", model.agreeing_[0])
    _, resampled = timed(lambda: model.bootstrap(DRAWS, random_state=0))
    row("chinchilla", "default", "bootstrap4000_seconds", resampled)
    starts = list(itertools.product(*GRID))[:: 100 if quick else 1]
    rivals: dict[str, Callable[[], float | None]] = {
        f"scipy {len(starts)} starts": lambda: by_scipy(n, d, loss, starts)
    }
    count = 32 if quick else 3125
    rivals[f"chinchilla package {count} starts"] = lambda: by_chinchilla_package(n, d, loss, count)
    for name, go in rivals.items():
        objective, took = timed(go)
        if objective is not None:
            row("chinchilla", name, "objective", objective)
            row("chinchilla", name, "seconds", took)
            row("chinchilla", name, "times_slower", took / seconds)
    scipy_bootstrap(model, n, d, loss, draws=20 if quick else 200, ours=resampled)


def scipy_bootstrap(model: ScalingRegressor, n: Any, d: Any, loss: Any, *, draws: int, ours: float) -> None:
    """One refit a draw from the optimum, as one would without a batch; seconds are scaled to 4,000 draws."""
    from scipy.optimize import minimize

    v = {name: float(value[0]) for name, value in model.values_.items()}
    x = np.array([np.log(v["A"]), np.log(v["B"]), np.log(v["E"]), v["alpha"], v["beta"]])
    rng = np.random.default_rng(0)
    picks = [rng.integers(0, len(n), len(n)) for _ in range(draws)]

    def all_draws() -> None:
        for rows in picks:
            minimize(published_objective, x, args=(np.log(n[rows]), np.log(d[rows]), np.log(loss[rows])), jac=True,
                     method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-14, "gtol": 1e-10})  # fmt: skip

    _, took = timed(all_draws)
    method = f"scipy one by one (scaled from {draws})"
    row("chinchilla", method, "bootstrap4000_seconds", took * DRAWS / draws)
    row("chinchilla", method, "bootstrap_times_slower", took * DRAWS / draws / ours)


# How cost grows


def made_runs(*, domains: int, runs: int, targets: int) -> tuple[np.ndarray, np.ndarray]:
    """Mixtures, and losses that fall with some domains' shares, noise .01."""
    rng = np.random.default_rng(0)
    W = rng.dirichlet(np.ones(domains), size=runs)
    useful = rng.lognormal(0, 1, (targets, domains))
    loss = 2 + 1 / ((W[:, None, :] + 0.01) ** 0.4 * useful).sum(axis=2)
    return W, loss + 0.01 * rng.standard_normal(loss.shape)


def growth(*, quick: bool) -> None:
    usual = {"domains": 10, "runs": 128, "targets": 2}
    sides = {"domains": (5, 20, 100), "runs": (64, 512, 10_000), "targets": (1, 10, 100)}
    if not quick:
        sides = {"domains": (5, 10, 20, 50, 100), "runs": (64, 256, 1024, 4096, 10_000), "targets": (1, 4, 13, 40, 100)}
    for name, values in sides.items():
        for value in values:
            W, Y = made_runs(**(usual | {name: value}))
            _, seconds = timed(lambda W=W, Y=Y: PREDICTORS[DEFAULT](0).fit(W, Y))
            row(f"{name}={value}", "default", "seconds", seconds)
    W, Y = made_runs(**usual)
    for draws in (0, 100, 1000) if quick else (0, 100, 1000, 4000):
        _, seconds = timed(lambda draws=draws: PREDICTORS[DEFAULT](0).fit(W, Y[:, 0]).bootstrap(draws, random_state=0))
        row(f"bootstraps={draws}", "default", "seconds", seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="every 100th of the published starts, fewer sizes")
    parser.add_argument(
        "--data", type=Path, default=REPO.parent / "shared" / "data", help="folder with scaling/chinchilla_epoch.csv"
    )
    options = parser.parse_args()
    print("benchmark,case,method,metric,value")
    chinchilla_case(options.data, quick=options.quick)
    growth(quick=options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
