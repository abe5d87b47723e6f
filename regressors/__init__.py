"""Predictors of loss from data mixture: laws as data, one fit for all of them, scikit-learn estimators, metrics.

Importing this package imports none of it: names below are looked up when they are first used.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regressors.estimators import ESTIMATORS, LawRegressor, from_dict
    from regressors.interval import cv_plus
    from regressors.judge import HeldOut, cross_validate
    from regressors.law import Law, Param, Prior
    from regressors.laws import LAWS
    from regressors.metrics import regret, rmse, spearman
    from regressors.regmix import RegMixLightGBM, RegMixLinear

_HOME = {
    "ESTIMATORS": "estimators",
    "LawRegressor": "estimators",
    "RegMixLightGBM": "regmix",
    "RegMixLinear": "regmix",
    "from_dict": "estimators",
    "HeldOut": "judge",
    "cross_validate": "judge",
    "cv_plus": "interval",
    "Law": "law",
    "Param": "law",
    "Prior": "law",
    "LAWS": "laws",
    "regret": "metrics",
    "rmse": "metrics",
    "spearman": "metrics",
}

__all__ = [
    "DEFAULT",
    "EPOCH_AWARE",
    "ESTIMATORS",
    "LAWS",
    "PREDICTORS",
    "HeldOut",
    "Law",
    "LawRegressor",
    "Param",
    "Prior",
    "RegMixLightGBM",
    "RegMixLinear",
    "cross_validate",
    "cv_plus",
    "from_dict",
    "regret",
    "rmse",
    "spearman",
]


def _effective_data(seed: int) -> Any:
    from regressors.estimators import LawRegressor

    return LawRegressor("effective-data", random_state=seed)


def _exponential(seed: int) -> Any:
    from regressors.estimators import LawRegressor

    return LawRegressor("exponential-mixing", random_state=seed)


def _lightgbm(seed: int) -> Any:
    from regressors.regmix import RegMixLightGBM

    return RegMixLightGBM(random_state=seed)


def _linear(seed: int) -> Any:  # there's nothing random in least squares
    from regressors.regmix import RegMixLinear

    return RegMixLinear()


DEFAULT = "effective-data"  # what is used when nobody chooses
EPOCH_AWARE = "effective-data-epochs"  # with its `unique` set, sees effective tokens; without, it is the default

# name -> factory(seed) of an unfitted estimator
PREDICTORS: dict[str, Callable[[int], Any]] = {
    "effective-data": _effective_data,
    EPOCH_AWARE: _effective_data,
    "exponential-mixing": _exponential,
    "regmix-lightgbm": _lightgbm,
    "regmix-linear": _linear,
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
