"""Predictors of loss from data mixture: laws as data, one fit for all of them, scikit-learn estimators, metrics.

Importing this package imports none of it: names below are looked up when they are first used.
"""

from typing import TYPE_CHECKING, Any

from regressors.predictors import CUBIC, DEFAULT, EPOCH_AWARE, PREDICTORS, SEES_EPOCHS, SEES_POOLS, SIMPLICITY

if TYPE_CHECKING:
    from regressors.blend import Ensemble, ResidualProcess
    from regressors.continual import ContinualRegressor
    from regressors.continual_blend import ContinualBlend
    from regressors.datalaws import RepetitionRegressor
    from regressors.effective import EffectiveDataRegressor
    from regressors.estimators import ESTIMATORS, from_dict
    from regressors.gaussian_process import GaussianProcess
    from regressors.interval import cv_plus
    from regressors.joint import JOINT_LAWS, AtScale, JointRegressor
    from regressors.judge import HeldOut, cross_validate
    from regressors.law import Law, Param, Prior
    from regressors.lawregressor import EpochLawRegressor, LawRegressor
    from regressors.laws import LAWS
    from regressors.laws.continual import CONTINUAL_LAWS, CRITICAL_SHARES
    from regressors.laws.repetition import REPETITION_LAWS
    from regressors.metrics import regret, rmse, spearman
    from regressors.pools import AtPools, PoolRegressor
    from regressors.presets import PRESETS, Preset
    from regressors.regmix import RegMixLightGBM, RegMixLinear
    from regressors.replay import least_share
    from regressors.scaling import ScalingRegressor
    from regressors.scheffe import Scheffe

_HOME = {
    "CONTINUAL_LAWS": "laws.continual",
    "CRITICAL_SHARES": "laws.continual",
    "ContinualBlend": "continual_blend",
    "ContinualRegressor": "continual",
    "least_share": "replay",
    "coverage": "metrics",
    "expected_optimism": "optimism",
    "ordered_splits": "judge",
    "near_groups": "judge",
    "scaled_cv_plus": "interval",
    "nested": "choose",
    "choose": "choose",
    "AtPools": "pools",
    "AtScale": "joint",
    "ESTIMATORS": "estimators",
    "Ensemble": "blend",
    "EpochLawRegressor": "lawregressor",
    "GaussianProcess": "gaussian_process",
    "EffectiveDataRegressor": "effective",
    "JOINT_LAWS": "joint",
    "JointRegressor": "joint",
    "LawRegressor": "lawregressor",
    "PoolRegressor": "pools",
    "PRESETS": "presets",
    "Preset": "presets",
    "REPETITION_LAWS": "laws.repetition",
    "RegMixLightGBM": "regmix",
    "RegMixLinear": "regmix",
    "RepetitionRegressor": "datalaws",
    "ResidualProcess": "blend",
    "ScalingRegressor": "scaling",
    "Scheffe": "scheffe",
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
