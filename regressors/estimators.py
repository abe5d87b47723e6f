"""All estimators by name, and how stored ones are restored."""

from typing import Any

from regressors.base import MixtureRegressor
from regressors.blend import Ensemble, ResidualProcess
from regressors.effective import EffectiveDataRegressor
from regressors.gaussian_process import GaussianProcess
from regressors.joint import AtScale, JointRegressor
from regressors.lawregressor import EpochLawRegressor, LawRegressor
from regressors.pools import AtPools, PoolRegressor
from regressors.regmix import RegMixLightGBM, RegMixLinear
from regressors.scheffe import Scheffe

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
