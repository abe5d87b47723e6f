"""mixopt: decide what text a language model is trained on, how much of it, and how often.

    import mixopt
    recommendation = mixopt.run("study.yaml")

Names are looked up when they are first used, so importing mixopt costs nothing.
"""

from typing import TYPE_CHECKING, Any

from mixopt.version import __version__ as __version__

if TYPE_CHECKING:
    from mixopt.continual.fit import fit_continual
    from mixopt.continual.question import CptQuestion
    from mixopt.continual.recommend import plan_cpt
    from mixopt.errors import MixoptError
    from mixopt.mixture.config import Study
    from mixopt.mixture.leaderboard import leaderboard
    from mixopt.mixture.stored import StoredFit, load_fit
    from mixopt.mixture.table import fit_table
    from mixopt.plan.epochs import plan_epochs
    from mixopt.plan.scale import plan_scale
    from mixopt.runs.continual import read_continual
    from mixopt.runs.read import read_runs
    from mixopt.runs.table import RunTable
    from mixopt.scaling.fit import fit_scale
    from mixopt.scaling.stored import StoredScale, load_scale
    from mixopt.search.simplex import feasible
    from mixopt.study.loading import load_study
    from mixopt.study.pipeline import recommend_for as recommend
    from mixopt.study.pipeline import run_study as run
    from regressors import (
        PREDICTORS,
        ContinualEnsembleRegressor,
        ContinualRegressor,
        EffectiveDataRegressor,
        EnsembleRegressor,
        EpochLawRegressor,
        GaussianProcessRegressor,
        JointRegressor,
        LawRegressor,
        PoolRegressor,
        RegMixLightGBMRegressor,
        RegMixLinearRegressor,
        RepetitionRegressor,
        ResidualProcessRegressor,
        ScalingRegressor,
        ScheffeRegressor,
        cross_validate,
    )

# Public names and where they live: `__all__` follows from it, and a test holds the imports above against it.
HOMES = {
    "ContinualEnsembleRegressor": "regressors",
    "ContinualRegressor": "regressors",
    "CptQuestion": "mixopt.continual.question",
    "EffectiveDataRegressor": "regressors",
    "EnsembleRegressor": "regressors",
    "EpochLawRegressor": "regressors",
    "GaussianProcessRegressor": "regressors",
    "JointRegressor": "regressors",
    "LawRegressor": "regressors",
    "MixoptError": "mixopt.errors",
    "PREDICTORS": "regressors",
    "PoolRegressor": "regressors",
    "RegMixLightGBMRegressor": "regressors",
    "RegMixLinearRegressor": "regressors",
    "RepetitionRegressor": "regressors",
    "ResidualProcessRegressor": "regressors",
    "RunTable": "mixopt.runs.table",
    "ScalingRegressor": "regressors",
    "ScheffeRegressor": "regressors",
    "StoredFit": "mixopt.mixture.stored",
    "StoredScale": "mixopt.scaling.stored",
    "Study": "mixopt.mixture.config",
    "cross_validate": "regressors",
    "feasible": "mixopt.search.simplex",
    "fit_continual": "mixopt.continual.fit",
    "fit_scale": "mixopt.scaling.fit",
    "fit_table": "mixopt.mixture.table",
    "leaderboard": "mixopt.mixture.leaderboard",
    "load_fit": "mixopt.mixture.stored",
    "load_scale": "mixopt.scaling.stored",
    "load_study": "mixopt.study.loading",
    "plan_cpt": "mixopt.continual.recommend",
    "plan_epochs": "mixopt.plan.epochs",
    "plan_scale": "mixopt.plan.scale",
    "read_continual": "mixopt.runs.continual",
    "read_runs": "mixopt.runs.read",
    "recommend": "mixopt.study.pipeline",
    "run": "mixopt.study.pipeline",
}
NAMED_OTHERWISE = {"recommend": "recommend_for", "run": "run_study"}  # public name -> name in its module

__all__ = list(HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})


def __getattr__(name: str) -> Any:
    from regressors import current_name

    name = current_name(name)
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(HOMES[name]), NAMED_OTHERWISE.get(name, name))
