"""Writes mixopt/plan/published_fits.json: what `mixopt plan` knows of published runs without having them.

The forms of repetition fitted to the 182 runs of arXiv:2305.16264, with refits to runs drawn again, and such refits of
Chinchilla's law to the 240 runs of arXiv:2404.10102. The tables (CSV with columns N, D, loss; U; kept240) are not part
of this repository. To be run again when a form or its fit changes.
Usage: python benchmarks/plan_fits.py datablations_182.csv chinchilla_epoch.csv
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))  # runs from a checkout that isn't installed

from mixopt.plan.presets import REFITS, STORED, averaged  # noqa: E402
from mixopt.runs.scaling import Runs, read_plan_runs  # noqa: E402
from regressors.estimators.repetition import RepetitionRegressor  # noqa: E402
from regressors.estimators.scaling import ScalingRegressor  # noqa: E402
from regressors.laws.overfitting import FORMS  # noqa: E402
from regressors.laws.scaling import CHINCHILLA, chinchilla_published  # noqa: E402

DIGITS = 7


def numbers_of(runs: Runs, seed: int = 0) -> dict[str, Any]:
    """The forms fitted to runs, JSON-able: weights, values in absolute counts, and refits to runs drawn again."""
    fit = RepetitionRegressor(random_state=seed).fit(runs.X, runs.loss)
    used = {name: weight for name, weight in fit.forms_.items() if weight > 0}
    refits = []
    for refit in fit.refits(REFITS, random_state=seed):
        published = FORMS[refit.form].published
        values = published(refit.values, refit.units) if published else refit.values
        refits.append({"form": refit.form, "values": {key: rounded(value[0]) for key, value in values.items()}})
    record = {
        "runs": len(runs.loss),
        "weights": {name: rounded(weight) for name, weight in used.items()},
        "values": {name: {key: rounded(value) for key, value in fit.values_[name].items()} for name in used},
        "refits": refits,
        "within": runs.within(),
    }
    at = (1e9, 8e10, 1e10)
    return record | {"check": {"at": at, "loss": float(averaged(record)(*at))}}


def chinchilla_refits(runs: Runs, seed: int = 0) -> list[dict[str, float]]:
    """Chinchilla's law refitted as published to runs drawn again, values in absolute counts."""
    fit = ScalingRegressor(CHINCHILLA, random_state=seed).fit(runs.X[:, :2], runs.loss)
    drawn = {name: value[0] for name, value in fit.bootstrap(REFITS, random_state=seed).items()}
    values = chinchilla_published(drawn, fit.units_)
    return [{name: rounded(value[k]) for name, value in values.items()} for k in range(REFITS)]


def rounded(value: Any) -> float:
    return float(f"{float(value):.{DIGITS}g}")


if __name__ == "__main__":
    repeated, once = map(Path, sys.argv[1:])
    numbers = {
        "repetition": numbers_of(read_plan_runs(repeated)),
        "chinchilla": chinchilla_refits(read_plan_runs(once, where=["kept240=True"])),
    }
    path = REPO / "mixopt" / "plan" / STORED
    path.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    print(path, numbers["repetition"]["weights"], numbers["repetition"]["check"])
