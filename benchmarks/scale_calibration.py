"""80 % intervals of `mixopt scale` on published tables: how many of the larger and longer runs lie inside.

Prints CSV:

    benchmark,case,method,metric,value

Every table is split many times: rows up to a size, and up to a share of each size's most tokens, are fitted; rows
beyond are predicted, one loss at a time, as far as intervals are called checked. case: a table; `all`, the mean of the
tables; `2x`, `4x`, `10x`, rows about so many times beyond the fitted ones in size or tokens, whichever is more; `size`,
`tokens`, `both`, rows beyond in one or both; `new mixtures`, rows of every third mixture, which is left out of the fit
(tables of mixtures). Splits count alike within a case. coverage80: share inside; width: mean width as a share of the
loss. gain_coverage80: share of mixtures whose loss less that of another one at the same scale lies inside its own
interval (tables of mixtures). Methods: `default`, the default law with its intervals; `worst split`, the same law with
the range of the worst held-out split of the fitted rows, symmetric and the same at every distance, as it was before;
`plan scale` and `plan scale refits`, the leading form of `mixopt plan scale` with its interval and with the 80 % of its
bootstrap refits (tables without mixtures, one loss, not with --quick).

Nothing is drawn at random. Usage: python benchmarks/scale_calibration.py [--quick] [--data DIR]. --quick: fewer splits,
checkpoints and losses.
"""

import csv
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))  # runs from a checkout that isn't installed

from benchmarks.scale import QUICK_LOSSES, mixed_cases, options_of, thinned  # noqa: E402  # isort: skip  # sets threads first

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from mixopt.plan.epochs import checked as plan_checked  # noqa: E402
from mixopt.plan.epochs import loss_interval  # noqa: E402
from mixopt.plan.fit import fitted as plan_fit  # noqa: E402
from mixopt.plan.surface import UNLIMITED, losses, run_at  # noqa: E402
from mixopt.runs.extrapolation import SAME_SCALE, fitted_scales, gain_intervals, loss_intervals  # noqa: E402
from mixopt.runs.scaling import Runs  # noqa: E402
from mixopt.scaling.rolling_origin import DEFAULT, HELD, new_law, rolling_origins  # noqa: E402
from mixopt.study.progress import Progress  # noqa: E402
from regressors.evaluation.cross_validation import size_bins  # noqa: E402

CUTS = (1.0, 0.5, 0.25, 0.1)  # shares of each size's most tokens that are fitted
MAX_EDGES = 5  # sizes up to which rows are fitted, at most
QUICK_CHECKPOINTS = 8  # of every run
MIN_ROWS, MIN_LENGTHS = 8, 3  # that are fitted
KINDS, NEW = ("size", "tokens", "both"), "new mixtures"
BANDS = {"2x": 2.8, "4x": 6.3, "10x": np.inf}
GADRE = (174077952, 1005568, 1048576)  # tokens of the validation sets that follow from the training text
Table = tuple[np.ndarray, np.ndarray]  # X (n_rows, n_domains + 2), Y (n_rows, n_losses)


def tables(data: Path, quick: bool) -> Iterator[tuple[str, Table]]:
    mixed = {case.name: case for case in mixed_cases(data, quick=False)}
    for name, case in (("dmsl", "dmsl 122m+310m->680m"), ("5mix", "mixinglaws 70m+160m->305m")):
        X, Y = mixed[case].X, mixed[case].Y
        yield name, thinned(X, Y[:, :QUICK_LOSSES] if quick else Y, quick, QUICK_CHECKPOINTS)
    table = pd.read_csv(data / "scaling" / "gadre_overtraining.csv")
    for _, runs in table[table.tokens.isin(GADRE)].groupby("train"):
        wide = runs.pivot_table(index=["N", "D"], columns="tokens", values="loss")
        yield "gadre", plain(wide, quick)
    table = pd.read_csv(data / "scaling" / "gemstones_val.csv")
    wide = table.pivot_table(index=["N", "D"], columns="val", values="loss")
    X, Y = plain(wide, quick)
    yield "gemstones", thinned(X, Y, quick, QUICK_CHECKPOINTS)
    table = pd.read_csv(data / "scaling" / "chinchilla_epoch.csv")
    yield "chinchilla", plain(table[table.kept240].set_index(["N", "D"])[["loss"]], quick)
    yield "kyo", plain(pd.read_csv(data / "scaling" / "kyo_llm.csv").set_index(["N", "D"])[["loss"]], quick)


def plain(wide: Any, quick: bool) -> Table:
    Y = wide.to_numpy(float)
    return np.array(wide.index.to_list(), dtype=float), Y[:, :QUICK_LOSSES] if quick else Y


def splits(X: np.ndarray, quick: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit, and all that lie beyond them."""
    params, tokens = X[:, -2], X[:, -1]
    size = size_bins(params)
    longest = np.array([tokens[size == k].max() for k in range(size.max() + 1)])[size]
    edges = np.unique(np.linspace(0, size.max(), min(size.max() + 1, MAX_EDGES)).round())
    for edge in edges:
        for cut in CUTS[: 2 if quick else None]:
            fitted = (size <= edge) & (tokens <= cut * longest * (1 + 1e-9))
            if fitted.sum() < MIN_ROWS or len(np.unique(tokens[fitted])) < MIN_LENGTHS:
                continue
            beyond = (X[:, -2:] > SAME_SCALE * X[fitted, -2:].max(axis=0)).any(axis=1)
            if beyond.any():
                yield fitted, beyond


class Counts:
    """Coverage and width by case and split."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str, str], list[float]] = defaultdict(list)

    def add(self, table: str, method: str, inside: np.ndarray, width: np.ndarray, ratios: np.ndarray) -> None:
        """One split: inside (n,) bool, width (n,) shares of the loss, ratios (n, 2) times beyond in size and tokens."""
        far, band = ratios > SAME_SCALE, np.searchsorted(list(BANDS.values()), ratios.max(axis=1))
        kinds = dict(zip(KINDS, (far[:, 0] & ~far[:, 1], ~far[:, 0] & far[:, 1], far.all(axis=1)), strict=True))
        rows = {table: np.ones(len(far), dtype=bool)}
        rows |= {} if table == NEW else kinds | {name: band == k for k, name in enumerate(BANDS)}
        for case, here in rows.items():
            if here.any():
                self.found[case, method, "coverage80"].append(float(inside[here].mean()))
                self.found[case, method, "width"].append(float(width[here].mean()))


def judge(counts: Counts, name: str, X: np.ndarray, Y: np.ndarray, fitted: np.ndarray, beyond: np.ndarray) -> None:
    Y = Y[:, np.isfinite(Y[fitted]).sum(axis=0) >= MIN_ROWS]
    joint = new_law(DEFAULT).fit(X[fitted], Y[fitted])
    law, spreads = joint.of_law_alone(), None if name == NEW else worst_split(X[fitted], Y[fitted])
    inside, width, rows, of_old, of_gains = [], [], [], [], []
    for k, measured in enumerate(Y.T):
        known = fitted & np.isfinite(measured)
        scales = fitted_scales(lambda Z, k=k: law.predict(Z)[:, k], X[known], measured[known])

        def of(Z: np.ndarray, k: int = k) -> np.ndarray:
            return joint.predict(Z)[:, k]

        judged = beyond & np.isfinite(measured)
        found = loss_intervals(scales, of, X[judged])
        low, high = np.array([(one.low, one.high) for one in found]).T
        checked, truth = np.array([one.checked for one in found]), measured[judged]
        inside.append(((low <= truth) & (truth <= high))[checked])
        width.append(((high - low) / truth)[checked])
        rows.append((X[judged, -2:] / X[fitted, -2:].max(axis=0))[checked])
        if spreads is not None:
            near = np.abs(of(X[judged]) / truth - 1) <= spreads[k]
            of_old.append((near[checked], np.full(checked.sum(), 2 * spreads[k])))
        if X.shape[1] > 2:
            of_gains += gains_inside(scales, of, X[judged][checked], truth[checked])
    if len(ratios := np.vstack(rows)):
        counts.add(name, "default", np.concatenate(inside), np.concatenate(width), ratios)
        if of_old:
            near, wide = map(np.concatenate, zip(*of_old, strict=True))
            counts.add(name, "worst split", near, wide, ratios)
    if of_gains:
        counts.found[name, "default", "gain_coverage80"].append(float(np.mean(of_gains)))


def judge_plan(counts: Counts, name: str, X: np.ndarray, y: np.ndarray, fitted: np.ndarray, beyond: np.ndarray) -> None:
    known, judged = fitted & np.isfinite(y), beyond & np.isfinite(y)
    (params, tokens), loss = X[known].T, y[known]
    lead = plan_fit(Runs(name, params, tokens, tokens, loss, False, (), ()), Progress())[0][0]
    runs = [run_at(lead, float(params), float(tokens), UNLIMITED) for params, tokens in X[judged]]
    checked = np.array([bool(plan_checked(lead, run)) for run in runs])
    if not checked.any():
        return
    assert lead.fitted is not None
    truth, ratios = y[judged][checked], (X[judged] / X[known].max(axis=0))[checked]
    ends = np.array([loss_interval(lead, lead.fitted, run) for run in runs])[checked]
    refits = np.array(
        [losses(lead.at(one), X[judged, 0][checked], X[judged, 1][checked], UNLIMITED) for one in lead.members]
    )
    old = np.nanquantile(refits, [(1 - HELD) / 2, (1 + HELD) / 2], axis=0).T
    for method, (low, high) in {"plan scale": ends.T, "plan scale refits": old.T}.items():
        counts.add(name, method, (low <= truth) & (truth <= high), (high - low) / truth, ratios)


def worst_split(X: np.ndarray, Y: np.ndarray) -> np.ndarray | None:
    """The relative error that HELD of the losses lie within, in the worst held-out split; (n_losses,)."""
    groups = np.unique(X[:, :-2], axis=0, return_inverse=True)[1].reshape(-1) if X.shape[1] > 2 else np.arange(len(X))
    found = []
    for split in rolling_origins(X[:, -2], X[:, -1], Y, groups):
        predicted = new_law(DEFAULT).fit(X[split.fitted], Y[split.fitted]).predict(X[split.predicted])
        found.append(np.nanquantile(np.abs(predicted / Y[split.predicted] - 1), HELD, axis=0))
    return np.max(found, axis=0) if found else None


def gains_inside(scales, of, X: np.ndarray, truth: np.ndarray) -> list[bool]:
    """Of each mixture against the first at the same scale."""
    out = []
    for scale in np.unique(X[:, -2:], axis=0):
        here = np.flatnonzero((X[:, -2:] == scale).all(axis=1))
        intervals = gain_intervals(scales, of, X[here])
        gains = truth[here] - truth[here[0]]
        out += [one.low <= gain <= one.high for one, gain in zip(intervals[1:], gains[1:], strict=True)]
    return out


def main() -> int:
    options = options_of("scale_calibration", __doc__, "fewer splits, checkpoints and losses")
    if options is None:
        return 2
    counts, names = Counts(), []
    for name, (X, Y) in tables(options.data, options.quick):
        names += [name] if name not in names else []
        for fitted, beyond in splits(X, options.quick):
            judge(counts, name, X, Y, fitted, beyond)
            if X.shape[1] > 2:
                new = np.unique(X[:, :-2], axis=0, return_inverse=True)[1].reshape(-1) % 3 == 1
                judge(counts, NEW, X, Y, fitted & ~new, beyond & new)
            if X.shape[1] == 2 and not options.quick:
                judge_plan(counts, name, X, Y[:, 0], fitted, beyond)
    means = {key: float(np.mean(values)) for key, values in counts.found.items()}
    for measure in {key[1:] for key in means}:
        means["all", *measure] = float(np.mean([means[name, *measure] for name in names if (name, *measure) in means]))
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["benchmark", "case", "method", "metric", "value"])
    for case in (*names, "all", *BANDS, *KINDS, NEW):
        for (which, method, metric), value in sorted(means.items()):
            if which == case:
                out.writerow(["scale_calibration", case, method, metric, f"{value:.4f}"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
