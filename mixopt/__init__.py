"""mixopt: decide what text a language model is trained on, how much of it, and how often.

    import mixopt
    recommendation = mixopt.recommend("study.yaml")

Names are looked up when they are first used, so importing mixopt costs nothing.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mixopt.config import Study
    from mixopt.continual.budget import CptQuestion
    from mixopt.continual.fit import fit_continual
    from mixopt.continual.plan import plan_cpt
    from mixopt.continual.runs import read_continual
    from mixopt.errors import MixoptError
    from mixopt.importing import read_runs
    from mixopt.pipeline import recommend_for as recommend
    from mixopt.plan.asking import plan_epochs, plan_scale
    from mixopt.ranking import leaderboard
    from mixopt.runtable import RunTable
    from mixopt.scaling import fit_scale
    from mixopt.simplex import feasible
    from mixopt.storedfit import StoredFit, load_fit
    from mixopt.storedscale import StoredScale, load_scale
    from mixopt.studyfile import load_study
    from mixopt.tablefit import fit_table
    from regressors import (
        PREDICTORS,
        ContinualBlend,
        ContinualRegressor,
        EffectiveDataRegressor,
        Ensemble,
        EpochLawRegressor,
        GaussianProcess,
        JointRegressor,
        LawRegressor,
        PoolRegressor,
        RegMixLightGBM,
        RegMixLinear,
        RepetitionRegressor,
        ResidualProcess,
        ScalingRegressor,
        Scheffe,
        cross_validate,
    )

_HOME = {
    "ContinualBlend": ("regressors", "ContinualBlend"),
    "ContinualRegressor": ("regressors", "ContinualRegressor"),
    "CptQuestion": ("mixopt.continual.budget", "CptQuestion"),
    "EffectiveDataRegressor": ("regressors", "EffectiveDataRegressor"),
    "Ensemble": ("regressors", "Ensemble"),
    "EpochLawRegressor": ("regressors", "EpochLawRegressor"),
    "GaussianProcess": ("regressors", "GaussianProcess"),
    "JointRegressor": ("regressors", "JointRegressor"),
    "LawRegressor": ("regressors", "LawRegressor"),
    "PoolRegressor": ("regressors", "PoolRegressor"),
    "RepetitionRegressor": ("regressors", "RepetitionRegressor"),
    "ResidualProcess": ("regressors", "ResidualProcess"),
    "ScalingRegressor": ("regressors", "ScalingRegressor"),
    "Scheffe": ("regressors", "Scheffe"),
    "MixoptError": ("mixopt.errors", "MixoptError"),
    "PREDICTORS": ("regressors", "PREDICTORS"),
    "RegMixLightGBM": ("regressors", "RegMixLightGBM"),
    "RegMixLinear": ("regressors", "RegMixLinear"),
    "RunTable": ("mixopt.runtable", "RunTable"),
    "StoredFit": ("mixopt.storedfit", "StoredFit"),
    "StoredScale": ("mixopt.storedscale", "StoredScale"),
    "Study": ("mixopt.config", "Study"),
    "cross_validate": ("regressors", "cross_validate"),
    "feasible": ("mixopt.simplex", "feasible"),
    "fit_continual": ("mixopt.continual.fit", "fit_continual"),
    "fit_scale": ("mixopt.scaling", "fit_scale"),
    "fit_table": ("mixopt.tablefit", "fit_table"),
    "leaderboard": ("mixopt.ranking", "leaderboard"),
    "load_fit": ("mixopt.storedfit", "load_fit"),
    "load_scale": ("mixopt.storedscale", "load_scale"),
    "load_study": ("mixopt.studyfile", "load_study"),
    "plan_cpt": ("mixopt.continual.plan", "plan_cpt"),
    "plan_epochs": ("mixopt.plan.asking", "plan_epochs"),
    "plan_scale": ("mixopt.plan.asking", "plan_scale"),
    "read_continual": ("mixopt.continual.runs", "read_continual"),
    "read_runs": ("mixopt.importing", "read_runs"),
    "recommend": ("mixopt.pipeline", "recommend_for"),
}

__all__ = [
    "PREDICTORS",
    "ContinualBlend",
    "ContinualRegressor",
    "CptQuestion",
    "EffectiveDataRegressor",
    "Ensemble",
    "EpochLawRegressor",
    "GaussianProcess",
    "JointRegressor",
    "LawRegressor",
    "MixoptError",
    "PoolRegressor",
    "RegMixLightGBM",
    "RegMixLinear",
    "RepetitionRegressor",
    "ResidualProcess",
    "RunTable",
    "ScalingRegressor",
    "Scheffe",
    "StoredFit",
    "StoredScale",
    "Study",
    "cross_validate",
    "feasible",
    "fit_continual",
    "fit_scale",
    "fit_table",
    "leaderboard",
    "load_fit",
    "load_scale",
    "load_study",
    "plan_cpt",
    "plan_epochs",
    "plan_scale",
    "read_continual",
    "read_runs",
    "recommend",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _HOME[name]
    return getattr(import_module(module), attribute)
