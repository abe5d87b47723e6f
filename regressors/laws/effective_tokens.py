"""Effective tokens of repeated data, and laws of the mixture that see them in place of shares.

A domain with u unique tokens, counted in a run's tokens, and a share w of the run is trained on for E = w / u epochs.
Beyond the first epoch it counts u (1 + R* (1 - exp(-(E - 1) / R*))) effective tokens (Muennighoff et al. 2023, eq. 5):
the first repetition counts nearly as much as new data, later ones less and less, and all together no more than u R*. A
law that was written for w is then given effective tokens, and R* is one more parameter of the fit.

Effective tokens never fall as data is repeated more often, so such a law can't say that repetition does harm, and small
models suffer from it on every validation set. The option `harm` adds harm x^power, x = sum_j (w_j - seen_j) the share
of the run's tokens that taught nothing new, over all domains: what one domain's repetition costs is little while the
rest of the run is fresh. Of the terms tried, this one predicted best (see docs/decisions.md): a term a domain in
ln(1 + E), as the epoch-aware law has it, or in what each domain wastes, took up what was really an interaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from regressors.law import Array, Law, Param, Prior

UNIQUE = "unique"  # the input that such laws have besides: (n_runs, n_domains) unique tokens over the run's tokens
STEP = 1e-30  # of complex derivatives, which have no cancellation
R_SD = 1.0  # of ln R*: published values and optima of repetition differ by factors of two to four
HARM = 1.0  # nats/token that a run of nothing but wasted tokens would lose; barely known, and so is ...
POWER = 2.0  # ... how late harm sets in: it grows with the square of what is wasted
MIN_WASTE = 1e-9  # a share of tokens: less counts as this
HARMS = ("harm", "power")


@dataclass(frozen=True)
class Repeated:
    """The formula of a repetition-aware law, and its derivatives. law: the one that is shown effective tokens."""

    law: Law
    per_domain: bool
    harm: bool

    def __call__(self, *inputs: Array, R: Array, **values: Array) -> Array:
        """Loss, (..., n_runs), at the law's own inputs and then unique (n_runs, n_domains), inf where unlimited.

        R (...), or (..., n_domains) where every domain has its own; with harm: harm and power (...).
        """
        given = self._given(inputs)
        return self._loss(given, self._seen(given, R), values)

    def _loss(self, given: Mapping[str, Array], seen: Array, values: Mapping[str, Array]) -> Array:
        loss = self.law.formula(*self._shown(given, seen), **self._own(values))
        if not self.harm:
            return loss
        return loss + values["harm"][..., None] * wasted(given["w"], seen) ** values["power"][..., None]

    def jacobian(self, *inputs: Array, R: Array, **values: Array) -> tuple[Array, dict[str, Array]]:
        """The same with its derivatives: the law's own at the effective tokens, and by R by the complex step."""
        given = self._given(inputs)
        seen = self._seen(given, R)
        assert self.law.jacobian is not None
        loss, slopes = self.law.jacobian(*self._shown(given, seen), **self._own(values))
        slopes = slopes | {"R": self._by_r(given, R, values)}
        if not self.harm:
            return loss, slopes
        logs = np.log(wasted(given["w"], seen))
        by_harm = np.exp(values["power"][..., None] * logs)
        harm = values["harm"][..., None] * by_harm
        return loss + harm, slopes | {"harm": by_harm, "power": harm * logs}

    def _by_r(self, given: Mapping[str, Array], R: Array, values: Mapping[str, Array]) -> Array:
        """d loss / d R, (..., n_runs) or (..., n_runs, n_domains): one step for all domains, or one each."""
        moved = self._seen(given, R + 1j * STEP)
        if not self.per_domain:
            return np.imag(self._loss(given, moved, values)) / STEP
        out = np.empty(moved.shape)
        for j in range(moved.shape[-1]):
            alone = np.real(moved).astype(complex)
            alone[..., j] = moved[..., j]
            out[..., j] = np.imag(self._loss(given, alone, values)) / STEP
        return out

    def _seen(self, given: Mapping[str, Array], R: Array) -> Array:
        """Effective tokens over the run's tokens, (..., n_runs, n_domains)."""
        R = R[..., None, :] if self.per_domain else R[..., None, None]
        return effective_shares(given["w"], given[UNIQUE], R)

    def _shown(self, given: Mapping[str, Array], seen: Array) -> list[Array]:
        """The law's own inputs. One that knows tokens gets fewer of them, and shares that still sum to 1."""
        if "tokens" not in self.law.inputs:
            return [seen if name == "w" else given[name] for name in self.law.inputs]
        kept = seen.sum(axis=-1)
        shown = {**given, "w": seen / kept[..., None], "tokens": given["tokens"] * kept}
        return [shown[name] for name in self.law.inputs]

    def _given(self, inputs: tuple[Array, ...]) -> dict[str, Array]:
        return dict(zip((*self.law.inputs, UNIQUE), inputs, strict=True))

    def _own(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """The law's own values, without the harm's."""
        return {name: value for name, value in values.items() if not (self.harm and name in HARMS)}


@dataclass(frozen=True)
class Slopes:
    """A repetition-aware law's derivatives, as a function that can be pickled and compared."""

    of: Repeated

    def __call__(self, *inputs: Array, **values: Array) -> tuple[Array, dict[str, Array]]:
        return self.of.jacobian(*inputs, **values)


def wasted(w: Array, seen: Array) -> Array:
    """The share of a run's tokens that taught nothing new, (..., n_runs); never quite 0, as its powers have logs."""
    share = (w - seen).sum(axis=-1)
    return np.where(np.real(share) > MIN_WASTE, share, MIN_WASTE)


def repetition_aware(law: Law, *, per_domain: bool = False, harm: bool = False) -> Law:
    """The law, shown effective tokens in place of shares: one more input, `unique`, and one more parameter, R.

    law: any with an input w. Where it has tokens among its inputs, those become the effective ones of all domains
    together, and w each domain's part of them, which is to put effective tokens in the place of w_j D everywhere;
    without, w are effective tokens over the run's tokens, and sum to less than 1.
    per_domain: each domain has an R* of its own. harm: wasted tokens do harm besides. A law convex in w that falls with
    every domain stays convex, and so is the harm.
    Unlimited pools, and an R* beyond all bounds, give the law itself.
    Raises ValueError for a law that knows no mixture, or has these inputs or parameters already.
    """
    extra = [Param("R", unit="epochs", per_domain=per_domain, low=0.0, prior=Prior(np.log(R_STAR), R_SD))]
    if harm:
        extra.append(Param("harm", unit="nats/token", low=0.0, prior=Prior(np.log(HARM), 1.5)))
        extra.append(Param("power", unit="1", low=1.0, prior=Prior(np.log(POWER - 1), 0.5)))
    taken = {param.name for param in law.params} & {param.name for param in extra}
    if "w" not in law.inputs or UNIQUE in law.inputs or taken:
        raise ValueError(f"{law.name} can't be made aware of repetition: it sees no mixture, or repetition already")
    seen = Repeated(law, per_domain=per_domain, harm=harm)
    options = "-by-domain" * per_domain + "-harm" * harm
    return replace(
        law,
        name=f"{law.name}-repeated{options}",
        formula=seen,
        jacobian=Slopes(seen) if law.jacobian else None,
        params=(*law.params, *extra),
        inputs=(*law.inputs, UNIQUE),
        units={**law.units, UNIQUE: 1.0},
        source=f"{law.source}; effective tokens: Muennighoff et al. 2023, Scaling Data-Constrained Language Models, "
        "arXiv:2305.16264",
        departs=f"{law.departs}; every domain has its own effective tokens, and R* is fitted with a prior around the "
        f"published {R_STAR:.2f}, a factor of e either way" + "; what is wasted does harm, with weak priors" * harm,
    )


# Effective tokens: the fresh tokens that would teach as much as a domain's tokens with their repetitions.


UNLIMITED = 1e30  # unique tokens over a run's tokens: stands for inf, which scikit-learn refuses
R_STAR = 15.387756  # epochs beyond the first; the larger, the longer repetition helps


def unique_shares(unique: Sequence[float | None], domains: int) -> Array:
    """unique as numbers, (n_domains,): a domain's unique tokens over the run's tokens; None: unlimited.

    Raises ValueError for another number of domains, or a share that isn't above 0.
    """
    numbers = np.array([np.inf if u is None else float(u) for u in unique])
    if len(numbers) != domains:
        raise ValueError(f"unique has {len(numbers)} shares for {domains} domains")
    if not (numbers > 0).all():
        raise ValueError("unique: a domain's unique tokens must be above 0; None for unlimited")
    return numbers


def checked_pools(X: Array, columns: slice) -> Array:
    """X (n_runs, n_features) with its columns of unique shares finite; an X that isn't of two axes as it is.

    Raises ValueError for a share that isn't above 0.
    """
    if X.ndim == 2:
        X[:, columns] = np.minimum(X[:, columns], UNLIMITED)  # nan stays, and is refused elsewhere
        if (X[:, columns] <= 0).any():
            raise ValueError("unique: a domain's unique tokens must be above 0; inf for unlimited")
    return X


def effective_shares(W: Array, unique: Array, r_star: float | Array) -> Array:
    """Shares of effective tokens, (n_runs, n_domains): u (1 + R* (1 - exp(-(w/u - 1) / R*))) beyond the first pass.

    W: shares of training tokens (n_runs, n_domains); unique: u, shares as well, (n_domains,) or (n_runs, n_domains),
    inf where unlimited; r_star: R*, a number or anything that broadcasts. All of them real or complex. Values
    and first derivatives are continuous where repetition begins: there it counts as new data does.
    """
    u = np.where(np.isfinite(unique), unique, 1.0)
    repeated = np.real(W) > np.real(unique)
    extra = np.where(repeated, W / u - 1, 0.0)
    return np.where(repeated, u * (1 - r_star * np.expm1(-extra / r_star)), W)
