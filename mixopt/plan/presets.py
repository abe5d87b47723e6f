"""Scaling laws with published constants, and laws fitted to published runs, as loss surfaces with their evidence."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from mixopt.errors import MixoptError
from mixopt.plan.surface import Surface
from mixopt.serialization import Json
from regressors.laws.overfitting import FORMS
from regressors.laws.presets import PRESETS, Preset
from regressors.laws.repetition import REPETITION_LAWS

LEADING = "data-constrained"
AVERAGE = "average"
FITTED_TO = "fitted to the runs of arXiv:2305.16264"
Within = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Evidence:
    """What is known of a preset beside its values, as in `Surface`; members: values instead of losses."""

    within: Within
    members: tuple[Mapping[str, float], ...] = ()
    allowed: str = ""
    level: float | None = None
    made: str = "published"


# R*_D with the R*_N that fits best beside it, all other constants frozen as published: the least sum of Huber losses
# (knee .001) of ln loss on the 182 published runs, .0158053 at R*_D = 100, rises by .0001045 to the left end and by
# .000089 to the right one. In between it is flatter than the runs' own scatter.
R_STAR_PROFILE = (
    (10.0, 7.556), (12.0, 6.385), (20.0, 3.208), (30.0, 2.740), (60.0, 2.112), (100.0, 1.684), (200.0, 1.393),
    (500.0, 1.031), (1700.0, 0.802),
)  # fmt: skip
DATABLATIONS: Within = {"params": (7.1e6, 8.67e9), "tokens": (1e8, 9e11), "epochs": (1.0, 9000.0)}
CHINCHILLA_RUNS: Within = {"params": (5.7e7, 1.62e10), "tokens": (8.2e8, 3.2e11), "epochs": (1.0, 1.0)}

EVIDENCE = {
    "data-constrained": Evidence(
        DATABLATIONS,
        tuple({"r_star_d": data, "r_star_n": size} for data, size in R_STAR_PROFILE),
        "R*_D from 10 to 1700, which its own runs do not narrow",
    ),
    "chinchilla": Evidence(CHINCHILLA_RUNS, allowed="refits to bootstrap resamples of its runs", level=0.8),
    "chinchilla-2022": Evidence(CHINCHILLA_RUNS),
}

# Other forms, with every constant free: the least sum of Huber losses (knee .001) of ln loss on the same 182 runs, as
# ScalingRegressor finds it. The published constants score .0158259 there.
REFITTED = {
    "data-decay": {  # .0065659; the data-constrained form itself, refitted, becomes this one
        "E": 1.83142, "A": 54.07269, "B": 22720.19, "alpha": 0.2123532, "beta": 0.4662891, "r_star_d": 25.16788,
    },
    "overfit-penalty": {  # .0051278
        "E": 2.041339, "A": 506.3114, "B": 21682.21, "alpha": 0.3381332, "beta": 0.4686035, "P": 0.05591257,
        "delta": 0.3489566, "kappa": 0.7065392,
    },
    "bounded-penalty": {  # .0050915
        "E": 2.105399, "G": 29.71401, "A": 35.07247, "B": 2379.041, "alpha": 0.3760122, "beta": 0.5215816,
        "P": 0.00196369, "delta": 0.3541396, "kappa": 0.7523329,
    },
    "bryant-liu": {  # .0064324
        "E": 1.858042, "G": 41.71204, "A": 8.065095, "B": 4808.995, "C": 0.03870274, "alpha": 0.2998305,
        "beta": 0.584466, "gamma": 0.3470999, "delta": 0.4267338,
    },
}  # fmt: skip
REFIT = Evidence(DATABLATIONS, made="refitted")


def presets() -> dict[str, Preset]:
    """Every form that needs no runs, by name; those of which only the form is published after the others."""
    found = dict(PRESETS)
    for name in (name for name in REFITTED if name not in PRESETS):
        law = REPETITION_LAWS[name]
        note = f"form: {law.source}; constants: fitted by mixopt to the 182 runs of arXiv:2305.16264"
        found[name] = Preset(name, law, REFITTED[name], source=FITTED_TO, note=note)
    return found


def surface_of(preset: Preset) -> Surface:
    """A preset as a surface, with the members that its evidence allows."""
    known = EVIDENCE.get(preset.name, REFIT if preset.name in REFITTED else Evidence({}))
    others = stored()["chinchilla"] if preset.name == "chinchilla" else known.members
    members = tuple(replace(preset, values=dict(preset.values) | dict(values)).loss for values in others)
    rest = {name: value for name, value in vars(known).items() if name != "members"}
    return Surface(preset.name, preset.loss, preset.source, preset.note, members, **rest)


def published(leading: str = LEADING) -> list[Surface]:
    """Every such form as a surface, the leading one first. Raises MixoptError when there is none of that name."""
    there = presets()
    names = [*there, AVERAGE]
    if leading not in names:
        raise MixoptError(f"--preset {leading}: there is no such preset: choose from {', '.join(names)}")
    made = {name: surface_of(preset) for name, preset in there.items()}
    made[AVERAGE] = average()
    return [made[name] for name in (leading, *(name for name in names if name != leading))]


# Fits to published runs as numbers, which `benchmarks/plan_fits.py` makes, and surfaces made of them without a fit

STORED = "published_fits.json"
REFITS = 24  # kept: enough for the ends of an 80% interval, few enough to answer at once


def averaged(record: Json) -> Callable[..., Any]:
    """The loss that the forms predict together: the mean of its logs by weight."""
    losses = [(weight, form(name, record["values"][name])) for name, weight in record["weights"].items()]
    total = sum(weight for weight, _ in losses)

    def loss(params: Any, tokens: Any, unique: Any) -> Any:
        return np.exp(sum(weight / total * np.log(one(params, tokens, unique)) for weight, one in losses))

    return loss


def form(name: str, values: Mapping[str, float]) -> Callable[..., Any]:
    return Preset(name, FORMS[name], values, source="", note="").loss


@cache
def stored() -> Json:
    return json.loads(files("mixopt.plan").joinpath(STORED).read_text(encoding="utf-8"))


def average() -> Surface:
    """The stored average as a surface; its members are the refits."""
    record = stored()["repetition"]
    parts = ", ".join(f"{part} {weight:.0%}" for part, weight in record["weights"].items())
    refits = record["refits"]
    return Surface(
        AVERAGE,
        averaged(record),
        FITTED_TO,
        note=f"{parts}, by their held-out errors; fitted by mixopt to {record['runs']} runs",
        members=tuple(form(refit["form"], refit["values"]) for refit in refits),
        allowed=f"{len(refits)} refits to bootstrap resamples",
        level=0.8,
        within={key: (ends[0], ends[1]) for key, ends in record["within"].items()},
        made="refitted",
    )
