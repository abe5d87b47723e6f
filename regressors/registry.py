"""All predictors by name, and which of them are simpler. Importing this loads none of them."""

from collections.abc import Callable
from functools import partial
from typing import Any


def _law(name: str, seed: int) -> Any:
    from regressors.estimators.law import LawRegressor

    return LawRegressor(name, random_state=seed)


def _effective(seed: int) -> Any:
    from regressors.estimators.effective_data import EffectiveDataRegressor

    return EffectiveDataRegressor(random_state=seed)


def _epoch_law(seed: int) -> Any:
    from regressors.estimators.law import EpochLawRegressor

    return EpochLawRegressor(random_state=seed)


def _lightgbm(seed: int) -> Any:
    from regressors.estimators.regmix import RegMixLightGBM

    return RegMixLightGBM(random_state=seed)


def _linear(seed: int) -> Any:  # there's nothing random in least squares
    from regressors.estimators.regmix import RegMixLinear

    return RegMixLinear()


def _scheffe(seed: int) -> Any:
    from regressors.estimators.scheffe import Scheffe

    return Scheffe(random_state=seed)


def _gaussian_process(features: str, seed: int) -> Any:
    from regressors.estimators.gaussian_process import GaussianProcess

    return GaussianProcess(features, random_state=seed)


def _law_and_process(seed: int) -> Any:
    from regressors.estimators.ensemble import ResidualProcess

    return ResidualProcess("effective-data", random_state=seed)


def _ensemble(weights: str, seed: int) -> Any:
    from regressors.estimators.ensemble import Ensemble

    return Ensemble(("effective-data", "gp-log"), weights=weights, random_state=seed)


def _pools(law: str, seed: int) -> Any:
    from regressors.estimators.pool_aware import PoolRegressor

    return PoolRegressor(law, random_state=seed)


DEFAULT = "effective-data"  # what is used when nobody chooses
EPOCH_AWARE = "effective-data-epochs"  # with its `unique` set, sees effective tokens; without, it is the default

# name -> factory(seed) of an unfitted estimator
PREDICTORS: dict[str, Callable[[int], Any]] = {
    "effective-data": _effective,
    EPOCH_AWARE: _effective,
    "epoch-aware": _epoch_law,
    "exponential-mixing": partial(_law, "exponential-mixing"),
    "log-linear": partial(_law, "log-linear"),
    "bimix": partial(_law, "bimix"),
    "autoscale": partial(_law, "autoscale"),
    "additive-power": partial(_law, "additive-power"),
    "additive-offset": partial(_law, "additive-offset"),
    "additive-power-factor": partial(_law, "additive-power-factor"),
    "additive-offset-factor": partial(_law, "additive-offset-factor"),
    "scheffe": _scheffe,
    "gp-log": partial(_gaussian_process, "log"),
    "gp-sqrt": partial(_gaussian_process, "sqrt"),
    "effective-data-gp": _law_and_process,
    "ensemble": partial(_ensemble, "equal"),
    "stacked": partial(_ensemble, "held-out"),  # as many times its members' cost as it has inner folds, and one more
    "regmix-lightgbm": _lightgbm,
    "regmix-linear": _linear,
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

# Those that are worth judging only where pools are known: they are told each domain's `unique` tokens.
SEES_EPOCHS: tuple[str, ...] = (EPOCH_AWARE, "epoch-aware")

# The same for runs that tell their pools: factory(seed) of an unfitted estimator of [shares | unique shares], which
# fits how fast repetition loses its worth. Its `at` gives a predictor of shares alone.
SEES_POOLS: dict[str, Callable[[int], Any]] = {
    EPOCH_AWARE: partial(_pools, "effective-data"),
    "epoch-aware": partial(_pools, "epoch-aware"),
}
