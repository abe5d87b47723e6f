"""What a reader of a recommendation should beware of, in plain sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.runs.table import RunTable
from mixopt.search.optimize import Found
from mixopt.search.simplex import Feasible, distance_to_hull, nearest, total_variation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SMALL_PROXY = 15e6  # parameters; olmix (arXiv:2602.12237): rank correlation .73 with a 1B model at 1M, .89 from here on
OUTSIDE = 1e-3  # share of tokens beyond the trained mixtures' hull: the rounding of printed weights
FAR = 1.5  # times the distance within which nine in ten runs have a neighbour
LOW_RANK = 0.7  # rank correlation below which a predictor orders mixtures poorly
MANY_EPOCHS = 4.0  # passes beyond which repeated text is known to be worth less than new (arXiv:2305.16264)
WEAK_SIGNAL = 2.0  # signal-to-noise below which a text's losses say little
NEARLY_ALL = 0.9  # share of tokens at which a mixture is one domain


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that the warnings are drawn from. Losses are the target's, nats/token.

    domains: rows of recommendation.json. measured, predicted: (n_runs,), the latter held-out.
    losses: predicted, by mixture. gains: {"loss", "low", "high"} of the recommended mixture over others.
    optimism: expected at the recommended mixture, {"loss"}; None where unknown. sees_repetition: whether the predictor
    was told how often text is repeated. runs: all finished ones, whatever their pools; None: the table's.
    best_measured, best_run, best_allowed: the best trained mixture's loss, run, and whether the limits allow it.
    """

    table: RunTable
    feasible: Feasible
    found: Found
    domains: Sequence[Mapping[str, Any]]
    measured: Floats
    predicted: Floats
    losses: Mapping[str, float]
    gains: Mapping[str, Mapping[str, float]]
    best_measured: float
    best_run: str
    best_allowed: bool
    target: Mapping[str, float]
    noise: Sequence[Mapping[str, Any]]
    proxy_params: int | None
    level: float
    optimism: Mapping[str, Any]
    sees_repetition: bool = False
    runs: RunTable | None = None


def cautions(evidence: Evidence) -> list[str]:
    """The warnings that apply, the gravest first."""
    return [
        text
        for caution in (
            _no_gain, _rank, _mixed_runs, _outside, _far, _best_measured, _optimism, _noise, _epochs,
            _proxy_size, _limits, _one_domain, _starts, _left_out, _unknown_pools,
        )
        for text in caution(evidence)
    ]  # fmt: skip


def _no_gain(evidence: Evidence) -> list[str]:
    over = "natural" if "natural" in evidence.gains else "uniform"
    gain = evidence.gains[over]
    if gain["low"] > 0:
        return []
    known = np.isfinite(gain["low"]) and np.isfinite(gain["high"])
    interval = (
        f"the {evidence.level:.0%} interval reaches from {gain['low']:.3f} to {gain['high']:.3f}"
        if known
        else "these runs are too few for an interval around it"
    )
    return [
        f"As far as these runs can tell, the recommended mixture is no better than the {over} one: its predicted gain "
        f"is {gain['loss']:.3f} nats/token, and {interval}. More runs, or repeats, would tell."
    ]


def _rank(evidence: Evidence) -> list[str]:
    from regressors import spearman

    known = np.isfinite(evidence.measured)
    if known.sum() < 3 or np.ptp(evidence.measured[known]) == 0 or np.ptp(evidence.predicted[known]) == 0:
        return ["Too few runs differ in their loss to say whether the predictor ranks mixtures at all."]
    rank = spearman(evidence.predicted[known], evidence.measured[known])
    if rank >= LOW_RANK:
        return []
    return [
        f"The predictor ranks mixtures it has not seen at a rank correlation of only {rank:.2f}: "
        "the recommendation may be little better than a guess. Train more mixtures."
    ]


def _mixed_runs(evidence: Evidence) -> list[str]:
    found = []
    for column, what in (("params", "parameters"), ("tokens", "training tokens")):
        values = evidence.table.numbers(column)
        values = np.unique(values[np.isfinite(values)])
        if len(values) > 1:
            found.append(
                f"The runs differ in {what} ({values.min():.3g} to {values.max():.3g}), which the predictor, seeing "
                "weights alone, takes for noise: keep the runs of one size."
            )
    return found


def _outside(evidence: Evidence) -> list[str]:
    distance = distance_to_hull(evidence.found.weights, evidence.table.weights)
    if distance <= OUTSIDE:
        return []
    return [
        f"The recommended mixture lies outside what the runs span ({distance:.1%} of its tokens are beyond any blend "
        "of trained mixtures): its prediction is an extrapolation. Train it, or mixtures around it, first."
    ]


def _far(evidence: Evidence) -> list[str]:
    weights = evidence.table.weights
    weights = np.unique(np.round(weights / weights.sum(axis=1, keepdims=True), 6), axis=0)
    _, distance = nearest(evidence.found.weights, weights)
    if len(weights) < 3:
        return []
    apart = np.array([total_variation(np.delete(weights, i, axis=0), w).min() for i, w in enumerate(weights)])
    usual = float(np.quantile(apart, 0.9))  # of nine runs in ten; the natural mixture often lies by itself
    if distance <= FAR * usual:
        return []
    return [
        f"The recommended mixture is far from every trained one: {distance:.0%} of the tokens would have to move to "
        f"reach the nearest, while nine in ten runs have a neighbour within {usual:.0%}."
    ]


def _best_measured(evidence: Evidence) -> list[str]:
    told = []
    if not evidence.best_allowed:
        told.append(
            f"No trained mixture keeps the limits of the search: the best measured one, run {evidence.best_run}, "
            "is shown for comparison only."
        )
    recommended, gain = evidence.losses["recommended"], evidence.gains["best_measured"]
    told_of = f"The best measured mixture, run {evidence.best_run}, reached {evidence.best_measured:.3f} nats/token"
    if evidence.best_measured <= recommended:
        told.append(
            f"{told_of}, no more than the {recommended:.3f} predicted for the recommended one: by luck of that run, or "
            "as the better mixture. Train both before choosing."
        )
    elif gain["low"] <= 0:
        told.append(
            f"{told_of}; the recommended one's predicted gain over it, {gain['loss']:.3f}, is within the uncertainty: "
            "the measured mixture may do as well."
        )
    return told


def _optimism(evidence: Evidence) -> list[str]:
    if evidence.optimism.get("loss") is not None:
        return []  # told beside the prediction, whose interval takes it into account
    residual = evidence.measured - evidence.predicted
    known = np.flatnonzero(np.isfinite(residual))
    favourites = known[np.argsort(evidence.predicted[known], kind="stable")][: max(3, len(known) // 10)]
    if len(known) < 10:
        return []
    over = float(residual[favourites].mean())
    if over <= 2 * residual[known].std(ddof=1) / np.sqrt(len(favourites)):
        return []
    return [
        f"The predictor is optimistic about the mixtures it likes best: the {len(favourites)} held-out runs that it "
        f"ranked first measured {over:.3f} nats/token worse than predicted on average. Expect the same of the "
        "recommendation."
    ]


def _noise(evidence: Evidence) -> list[str]:
    rows = {str(row.get("target")): row for row in evidence.noise}
    told = []
    for text in (name for name, weight in evidence.target.items() if weight > 0):
        row = rows.get(text, {})
        ratio = row.get("signal_to_noise")
        if ratio is not None and ratio < WEAK_SIGNAL:
            told.append(
                f"Noise swamps the mixtures' effect on {text}: repeats of one mixture scatter by {row['sd']:.3f} "
                f"nats/token, different mixtures by {row['signal_sd']:.3f}."
            )
    unrepeated = rows and all(row.get("sd") is None for row in rows.values())
    if unrepeated:
        told.append("No mixture was trained twice, so it is not known how much of the losses' scatter is noise.")
    return told


def _epochs(evidence: Evidence) -> list[str]:
    seen = proxy_epochs(evidence.runs or evidence.table)
    capped = [name for name, why in zip(evidence.feasible.domains, evidence.feasible.why_high, strict=True)
              if why == "max_epochs"]  # fmt: skip
    told = []
    for row in evidence.domains:
        name, epochs = row["domain"], row["epochs"]
        if epochs is None or epochs <= 1:
            continue
        way_out = "A lower search.max_epochs" if name in capped else "search.max_epochs"
        if name in seen and epochs > 1.05 * seen[name]:  # a rounded weight or pool is no more repetition
            told.append(
                f"{name} would be read {epochs:.1f} times, more than any run has read it ({seen[name]:.1f} times): "
                f"what repetition costs there is extrapolated. {way_out} would keep it to fewer."
            )
        elif epochs > MANY_EPOCHS and not (name in seen and evidence.sees_repetition):
            unseen = "" if name in seen else ", and the runs say nothing about repetition"
            told.append(
                f"{name} would be read {epochs:.1f} times: beyond about {MANY_EPOCHS:.0f} passes repeated text is "
                f"usually worth clearly less than new text{unseen}. {way_out} would keep it to fewer."
            )
    return told


def proxy_epochs(table: RunTable) -> dict[str, float]:
    """The most often that any run read a domain's pool, for the domains whose pools are known."""
    found = {}
    for i, name in enumerate(table.domains):
        epochs = table.numbers("tokens") * table.weights[:, i] / table.numbers(f"pool/{name}")
        if np.isfinite(epochs).any():
            found[name] = float(np.nanmax(epochs))
    return found


def _proxy_size(evidence: Evidence) -> list[str]:
    params = evidence.proxy_params
    if params is None or params >= SMALL_PROXY:
        return []
    return [
        f"The runs are models of {params / 1e6:.2g}M parameters, which rank mixtures for much larger models only "
        "roughly (olmix, arXiv:2602.12237: a rank correlation of about .73 from 1M, .89 and more from 15M). Compare "
        "the recommended, the natural and the best measured mixture at a larger size before relying on it."
    ]


def _limits(evidence: Evidence) -> list[str]:
    touched = evidence.feasible.at_limits(evidence.found.weights)
    if not touched:
        return []
    told = ", ".join(f"{name} ({setting})" for name, setting in touched)
    return [f"The recommended mixture stops at limits that were set: {told}. Without them it would go further."]


def _one_domain(evidence: Evidence) -> list[str]:
    i = int(evidence.found.weights.argmax())
    share = evidence.found.weights[i]
    if share < NEARLY_ALL or len(evidence.table.domains) < 2:
        return []
    return [
        f"{evidence.table.domains[i]} takes {share:.0%} of the tokens: the target asks for little else. If other "
        "skills matter, give texts that show them a weight in the target, or set search.min_weight."
    ]


def _starts(evidence: Evidence) -> list[str]:
    found = evidence.found
    if found.starts < 2 or 2 * found.agreeing_starts > found.starts:
        return []
    return [
        f"Only {found.agreeing_starts} of {found.starts} local searches ended near the recommended mixture: several "
        "mixtures are predicted to do about as well, or the predictor is rough. Don't read much into single weights."
    ]


def _left_out(evidence: Evidence) -> list[str]:
    left = evidence.table.left_out
    if not left:
        return []
    told = ", ".join(f"{row['run_id']} ({row['reason']})" for row in left[:3])
    more = f" and {len(left) - 3} more" if len(left) > 3 else ""
    runs = len(evidence.table.frame)
    return [f"{len(left)} of {runs} runs diverged and are left out: {told}{more}."]


def _unknown_pools(evidence: Evidence) -> list[str]:
    if any(row["epochs"] is not None for row in evidence.domains):
        return []
    return [
        "How often text would be repeated is not known: state full.tokens and each domain's pool, "
        "and with search.max_epochs cap it."
    ]
