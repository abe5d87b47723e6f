"""All estimators by name, and how stored ones are restored."""

from typing import Any

from regressors.estimators.base import MixtureRegressor
from regressors.estimators.effective_data import EffectiveDataRegressor
from regressors.estimators.ensemble import Ensemble, ResidualProcess
from regressors.estimators.gaussian_process import GaussianProcess
from regressors.estimators.joint import AtScale, JointRegressor
from regressors.estimators.law import EpochLawRegressor, LawRegressor
from regressors.estimators.pool_aware import AtPools, PoolRegressor
from regressors.estimators.regmix import RegMixLightGBM, RegMixLinear
from regressors.estimators.scheffe import Scheffe

ESTIMATORS = {
    kind.__name__: kind
    for kind in (
        LawRegressor,
        EpochLawRegressor,
        EffectiveDataRegressor,
        PoolRegressor,
        Scheffe,
        GaussianProcess,
        ResidualProcess,
        Ensemble,
        RegMixLinear,
        RegMixLightGBM,
        JointRegressor,
    )
}


def from_dict(stored: dict[str, Any]) -> MixtureRegressor | AtScale | AtPools:
    """Rebuilds a fitted estimator from what its `to_dict` gave. Raises ValueError for an unknown or a broken one."""
    name = stored.get("estimator")
    for kind, numbers in ((AtScale, {"params", "tokens", "joint"}), (AtPools, {"unique", "law"})):
        if name == kind.__name__:
            if missing := numbers - stored.keys():
                raise ValueError(f"a stored {name} lacks {sorted(missing)}: fit it again")
            return kind.from_dict(stored)
    if name not in ESTIMATORS:
        raise ValueError(f"no estimator is called {name!r}: choose from {sorted(ESTIMATORS)}")
    missing = {"options", "domains", "order", "flat", "learned"} - stored.keys()
    if missing:
        raise ValueError(f"a stored {name} lacks {sorted(missing)}: fit it again")
    return ESTIMATORS[name].from_dict(stored)
