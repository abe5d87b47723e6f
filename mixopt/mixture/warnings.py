"""Limitations of a recommendation, each with a code: extrapolation, noise, repetition, scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixopt.formatting import count_text, known
from mixopt.mixture.results import Domain, ExpectedOptimism, Gain, Noise
from mixopt.report.document import Warning
from mixopt.runs.table import RunTable
from mixopt.search.optimize import Found
from mixopt.search.simplex import Feasible, distance_to_hull, nearest, total_variation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MIN_PROXY = 15e6  # parameters; olmix (arXiv:2602.12237): rank correlation .73 with a 1B model at 1M, .89 from here on
MIN_OUTSIDE = 1e-3  # share of tokens beyond the trained mixtures' hull: the rounding of printed weights
MAX_DISTANCE = 1.5  # times the distance within which nine in ten runs have a neighbour
MIN_RANK = 0.7  # rank correlation below which a predictor orders mixtures poorly
MAX_EPOCHS = 4.0  # epochs beyond which repeated text is known to be worth less than new (arXiv:2305.16264)
MIN_SIGNAL = 2.0  # signal-to-noise below which a text's losses say little
MAX_SHARE = 0.9  # share of tokens at which a mixture is one domain


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that the warnings are drawn from. Losses are the target's, nats/token.

    measured, predicted: (n_runs,), the latter held-out. losses: predicted, by mixture. gains: of the recommended
    mixture over others; an interval's end is None where the runs are too few for it. sees_repetition: whether the
    predictor knows how often text is repeated. runs: all finished ones, whatever their pools; None: the table's.
    in_study: whether there is a study file, so that its keys can be set.
    best_measured, best_run, best_allowed: the best trained mixture's loss, run, and whether the limits allow it.
    ladder: whether the mixture is the best for the full run, and `gains` are of that run, not of the proxies;
    proxy_params: of the largest rung.
    """

    table: RunTable
    feasible: Feasible
    found: Found
    domains: Sequence[Domain]
    measured: Floats
    predicted: Floats
    losses: Mapping[str, float]
    gains: Mapping[str, Gain]
    best_measured: float
    best_run: str
    best_allowed: bool
    target: Mapping[str, float]
    noise: Sequence[Noise]
    proxy_params: int | None
    level: float
    optimism: ExpectedOptimism
    sees_repetition: bool = False
    runs: RunTable | None = None
    in_study: bool = True
    ladder: bool = False


def limitations(evidence: Evidence) -> list[Warning]:
    """The warnings that apply, the gravest first."""
    checks = (_no_gain, _rank, _mixed_runs, _distance, _best_measured, _optimism, _noise, _epochs, _proxy_size,
              _search, _left_out, _unknown_pools)  # fmt: skip
    return [warning for check in checks for warning in check(evidence)]


def _no_gain(evidence: Evidence) -> Iterator[Warning]:
    over = "natural" if "natural" in evidence.gains else "uniform"
    gain = evidence.gains[over]
    if known(gain.low) and gain.low > 0:
        return
    interval = (
        f"its {'range' if evidence.ladder else f'{evidence.level:.0%} interval'} is {gain.low:.3f} to {gain.high:.3f}"
        if known(gain.low) and known(gain.high)
        else "there are too few runs for an interval"
    )
    runs = "By the ladder" if evidence.ladder else "On these runs"
    yield Warning(
        "no-gain",
        f"{runs} the recommended mixture is not clearly better than the {over} one: its predicted gain is "
        f"{gain.loss:.3f} nats/token, and {interval}. More runs or repeats would settle it.",
    )


def _rank(evidence: Evidence) -> Iterator[Warning]:
    from regressors import spearman

    there = np.isfinite(evidence.measured)
    measured, predicted = evidence.measured[there], evidence.predicted[there]
    if len(measured) < 3 or np.ptp(measured) == 0 or np.ptp(predicted) == 0:
        yield Warning("unranked", "Too few runs with different losses to tell whether the predictor can rank mixtures.")
    elif (rank := spearman(predicted, measured)) < MIN_RANK:
        yield Warning(
            "poor-ranking",
            f"On held-out mixtures the predictor's rank correlation is only {rank:.2f}: "
            "the recommendation may be little better than a guess. Train more mixtures.",
        )


def _mixed_runs(evidence: Evidence) -> Iterator[Warning]:
    for column, what in (("params", "parameters"), ("tokens", "training tokens")):
        values = evidence.table.numbers(column)
        values = np.unique(values[np.isfinite(values)])
        if len(values) > 1:
            yield Warning(
                f"mixed-{column}",
                f"The runs differ in {what} ({values.min():.3g} to {values.max():.3g}), which the predictor, seeing "
                "only mixture weights, treats as noise: use runs of one scale.",
            )


def _distance(evidence: Evidence) -> Iterator[Warning]:
    """How far the recommended mixture is from the trained ones: from their convex hull, and from the nearest."""
    weights = evidence.table.weights
    if (distance := distance_to_hull(evidence.found.weights, weights)) > MIN_OUTSIDE:
        yield Warning(
            "outside-hull",
            f"The recommended mixture lies outside the convex hull of the trained mixtures ({distance:.1%} of its "
            "tokens are beyond any blend of them): its prediction extrapolates. Train it, or mixtures near it, first.",
        )
    weights = np.unique(np.round(weights / weights.sum(axis=1, keepdims=True), 6), axis=0)
    _, distance = nearest(evidence.found.weights, weights)
    if len(weights) < 3:
        return
    apart = np.array([total_variation(np.delete(weights, i, axis=0), w).min() for i, w in enumerate(weights)])
    usual = float(np.quantile(apart, 0.9))  # of nine runs in ten; the natural mixture often lies by itself
    if distance > MAX_DISTANCE * usual:
        yield Warning(
            "far-from-runs",
            f"The recommended mixture is far from every trained one: {distance:.0%} of the tokens would have to move "
            f"to reach the nearest, while 90% of the runs have a neighbour within {usual:.0%}.",
        )


def _best_measured(evidence: Evidence) -> Iterator[Warning]:
    run = evidence.best_run
    if not evidence.best_allowed:
        yield Warning(
            "no-run-within-limits",
            f"No trained mixture satisfies the limits of the search: the best measured one, run {run}, is shown "
            "for comparison only.",
        )
    if evidence.ladder:
        return  # it was measured on the smallest rung, where another mixture is the best
    recommended, gain = evidence.losses["recommended"], evidence.gains["best_measured"]
    reached = f"The best measured mixture, run {run}, reached {evidence.best_measured:.3f} nats/token"
    if evidence.best_measured <= recommended:
        yield Warning(
            "run-as-good",
            f"{reached}, no more than the {recommended:.3f} predicted for the recommended one: either that run was "
            "lucky or its mixture is better. Train both before choosing.",
        )
    elif not known(gain.low) or gain.low <= 0:
        yield Warning(
            "run-within-uncertainty",
            f"{reached}; the recommended mixture's predicted gain over it, {gain.loss:.3f}, is within the uncertainty: "
            "the measured mixture may do as well.",
        )


def _optimism(evidence: Evidence) -> Iterator[Warning]:
    if evidence.optimism.loss is not None or evidence.ladder:
        return  # stands beside the prediction, whose interval takes it into account
    residual = evidence.measured - evidence.predicted
    there = np.flatnonzero(np.isfinite(residual))
    lowest = there[np.argsort(evidence.predicted[there], kind="stable")][: max(3, len(there) // 10)]
    if len(there) < 10:
        return
    over = float(residual[lowest].mean())
    if over > 2 * residual[there].std(ddof=1) / np.sqrt(len(lowest)):
        yield Warning(
            "optimistic",
            f"The predictor is optimistic about the mixtures it ranks best: the {len(lowest)} held-out runs that it "
            f"ranked first were on average {over:.3f} nats/token worse than predicted. Expect the same of the "
            "recommendation.",
        )


def _noise(evidence: Evidence) -> Iterator[Warning]:
    rows = {row.target: row for row in evidence.noise}
    for name in (name for name, weight in evidence.target.items() if weight > 0 and name in rows):
        row = rows[name]
        if known(row.signal_to_noise) and row.signal_to_noise < MIN_SIGNAL:
            yield Warning(
                "noise",
                f"Noise hides the mixtures' effect on {name}: losses have a standard deviation of {row.sd:.3f} "
                f"nats/token between repeats of one mixture and of {row.signal_sd:.3f} between mixtures.",
            )
    if rows and all(row.sd is None for row in rows.values()):
        yield Warning("no-repeats", "No mixture was trained twice, so run-to-run noise is unknown.")


def _epochs(evidence: Evidence) -> Iterator[Warning]:
    seen = proxy_epochs(evidence.runs or evidence.table)
    capped = {name for name, why in zip(evidence.feasible.domains, evidence.feasible.why_high, strict=True)
              if why == "max_epochs"}  # fmt: skip
    for row in evidence.domains:
        name, epochs = row.domain, row.epochs
        if epochs is None or epochs <= 1:
            continue
        fix = f"{'A lower search.max_epochs' if name in capped else 'search.max_epochs'} would limit this."
        if name in seen and epochs > 1.05 * seen[name]:  # a rounded weight or pool is no more repetition
            yield Warning(
                "epochs-beyond-runs",
                f"{name} would be seen for {epochs:.1f} epochs, more than in any run ({seen[name]:.1f} epochs): the "
                f"effect of repetition is extrapolated there. {fix}",
            )
        elif epochs > MAX_EPOCHS and not (name in seen and evidence.sees_repetition):
            unseen = "" if name in seen else ", and the runs say nothing about repetition"
            yield Warning(
                "many-epochs",
                f"{name} would be seen for {epochs:.1f} epochs: beyond about {MAX_EPOCHS:.0f}, repeated text is "
                f"usually worth clearly less than new text{unseen}. {fix}",
            )


def proxy_epochs(table: RunTable) -> dict[str, float]:
    """The most often that any run read a domain's pool, for the domains whose pools are known."""
    found = {}
    for i, name in enumerate(table.domains):
        epochs = table.numbers("tokens") * table.weights[:, i] / table.numbers(f"pool/{name}")
        if np.isfinite(epochs).any():
            found[name] = float(np.nanmax(epochs))
    return found


def _proxy_size(evidence: Evidence) -> Iterator[Warning]:
    if (params := evidence.proxy_params) is not None and params < MIN_PROXY:
        other = "natural" if "natural" in evidence.losses else "uniform"
        what, check = (
            "runs",
            f"Compare the recommended, the {other} and the best measured mixture at a larger size first.",
        )
        if evidence.ladder:
            what, check = "largest runs", "`mixopt verify` compares mixtures on larger or longer runs"
        yield Warning(
            "small-proxy",
            f"The {what} are models of {count_text(params)} parameters, which rank mixtures for much larger models "
            "only roughly (olmix, arXiv:2602.12237: a rank correlation of about .73 with 1M, .89 or more from 15M). "
            f"{check}{'' if evidence.ladder else ' first'}.",
        )


def _search(evidence: Evidence) -> Iterator[Warning]:
    """Where the search ended: at limits, in a corner, or in several places."""
    found = evidence.found
    if touched := ", ".join(f"{name} ({key})" for name, key in evidence.feasible.at_limits(found.weights)):
        yield Warning(
            "at-limits",
            f"The recommended mixture is at limits of the search: {touched}. Without them it would move further.",
        )
    i = int(found.weights.argmax())
    share = found.weights[i]
    if share >= MAX_SHARE and len(evidence.table.domains) > 1:
        floor = ", or set search.min_weight" if evidence.in_study else ""
        yield Warning(
            "one-domain",
            f"{evidence.table.domains[i]} takes {share:.0%} of the tokens: the target rewards little else. If other "
            f"skills matter, add validation sets that measure them to the target{floor}.",
        )
    if found.starts >= 2 and 2 * found.agreeing_starts <= found.starts:
        yield Warning(
            "starts-disagree",
            f"Only {found.agreeing_starts} of {found.starts} local searches ended near the recommended mixture: "
            "several mixtures are predicted to do about as well, or the predictor is rough. Don't read much into "
            "individual weights.",
        )


def _left_out(evidence: Evidence) -> Iterator[Warning]:
    if left := evidence.table.left_out:
        named = ", ".join(f"{row['run_id']} ({row['reason']})" for row in left[:3])
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        runs = len(evidence.table.frame)
        yield Warning("runs-left-out", f"{len(left)} of {runs} runs diverged and are left out: {named}{more}.")


def _unknown_pools(evidence: Evidence) -> Iterator[Warning]:
    if evidence.in_study and all(row.epochs is None for row in evidence.domains):
        yield Warning(
            "unknown-pools",
            "How often text would be repeated is unknown: set full.tokens and each domain's pool, "
            "and cap it with search.max_epochs.",
        )
