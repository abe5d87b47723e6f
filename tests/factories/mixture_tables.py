"""Tables of runs whose losses fall with the share of a domain."""

import numpy as np
import pandas as pd

DOMAINS = ("code", "news", "web")


def made_runs(n=24, seed=0):
    """Weights (n, 3) and losses {x, y} that fall with a domain's own share, with a little noise."""
    rng = np.random.default_rng(seed)
    w = rng.dirichlet(np.ones(3), n).round(3)
    w[:, 2] = (1 - w[:, 0] - w[:, 1]).round(3)
    noise = rng.normal(0, 0.005, (n, 2))
    return w, {"x": 3 + np.exp(-2 * w[:, 0]) + noise[:, 0], "y": 2.5 + np.exp(-w[:, 1]) + noise[:, 1]}


def write_table(path, w, losses, domains=DOMAINS):
    frame = pd.DataFrame({"run": [f"r{i}" for i in range(len(w))]})
    for name, column in zip(domains, w.T, strict=True):
        frame[f"w_{name}"] = column
    for name, column in losses.items():
        frame[f"loss_{name}"] = column
    frame.to_csv(path, index=False)
    return path
