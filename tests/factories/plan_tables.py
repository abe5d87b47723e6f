"""Tables of runs that follow a published law of parameters, tokens and unique tokens."""

import numpy as np
import pandas as pd

from mixopt.plan.surface import UNLIMITED
from regressors.laws.presets import PRESETS

LAW = PRESETS["data-constrained"]


def made_runs(*, repeats=True, seed=0):
    """Runs of a small study that follow the published law, with half a percent of noise."""
    rng = np.random.default_rng(seed)
    rows = []
    for params in (5e7, 1.5e8, 4.5e8, 1.35e9):
        for unique in (4e8, 1.6e9, 6.4e9) if repeats else (UNLIMITED,):
            for tokens in (8e8, 3.2e9, 1.3e10, 5e10):
                if tokens / unique <= 32:
                    loss = float(LAW.loss(params, tokens, min(unique, tokens))) * np.exp(0.005 * rng.standard_normal())
                    rows.append({"N": params, "D": tokens, "U": min(unique, tokens), "loss": loss})
    frame = pd.DataFrame(rows)
    return frame if repeats else frame.drop(columns="U")
