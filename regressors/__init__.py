"""Predictors of loss from data mixture: laws as data, one fit for all of them, scikit-learn estimators, metrics.

Importing this package imports none of it: names below are looked up when they are first used.
"""

from typing import TYPE_CHECKING, Any

from regressors.registry import CUBIC, DEFAULT, EPOCH_AWARE, PREDICTORS, SEES_EPOCHS, SEES_POOLS, SIMPLICITY

if TYPE_CHECKING:
    from regressors.estimators.continual import ContinualRegressor
    from regressors.estimators.continual_ensemble import ContinualBlend
    from regressors.estimators.effective_data import EffectiveDataRegressor
    from regressors.estimators.ensemble import Ensemble, ResidualProcess
    from regressors.estimators.gaussian_process import GaussianProcess
    from regressors.estimators.joint import JOINT_LAWS, AtScale, JointRegressor
    from regressors.estimators.law import EpochLawRegressor, LawRegressor
    from regressors.estimators.pool_aware import AtPools, PoolRegressor
    from regressors.estimators.regmix import RegMixLightGBM, RegMixLinear
    from regressors.estimators.repetition import RepetitionRegressor
    from regressors.estimators.restore import ESTIMATORS, from_dict
    from regressors.estimators.scaling import ScalingRegressor
    from regressors.estimators.scheffe import Scheffe
    from regressors.evaluation.critical_share import least_share
    from regressors.evaluation.cross_validation import HeldOut, cross_validate
    from regressors.evaluation.intervals import cv_plus
    from regressors.evaluation.metrics import regret, rmse, spearman
    from regressors.law import Law, Param, Prior
    from regressors.laws import LAWS
    from regressors.laws.continual import CONTINUAL_LAWS, CRITICAL_SHARES
    from regressors.laws.presets import PRESETS, Preset
    from regressors.laws.repetition import REPETITION_LAWS

_HOME = {
    "AtPools": "estimators.pool_aware",
    "AtScale": "estimators.joint",
    "CONTINUAL_LAWS": "laws.continual",
    "CRITICAL_SHARES": "laws.continual",
    "ContinualBlend": "estimators.continual_ensemble",
    "ContinualRegressor": "estimators.continual",
    "ESTIMATORS": "estimators.restore",
    "EffectiveDataRegressor": "estimators.effective_data",
    "Ensemble": "estimators.ensemble",
    "EpochLawRegressor": "estimators.law",
    "GaussianProcess": "estimators.gaussian_process",
    "HeldOut": "evaluation.cross_validation",
    "JOINT_LAWS": "estimators.joint",
    "JointRegressor": "estimators.joint",
    "LAWS": "laws",
    "Law": "law",
    "LawRegressor": "estimators.law",
    "PRESETS": "laws.presets",
    "Param": "law",
    "PoolRegressor": "estimators.pool_aware",
    "Preset": "laws.presets",
    "Prior": "law",
    "REPETITION_LAWS": "laws.repetition",
    "RegMixLightGBM": "estimators.regmix",
    "RegMixLinear": "estimators.regmix",
    "RepetitionRegressor": "estimators.repetition",
    "ResidualProcess": "estimators.ensemble",
    "ScalingRegressor": "estimators.scaling",
    "Scheffe": "estimators.scheffe",
    "choose": "evaluation.model_selection",
    "coverage": "evaluation.metrics",
    "cross_validate": "evaluation.cross_validation",
    "cv_plus": "evaluation.intervals",
    "expected_optimism": "evaluation.optimism",
    "from_dict": "estimators.restore",
    "least_share": "evaluation.critical_share",
    "near_groups": "evaluation.cross_validation",
    "nested": "evaluation.model_selection",
    "ordered_splits": "evaluation.cross_validation",
    "regret": "evaluation.metrics",
    "rmse": "evaluation.metrics",
    "scaled_cv_plus": "evaluation.intervals",
    "spearman": "evaluation.metrics",
}

__all__ = [
    "CONTINUAL_LAWS",
    "CRITICAL_SHARES",
    "CUBIC",
    "DEFAULT",
    "EPOCH_AWARE",
    "ESTIMATORS",
    "JOINT_LAWS",
    "LAWS",
    "PREDICTORS",
    "PRESETS",
    "REPETITION_LAWS",
    "SEES_EPOCHS",
    "SEES_POOLS",
    "SIMPLICITY",
    "AtPools",
    "AtScale",
    "ContinualBlend",
    "ContinualRegressor",
    "EffectiveDataRegressor",
    "Ensemble",
    "EpochLawRegressor",
    "GaussianProcess",
    "HeldOut",
    "JointRegressor",
    "Law",
    "LawRegressor",
    "Param",
    "PoolRegressor",
    "Preset",
    "Prior",
    "RegMixLightGBM",
    "RegMixLinear",
    "RepetitionRegressor",
    "ResidualProcess",
    "ScalingRegressor",
    "Scheffe",
    "cross_validate",
    "cv_plus",
    "from_dict",
    "least_share",
    "regret",
    "rmse",
    "spearman",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
