"""Runs of continued pretraining made from known laws, and the laws themselves in place of fits."""

import numpy as np

from mixopt.continual.fit import ContinualFit
from mixopt.runs.continual import ContinualRuns

# Both laws: E + A / N^alpha + B r^eta / D^beta + C / (r + eps)^gamma, r the share of the loss's own text.
DOMAIN = {"E": 0.9, "A": 60.0, "alpha": 0.3, "B": 9.0, "eta": 0.2, "beta": 0.17, "C": 0.25, "eps": 0.4, "gamma": 0.9}
# no eta: where the general loss reaches a limit can be solved for r
GENERAL = {"E": 1.5, "A": 80.0, "alpha": 0.3, "B": 2.0, "eta": 0.0, "beta": 0.2, "C": 0.03, "eps": 0.05, "gamma": 0.7}
SIZE = 1e8
SHARES = (0.3, 0.5, 0.7, 0.85, 0.95)
STEPS = tuple(np.geomspace(2e8, 8e9, 8))


def dcpt(law, params, tokens, r):
    size = law["E"] + law["A"] / params ** law["alpha"]
    data = law["B"] * np.maximum(r, 1e-12) ** law["eta"] / tokens ** law["beta"]
    return size + data + law["C"] / (r + law["eps"]) ** law["gamma"]


def start(params):
    """The general loss before continuing: what 40 % general text comes to after 4B tokens."""
    return dcpt(GENERAL, params, 4e9, 0.4)


def general_share_at(limit, params, tokens):
    """The general share at which the general loss is at a limit, solved for by hand."""
    rest = limit - GENERAL["E"] - GENERAL["A"] / params ** GENERAL["alpha"] - GENERAL["B"] / tokens ** GENERAL["beta"]
    return (GENERAL["C"] / rest) ** (1 / GENERAL["gamma"]) - GENERAL["eps"]


class Exact:
    """A law as if it had been fitted. spread: standard deviation of its losses between draws, the same everywhere."""

    def __init__(self, law, *, spread=0.0, cautions=()):
        self.constants, self.spread, self.cautions = law, spread, list(cautions)

    def predict(self, X):
        return dcpt(self.constants, *X.T)

    def draws(self, X, n, *, random_state=None):
        rng = np.random.default_rng(random_state)
        return self.predict(X) + self.spread * rng.standard_normal((n, 1))

    def start_at(self, params):
        return start(params)

    def law_cautions(self):
        return self.cautions


def made_runs(sizes=(SIZE,), shares=SHARES, steps=STEPS, *, noise=0.0, seed=0):
    """A checkpoint for every size, share and length."""
    params, share, tokens = (x.reshape(-1) for x in np.meshgrid(sizes, shares, steps, indexing="ij"))
    rng = np.random.default_rng(seed)
    domain, general = dcpt(DOMAIN, params, tokens, share), dcpt(GENERAL, params, tokens, 1 - share)
    return ContinualRuns(
        name="made",
        params=params,
        tokens=tokens,
        share=share,
        domain=domain + noise * rng.standard_normal(len(domain)),
        general=general + noise * rng.standard_normal(len(domain)),
        run=[f"{size:.3g} {part}" for size, part in zip(params, share, strict=True)],
        starts={float(size): (2.5, float(start(size))) for size in sizes},
    )


def exact_fit(sizes=(SIZE,), *, spread=0.0, **more):
    """The laws themselves, beside the runs that they make."""
    return ContinualFit(made_runs(sizes, **more), Exact(DOMAIN, spread=spread), Exact(GENERAL, spread=spread))


def write_runs(path, runs, *, starts=True):
    """The runs as a user's table, with rows of 0 tokens for the losses before continuing."""
    lines = ["run,params,tokens,domain_share,domain_loss,general_loss"]
    if starts:
        lines += [f"start,{size!r},0,,{domain!r},{general!r}" for size, (domain, general) in runs.starts.items()]
    rows = zip(runs.run, runs.params, runs.tokens, runs.share, runs.domain, runs.general, strict=True)
    lines += [",".join([row[0], *(repr(float(value)) for value in row[1:])]) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path
