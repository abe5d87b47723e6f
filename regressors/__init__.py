"""Regressors of loss on data mixture, size and tokens: laws as data, one fit for all of them, held-out evaluation.

Names are looked up when they are first used, so importing this package loads none of it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regressors.estimators.continual import ContinualRegressor
    from regressors.estimators.continual_ensemble import ContinualEnsembleRegressor
    from regressors.estimators.effective_data import EffectiveDataRegressor
    from regressors.estimators.ensemble import EnsembleRegressor, ResidualProcessRegressor
    from regressors.estimators.gaussian_process import GaussianProcessRegressor
    from regressors.estimators.joint import JOINT_LAWS, AtScale, JointRegressor
    from regressors.estimators.ladder import LadderRegressor
    from regressors.estimators.law import EpochLawRegressor, LawRegressor
    from regressors.estimators.pool_aware import AtPools, PoolRegressor
    from regressors.estimators.regmix import RegMixLightGBMRegressor, RegMixLinearRegressor
    from regressors.estimators.repetition import RepetitionRegressor
    from regressors.estimators.scaling import ScalingRegressor
    from regressors.estimators.scheffe import ScheffeRegressor
    from regressors.evaluation.critical_share import least_share
    from regressors.evaluation.cross_validation import HeldOut, cross_validate, near_groups
    from regressors.evaluation.intervals import cv_plus, scaled_cv_plus
    from regressors.evaluation.metrics import coverage, regret, rmse, spearman
    from regressors.evaluation.model_selection import choose, nested
    from regressors.evaluation.optimism import expected_optimism
    from regressors.law import Law, Param, Prior
    from regressors.laws import LAWS
    from regressors.laws.continual import CONTINUAL_LAWS, CRITICAL_SHARES
    from regressors.laws.presets import PRESETS, Preset
    from regressors.laws.repetition import REPETITION_LAWS
    from regressors.registry import (
        CUBIC,
        DEFAULT,
        EPOCH_AWARE,
        ESTIMATORS,
        PREDICTORS,
        SEES_EPOCHS,
        SEES_POOLS,
        SIMPLICITY,
        from_dict,
    )

# Public names and where they live: `__all__` follows from it, and a test holds the imports above against it.
HOMES = {
    "AtPools": "estimators.pool_aware",
    "AtScale": "estimators.joint",
    "CONTINUAL_LAWS": "laws.continual",
    "CRITICAL_SHARES": "laws.continual",
    "CUBIC": "registry",
    "ContinualEnsembleRegressor": "estimators.continual_ensemble",
    "ContinualRegressor": "estimators.continual",
    "DEFAULT": "registry",
    "EPOCH_AWARE": "registry",
    "ESTIMATORS": "registry",
    "EffectiveDataRegressor": "estimators.effective_data",
    "EnsembleRegressor": "estimators.ensemble",
    "EpochLawRegressor": "estimators.law",
    "GaussianProcessRegressor": "estimators.gaussian_process",
    "HeldOut": "evaluation.cross_validation",
    "JOINT_LAWS": "estimators.joint",
    "JointRegressor": "estimators.joint",
    "LAWS": "laws",
    "LadderRegressor": "estimators.ladder",
    "Law": "law",
    "LawRegressor": "estimators.law",
    "PREDICTORS": "registry",
    "PRESETS": "laws.presets",
    "Param": "law",
    "PoolRegressor": "estimators.pool_aware",
    "Preset": "laws.presets",
    "Prior": "law",
    "REPETITION_LAWS": "laws.repetition",
    "RegMixLightGBMRegressor": "estimators.regmix",
    "RegMixLinearRegressor": "estimators.regmix",
    "RepetitionRegressor": "estimators.repetition",
    "ResidualProcessRegressor": "estimators.ensemble",
    "SEES_EPOCHS": "registry",
    "SEES_POOLS": "registry",
    "SIMPLICITY": "registry",
    "ScalingRegressor": "estimators.scaling",
    "ScheffeRegressor": "estimators.scheffe",
    "choose": "evaluation.model_selection",
    "coverage": "evaluation.metrics",
    "cross_validate": "evaluation.cross_validation",
    "cv_plus": "evaluation.intervals",
    "expected_optimism": "evaluation.optimism",
    "from_dict": "registry",
    "least_share": "evaluation.critical_share",
    "near_groups": "evaluation.cross_validation",
    "nested": "evaluation.model_selection",
    "regret": "evaluation.metrics",
    "rmse": "evaluation.metrics",
    "scaled_cv_plus": "evaluation.intervals",
    "spearman": "evaluation.metrics",
}
RENAMED = {  # names of one version ago
    "ContinualBlend": "ContinualEnsembleRegressor",
    "Ensemble": "EnsembleRegressor",
    "GaussianProcess": "GaussianProcessRegressor",
    "RegMixLightGBM": "RegMixLightGBMRegressor",
    "RegMixLinear": "RegMixLinearRegressor",
    "ResidualProcess": "ResidualProcessRegressor",
    "Scheffe": "ScheffeRegressor",
}

__all__ = list(HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def current_name(name: str) -> str:
    """A public name as it is now, with a warning to the caller's caller where it is the one of a version ago."""
    if name not in RENAMED:
        return name
    from warnings import warn

    warn(f"{name} is called {RENAMED[name]} now", DeprecationWarning, stacklevel=3)
    return RENAMED[name]


def __getattr__(name: str) -> Any:
    name = current_name(name)
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
