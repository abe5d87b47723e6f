"""Laws of continued pretraining: loss against model size, tokens since the checkpoint that is continued, and a share.

r is the share of the training tokens that comes from the loss's own side: the domain's share for the domain loss, the
general share, 1 - r_d, for the general loss. Each loss has its own fit of the same law. `tokens` counts from the
checkpoint that is continued, not from the beginning of pretraining.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from regressors.law import Array, Law, Param, Prior, Scale, Values
from regressors.laws.mixing import TRACE, power

INPUTS = ("params", "tokens", "r")


def _each(value: Array) -> Array:
    """A value (...) with an axis for runs: (..., 1)."""
    return value[..., None]


def dcpt(params, tokens, r, *, E, A, alpha, B, eta, beta, C, eps, gamma) -> Array:
    """E + A/N^alpha + B r^eta / D^beta + C / (r + eps)^gamma, (..., n_runs), nats/token; all values (...).

    The slope by r is B eta r^(eta-1) / D^beta - gamma C / (r + eps)^(gamma+1): it is below 0 for some values only.
    """
    size = _each(A) * power(params, alpha)
    data = _each(B) * power(r + TRACE, -eta) * power(tokens, beta)
    return _each(E) + size + data + _each(C) * power(r + _each(eps), gamma)


def dcpt_jacobian(params, tokens, r, *, E, A, alpha, B, eta, beta, C, eps, gamma) -> tuple[Array, dict[str, Array]]:
    """`dcpt` with its derivatives, (..., n_runs) each."""
    size = power(params, alpha)
    data = power(r + TRACE, -eta) * power(tokens, beta)
    share = r + _each(eps)
    mixture = power(share, gamma)
    from_size, from_data, from_mixture = _each(A) * size, _each(B) * data, _each(C) * mixture
    return _each(E) + from_size + from_data + from_mixture, {
        "E": np.ones_like(mixture),
        "A": size,
        "alpha": -from_size * np.log(params),
        "B": data,
        "eta": from_data * np.log(r + TRACE),
        "beta": -from_data * np.log(tokens),
        "C": mixture,
        "eps": -_each(gamma) * from_mixture / share,
        "gamma": -from_mixture * np.log(share),
    }


def cross_domain(params, tokens, r, k1, k2, *, F, mu, w, **values) -> Array:
    """`dcpt` + F / K^mu, K = w/k1 + (1-w) k2: how learnable a domain is, (..., n_runs), nats/token.

    k1 (n_runs,) the loss on the domain before it is continued, k2 (n_runs,) how fast it falls at first; both above 0.
    """
    K = _each(w) / k1 + _each(1 - w) * k2
    return dcpt(params, tokens, r, **values) + _each(F) * power(K, mu)


def shift(params, tokens, r, start, *, S, alpha, kappa, tau, G, zeta, eta, T, beta) -> Array:
    """start + S N^-alpha (1-r)^kappa D/(D+tau) - G N^zeta r^eta (1 - (1 + D/T)^-beta), (..., n_runs), nats/token.

    Two hidden curves: what the shift of data takes away soon and for good, the more of the other side the more, and
    what further training on the own side gives, slowly. Their sum may rise and then fall, and is `start` (n_runs,), the
    loss before continuing, at 0 tokens.
    """
    rise = _each(S) * power(params, alpha) * power(1 - r + TRACE, -kappa) * tokens / (tokens + _each(tau))
    gain = -np.expm1(-_each(beta) * np.log1p(tokens / _each(T)))
    return start + rise - _each(G) * power(params, -zeta) * power(r + TRACE, -eta) * gain


def shift_jacobian(
    params, tokens, r, start, *, S, alpha, kappa, tau, G, zeta, eta, T, beta
) -> tuple[Array, dict[str, Array]]:
    """`shift` with its derivatives, (..., n_runs) each."""
    late = tokens + _each(tau)
    unit_rise = power(params, alpha) * power(1 - r + TRACE, -kappa) * tokens / late
    rise = _each(S) * unit_rise
    age = 1 + tokens / _each(T)
    left = np.exp(-_each(beta) * np.log(age))
    unit_most = power(params, -zeta) * power(r + TRACE, -eta)
    most = _each(G) * unit_most
    gain = most * (1 - left)
    return start + rise - gain, {
        "S": unit_rise,
        "alpha": -rise * np.log(params),
        "kappa": rise * np.log(1 - r + TRACE),
        "tau": -rise / late,
        "G": -unit_most * (1 - left),
        "zeta": -gain * np.log(params),
        "eta": -gain * np.log(r + TRACE),
        "T": most * _each(beta) * left * tokens / (_each(T) ** 2 * age),
        "beta": -most * left * np.log(age),
    }


def forgetting(params, tokens, r, start, *, A, beta, B, alpha) -> Array:
    """start + A D^beta / ((1 + B r) N)^alpha, (..., n_runs), nats/token, r the general share; it never falls."""
    kept = np.log1p(_each(B) * r) + np.log(params)
    return start + _each(A) * np.exp(_each(beta) * np.log(tokens) - _each(alpha) * kept)


def critical_share(tokens, *, a, s, b) -> Array:
    """a T^s + b, (..., n_runs): the largest domain share after T tokens that leaves the general loss where it was.

    A law of shares, not of losses, and not held between 0 and 1.
    """
    return _each(a) * power(tokens, -s) + _each(b)


def log_floor(scale: Scale) -> Array:
    return np.log(0.5 * scale.low)


def log_large(scale: Scale) -> Array:
    return np.log(0.2 * scale.low)


def log_small(scale: Scale) -> Array:
    return np.log(0.1 * scale.low)


def log_spread(scale: Scale) -> Array:
    """Twice the losses' standard deviation: about all that shares and tokens change."""
    return np.log(2 * scale.spread)


def _nats(name: str, centre: Callable[[Scale], Array], sd: float) -> Param:
    return Param(name, unit="nats/token", low=0.0, prior=Prior(centre, sd))


def _positive(name: str, centre: float, sd: float, *, unit: str = "1") -> Param:
    """A parameter above 0 with this prior on its log."""
    return Param(name, unit=unit, low=0.0, prior=Prior(float(np.log(centre)), sd))


def dcpt_published(values: Values, units: Mapping[str, float]) -> dict[str, Array]:
    """A and B at one parameter and one token, where the fit has them at the units."""
    return dict(values) | {
        "A": values["A"] * units["params"] ** values["alpha"],
        "B": values["B"] * units["tokens"] ** values["beta"],
    }


def shift_published(values: Values, units: Mapping[str, float]) -> dict[str, Array]:
    """S and G at one parameter, tau and T in tokens."""
    return dict(values) | {
        "S": values["S"] * units["params"] ** values["alpha"],
        "G": values["G"] * units["params"] ** -values["zeta"],
        "tau": values["tau"] * units["tokens"],
        "T": values["T"] * units["tokens"],
    }


def forgetting_published(values: Values, units: Mapping[str, float]) -> dict[str, Array]:
    """A at one parameter and one token."""
    scale = units["params"] ** values["alpha"] / units["tokens"] ** values["beta"]
    return dict(values) | {"A": values["A"] * scale}


def critical_published(values: Values, units: Mapping[str, float]) -> dict[str, Array]:
    """a at one token, or at whatever tokens were counted in."""
    return dict(values) | {"a": values["a"] * units["tokens"] ** -values["s"]}


PRIORS = "priors on every parameter, so that five ratios and one size don't leave it undecided"
# Wide enough that the rows decide where they can; the exponents' centres are those of pretraining laws.
_SHAPES = (
    _nats("E", log_floor, 0.5),
    _nats("A", log_large, 0.7),
    _positive("alpha", 0.3, 0.3),
    _nats("B", log_small, 1.5),
    _positive("eta", 0.3, 1.0),
    _positive("beta", 0.35, 0.5),
    _nats("C", log_small, 1.5),
    _positive("eps", 0.1, 1.0),
    _positive("gamma", 0.5, 0.7),
)

DCPT = Law(
    name="d-cpt",
    formula=dcpt,
    jacobian=dcpt_jacobian,
    inputs=INPUTS,
    units={"r": 1.0},
    params=_SHAPES,
    published=dcpt_published,
    source="Que et al. 2024, D-CPT Law, arXiv:2406.01375",
    departs=PRIORS,
)

CROSS_DOMAIN_DCPT = Law(
    name="cross-domain-d-cpt",
    formula=cross_domain,
    inputs=(*INPUTS, "k1", "k2"),
    units={"r": 1.0},
    params=(
        *_SHAPES,
        _nats("F", log_small, 1.5),
        _positive("mu", 0.5, 1.0),
        Param("w", unit="1", low=0.0, high=1.0, prior=Prior(0.0, 1.5)),
    ),
    source="Que et al. 2024, D-CPT Law, arXiv:2406.01375",
    departs=f"K's two weights sum to 1, for k1 and k2 over their geometric means: F takes up their size; {PRIORS}",
)

SHIFT = Law(
    name="shift",
    formula=shift,
    jacobian=shift_jacobian,
    inputs=(*INPUTS, "start"),
    units={"r": 1.0, "start": 1.0},
    params=(
        _nats("S", log_spread, 1.5),
        _positive("alpha", 0.3, 0.3),
        _positive("kappa", 2.0, 0.7),
        _positive("tau", 0.1, 1.5, unit="typical token counts"),
        _nats("G", log_large, 1.0),
        Param("zeta", unit="1", prior=Prior(0.0, 0.2)),
        _positive("eta", 0.3, 1.0),
        _positive("T", 0.1, 1.5, unit="typical token counts"),
        _positive("beta", 0.35, 0.5),
    ),
    published=shift_published,
    source="mixopt; two hidden curves and a shift between them as in Wang et al. 2025, Learning Dynamics in Continual "
    "Pre-Training, arXiv:2505.07796",
    departs="tokens stand for the area under the learning rate, annealing isn't seen; the shift saturates as "
    "D/(D+tau), it and the gain are powers of the shares; the starting loss is given and not fitted",
)

FORGETTING = Law(
    name="forgetting",
    formula=forgetting,
    inputs=(*INPUTS, "start"),
    units={"r": 1.0, "start": 1.0},
    params=(
        _nats("A", log_spread, 1.5),
        _positive("beta", 0.35, 0.5),
        _positive("B", 30.0, 2.0),
        _positive("alpha", 0.5, 0.5),
    ),
    published=forgetting_published,
    source="Bethune et al. 2025, Scaling Laws for Forgetting during Finetuning with Pretraining Data Injection, "
    "arXiv:2502.06042",
    departs=PRIORS,
)

CRITICAL_SHARE = Law(
    name="critical-share",
    formula=critical_share,
    inputs=("tokens",),
    params=(
        Param("a", unit="1", prior=Prior(0.5, 2.0)),
        Param("s", unit="1", prior=Prior(0.2, 0.5)),
        Param("b", unit="1", prior=Prior(0.0, 2.0)),
    ),
    published=critical_published,
    source="Gu et al. 2024, CMR Scaling Law, arXiv:2407.17467",
    departs="priors: a and b are not identified where s is near 0",
)

CONTINUAL_LAWS = {law.name: law for law in (DCPT, CROSS_DOMAIN_DCPT, SHIFT, FORGETTING)}


@dataclass(frozen=True)
class CriticalShare:
    """A published critical share of one model size, as a function of tokens."""

    params: float  # as the source names the size
    a: float
    s: float
    b: float
    tokens_per_unit: float = 2e8  # what the source counts tokens in
    source: str = "Gu et al. 2024, CMR Scaling Law, arXiv:2407.17467"

    def domain_share(self, tokens: Array | float) -> Array:
        """The largest domain share that leaves the general loss where it was, 0 to 1, in the shape of tokens (> 0).

        It holds for the source's two corpora and its recipe; elsewhere it tells of proportions at best.
        """
        T = np.asarray(tokens, dtype=float) / self.tokens_per_unit
        values = {name: np.asarray(getattr(self, name)) for name in ("a", "s", "b")}
        return np.clip(critical_share(T.reshape(-1), **values).reshape(T.shape), 0.0, 1.0)


CRITICAL_SHARES = {
    "460M": CriticalShare(460e6, a=0.22524761, s=0.26944345, b=-0.48139982),
    "940M": CriticalShare(940e6, a=0.7520627, s=0.13720245, b=-1.06581937),
    "1.6B": CriticalShare(1.6e9, a=-2.36384831, s=-0.15125569, b=1.59223649),
    "3.1B": CriticalShare(3.1e9, a=-2.5368197, s=-0.42071423, b=0.84375368),
}
