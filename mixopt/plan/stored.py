"""Fits to published runs as numbers: what `published_fits.json` holds, and surfaces made of it without a fit."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.plan.surface import Surface
from regressors.laws.overfitting import FORMS
from regressors.presets import Preset

if TYPE_CHECKING:
    from mixopt.plan.runs import Runs

STORED = "published_fits.json"
REFITS = 24  # kept: enough for the ends of an 80% interval, few enough to answer at once
DIGITS = 7


def numbers_of(runs: "Runs", seed: int = 0) -> dict[str, Any]:
    """The forms fitted to runs, JSON-able: weights, values in absolute counts, and refits to runs drawn again.

    `benchmarks/plan_fits.py` writes them to the file that is part of this package.
    """
    from regressors.datalaws import RepetitionRegressor

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


def chinchilla_refits(runs: "Runs", seed: int = 0) -> list[dict[str, float]]:
    """Chinchilla's law refitted as published to runs drawn again, values in absolute counts."""
    from regressors.laws.scaling import CHINCHILLA, chinchilla_published
    from regressors.scaling import ScalingRegressor

    fit = ScalingRegressor(CHINCHILLA, random_state=seed).fit(runs.X[:, :2], runs.loss)
    drawn = {name: value[0] for name, value in fit.bootstrap(REFITS, random_state=seed).items()}
    values = chinchilla_published(drawn, fit.units_)
    return [{name: rounded(value[k]) for name, value in values.items()} for k in range(REFITS)]


def rounded(value: Any) -> float:
    return float(f"{float(value):.{DIGITS}g}")


def averaged(record: Mapping[str, Any]) -> Callable[..., Any]:
    """The loss that the forms predict together: the mean of its logs by weight."""
    losses = [(weight, form(name, record["values"][name])) for name, weight in record["weights"].items()]
    total = sum(weight for weight, _ in losses)

    def loss(params: Any, tokens: Any, unique: Any) -> Any:
        return np.exp(sum(weight / total * np.log(one(params, tokens, unique)) for weight, one in losses))

    return loss


def form(name: str, values: Mapping[str, float]) -> Callable[..., Any]:
    return Preset(name, FORMS[name], values, source="", note="").loss


@cache
def stored() -> Mapping[str, Any]:
    return json.loads(files("mixopt.plan").joinpath(STORED).read_text(encoding="utf-8"))


def average(name: str, source: str) -> Surface:
    """The stored average as a surface; its members are the refits."""
    record = stored()["repetition"]
    parts = ", ".join(f"{part} {weight:.0%}" for part, weight in record["weights"].items())
    refits: Sequence[Mapping[str, Any]] = record["refits"]
    return Surface(
        name,
        averaged(record),
        source,
        note=f"{parts}, by their errors on runs left out; fitted by mixopt to {record['runs']} runs",
        members=tuple(form(refit["form"], refit["values"]) for refit in refits),
        allowed=f"{len(refits)} refits to runs drawn again",
        level=0.8,
        within={key: (ends[0], ends[1]) for key, ends in record["within"].items()},
        made="refitted",
    )
