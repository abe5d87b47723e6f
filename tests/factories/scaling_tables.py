"""Tables of checkpoints that follow a joint law of mixture, parameters and tokens."""

import numpy as np
import pandas as pd

SIZES = (5e7, 1.5e8, 4.5e8)


def made_runs(*, sizes=SIZES, tokens=(2e9, 4e9, 8e9, 1.6e10), mixtures=10, seed=0):
    """Checkpoints of runs that follow a joint law: a prefers code, b prefers news. web is always a tenth."""
    rng = np.random.default_rng(seed)
    rows = []
    for k, code in enumerate(np.linspace(0.05, 0.85, mixtures).round(3)):
        for n in sizes:
            for d in tokens:
                late = 0.5 * (n / 2e8) ** -0.28 + 0.4 * (d / 1e10) ** -0.35
                w = {"code": code, "news": round(0.9 - code, 3), "web": 0.1}
                losses = {t: 1.6 + late + 0.3 / (0.4 + w[own] ** 0.4) for t, own in (("a", "code"), ("b", "news"))}
                losses = {t: loss * np.exp(0.002 * rng.standard_normal()) for t, loss in losses.items()}
                row = {"run": f"mix{k}-{n:g}", "params": n, "tokens": d}
                rows.append(
                    row | {f"w_{x}": share for x, share in w.items()} | {f"loss_{t}": losses[t] for t in losses}
                )
    return pd.DataFrame(rows)
