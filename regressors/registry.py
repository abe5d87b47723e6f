"""Registry of predictors and estimators by name, as text: importing this loads none of their classes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any


@dataclass(frozen=True, eq=False)
class Predictor:
    """An unfitted estimator as text and options: calling it with a seed imports its module and makes one."""

    estimator: str  # "module:class"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, seed: int) -> Any:
        made = load(self.estimator)(**self.options)
        if "random_state" in made.get_params(deep=False):  # there is nothing random in least squares
            made.set_params(random_state=seed)
        return made


def load(place: str) -> Any:
    """What stands at "module:name"."""
    module, name = place.split(":")
    return getattr(import_module(module), name)


def from_dict(stored: Mapping[str, Any]) -> Any:
    """Rebuilds a fitted estimator from what its `to_dict` gave. Raises ValueError for an unknown or a broken one."""
    name = stored.get("estimator")
    if name not in ESTIMATORS:
        raise ValueError(f"no estimator is called {name!r}: choose from {sorted(ESTIMATORS)}")
    return load(ESTIMATORS[name]).from_dict(stored)


# The name in a stored fit -> the class that restores it. Names of stored fits outlive those of classes.
ESTIMATORS: dict[str, str] = {
    "AtPools": "regressors.estimators.pool_aware:AtPools",
    "AtRung": "regressors.estimators.ladder:AtRung",
    "AtScale": "regressors.estimators.joint:AtScale",
    "ContinualBlend": "regressors.estimators.continual_ensemble:ContinualEnsembleRegressor",
    "ContinualRegressor": "regressors.estimators.continual:ContinualRegressor",
    "EffectiveDataRegressor": "regressors.estimators.effective_data:EffectiveDataRegressor",
    "Ensemble": "regressors.estimators.ensemble:EnsembleRegressor",
    "EpochLawRegressor": "regressors.estimators.law:EpochLawRegressor",
    "GaussianProcess": "regressors.estimators.gaussian_process:GaussianProcessRegressor",
    "JointRegressor": "regressors.estimators.joint:JointRegressor",
    "LadderRegressor": "regressors.estimators.ladder:LadderRegressor",
    "LawRegressor": "regressors.estimators.law:LawRegressor",
    "PoolRegressor": "regressors.estimators.pool_aware:PoolRegressor",
    "RegMixLightGBM": "regressors.estimators.regmix:RegMixLightGBMRegressor",
    "RegMixLinear": "regressors.estimators.regmix:RegMixLinearRegressor",
    "RepetitionRegressor": "regressors.estimators.repetition:RepetitionRegressor",
    "ResidualProcess": "regressors.estimators.ensemble:ResidualProcessRegressor",
    "Scheffe": "regressors.estimators.scheffe:ScheffeRegressor",
}

DEFAULT = "effective-data"  # what is used when nobody chooses
EPOCH_AWARE = "effective-data-epochs"  # with its `unique` set, sees effective tokens; without, it is the default

_EFFECTIVE = Predictor(ESTIMATORS["EffectiveDataRegressor"])


def _law(name: str) -> Predictor:
    return Predictor(ESTIMATORS["LawRegressor"], {"law": name})


def _ensemble(weights: str) -> Predictor:
    return Predictor(ESTIMATORS["Ensemble"], {"estimators": ("effective-data", "gp-log"), "weights": weights})


# name -> factory(seed) of an unfitted estimator
PREDICTORS: dict[str, Predictor] = {
    "effective-data": _EFFECTIVE,
    EPOCH_AWARE: _EFFECTIVE,
    "epoch-aware": Predictor(ESTIMATORS["EpochLawRegressor"]),
    "exponential-mixing": _law("exponential-mixing"),
    "log-linear": _law("log-linear"),
    "bimix": _law("bimix"),
    "autoscale": _law("autoscale"),
    "additive-power": _law("additive-power"),
    "additive-offset": _law("additive-offset"),
    "additive-power-factor": _law("additive-power-factor"),
    "additive-offset-factor": _law("additive-offset-factor"),
    "scheffe": Predictor(ESTIMATORS["Scheffe"]),
    "gp-log": Predictor(ESTIMATORS["GaussianProcess"], {"features": "log"}),
    "gp-sqrt": Predictor(ESTIMATORS["GaussianProcess"], {"features": "sqrt"}),
    "effective-data-gp": Predictor(ESTIMATORS["ResidualProcess"], {"estimator": "effective-data"}),
    "ensemble": _ensemble("equal"),
    "stacked": _ensemble("held-out"),  # as many times its members' cost as it has inner folds, and one more
    "regmix-lightgbm": Predictor(ESTIMATORS["RegMixLightGBM"]),
    "regmix-linear": Predictor(ESTIMATORS["RegMixLinear"]),
}

# From the simplest to the most complex: by parameters a domain, laws before what follows no law. A rule that prefers
# the simpler of two equally good predictors goes by this.
SIMPLICITY: tuple[str, ...] = (
    "regmix-linear",
    "exponential-mixing",
    "log-linear",
    "bimix",
    "additive-power",
    "autoscale",
    "epoch-aware",
    "additive-offset",
    "additive-power-factor",
    "additive-offset-factor",
    EPOCH_AWARE,  # as many parameters as the next; a tie goes to what knows of repetition
    "effective-data",
    "scheffe",
    "gp-sqrt",
    "gp-log",
    "regmix-lightgbm",
    "effective-data-gp",
    "ensemble",
    "stacked",
)

# Those whose fit grows with the cube of the runs: tried only on tables of moderate size unless somebody asks for them.
CUBIC: tuple[str, ...] = ("gp-log", "gp-sqrt", "effective-data-gp", "ensemble", "stacked")

# Those to judge only where pools are known: they are given each domain's `unique` tokens.
SEES_EPOCHS: tuple[str, ...] = (EPOCH_AWARE, "epoch-aware")

# The same for runs with pools of their own: factory(seed) of an unfitted estimator of [shares | unique shares], which
# fits how fast the value of repeated text decays. Its `at` gives a predictor of shares alone.
SEES_POOLS: dict[str, Predictor] = {
    EPOCH_AWARE: Predictor(ESTIMATORS["PoolRegressor"], {"law": "effective-data"}),
    "epoch-aware": Predictor(ESTIMATORS["PoolRegressor"], {"law": "epoch-aware"}),
}
