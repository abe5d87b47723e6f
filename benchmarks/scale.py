"""Larger models and later checkpoints, predicted from smaller and earlier ones: joint laws on published tables.

Prints CSV:

    benchmark,case,method,metric,value

case: what is fitted -> what is predicted. mre: mean relative error of the predicted losses, percent; mre_late: of those
after a quarter of the longest run or more; mre_last: of the last checkpoints (mixtures); bias: mean relative error with
its sign, percent, above 0 where losses are predicted too high; spearman: over mixtures, at each size's last checkpoint,
mean over losses. For methods with exponents also their values, how wide they are after the fit as a share of before
(sd_ratio; 1: the runs say nothing), and the strength of the priors that was chosen. Methods: every joint law with its
priors; the same with `free` without priors on exponents and irreducible loss; `persistence`, the loss of the same
mixture at the largest size fitted, and its nearest checkpoint; `default`, what mixopt chooses by held-out errors on the
fitted rows alone: of the joint laws for the mean of the losses, with residuals that persist (`mixopt scale`), or, for
plain tables, which have no mixtures, of `chinchilla` and the `average` of forms for each loss (`mixopt plan scale`),
both beside it.

Usage: python benchmarks/scale.py [--quick] [--data DIR]. --quick fits fewer checkpoints, rows and losses.
"""

import argparse
import csv
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # before NumPy is loaded: the tables are small, threads only wait for each other

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))  # runs from a checkout that isn't installed

from mixopt.plan.fit import ONCE, chosen_form  # noqa: E402
from mixopt.runs.extrapolation import SAME_SCALE  # noqa: E402
from mixopt.runs.objective import target_of  # noqa: E402
from mixopt.runs.scaling import Runs  # noqa: E402
from mixopt.runs.table import RunTable  # noqa: E402
from mixopt.scaling.rolling_origin import judge, new_law  # noqa: E402
from mixopt.study.progress import Progress  # noqa: E402
from regressors.estimators.joint import JOINT_LAWS, JointRegressor  # noqa: E402
from regressors.estimators.scaling import ScalingRegressor  # noqa: E402
from regressors.evaluation.metrics import spearman  # noqa: E402

QUICK_CHECKPOINTS = 3  # of every run, the last among them
QUICK_LOSSES = 2
QUICK_EVERY = 4  # row of a table of hundreds of lengths
LATE = 0.25  # of the most tokens predicted


@dataclass(frozen=True)
class Case:
    """X (n_rows, n_domains + 2): shares, parameters, tokens; Y (n_rows, n_losses); which rows are fitted and judged."""

    name: str
    X: np.ndarray
    Y: np.ndarray
    fitted: np.ndarray
    judged: np.ndarray


def read(path: Path, weights: str, params: str, tokens: str, losses: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """X and Y of a table; rounded shares are made to sum to 1."""
    table = pd.read_csv(path)
    W = table[[name for name in table.columns if name.startswith(weights)]].to_numpy(float)
    rest = table[[params, tokens]].to_numpy(float)
    return np.column_stack([W / W.sum(axis=1, keepdims=True), rest]), table[losses].to_numpy(float)


def mixed_cases(data: Path, quick: bool) -> Iterator[Case]:
    path = data / "mixing_scale" / "dmsl_122m_310m.csv"
    losses = [name for name in pd.read_csv(path, nrows=0).columns if name.endswith("_loss")]
    X, Y = read(path, "weight_", "model_size", "n_tokens", losses[:QUICK_LOSSES] if quick else losses)
    X, Y = thinned(X, Y, quick)
    params, tokens = X[:, -2], X[:, -1]
    small, late = params < 2e8, tokens > 1e10
    yield Case("dmsl 122m->310m", X, Y, small, ~small)
    yield Case("dmsl 122m+310m to 10B->310m to 20B", X, Y, small | ~late, ~small & late)

    large = data / "mixing_scale" / "dmsl_680m.csv"
    losses = [name for name in losses if name in set(pd.read_csv(large, nrows=0).columns)]
    losses = losses[:QUICK_LOSSES] if quick else losses
    both = [read(one, "weight_", "model_size", "n_tokens", losses) for one in (path, large)]
    X, Y = (np.vstack([one[k] for one in both]) for k in (0, 1))
    X, Y = thinned(X, Y, quick)
    yield Case("dmsl 122m+310m->680m", X, Y, X[:, -2] < 5e8, X[:, -2] > 5e8)

    path = data / "mixing_scale" / "mixinglaws_5mix_70m_305m.csv"
    # Means of other columns are left out.
    means = {f"loss_{name}" for name in ("full", "academic", "prose", "dialogue", "symbolic", "internet")}
    names = [name for name in pd.read_csv(path, nrows=0).columns if name.startswith("loss_")]
    losses = [name for name in names if name not in means and not name.startswith("loss_subset_")]
    X, Y = read(path, "w_", "N_nonemb", "tokens", losses[:QUICK_LOSSES] if quick else losses)
    X, Y = thinned(X, Y, quick)
    params = X[:, -2]
    yield Case("mixinglaws 70m->160m", X, Y, params < 5e7, (params > 5e7) & (params < 1e8))
    yield Case("mixinglaws 70m+160m->305m", X, Y, params < 1e8, params > 1e8)


def thinned(
    X: np.ndarray, Y: np.ndarray, quick: bool, checkpoints: int = QUICK_CHECKPOINTS
) -> tuple[np.ndarray, np.ndarray]:
    """A few checkpoints of every run, if quick."""
    if not quick:
        return X, Y
    _, run = np.unique(X[:, :-1], axis=0, return_inverse=True)
    kept = []
    for k in range(run.max() + 1):
        rows = np.flatnonzero(run.reshape(-1) == k)
        rows = rows[X[rows, -1].argsort()]
        kept += rows[np.unique(np.linspace(0, len(rows) - 1, checkpoints).round().astype(int))].tolist()
    return X[kept], Y[kept]


def plain_cases(data: Path, quick: bool) -> Iterator[Case]:
    """Sizes and tokens alone; a table's losses are columns where all runs have all of them, else a case each."""
    table = pd.read_csv(data / "scaling" / "gadre_overtraining.csv")
    place = table.groupby(["train", "val", "N", "mult"]).cumcount().astype(str)  # file names are cut off in the table
    wide = table.assign(loss_of=table.train + table.val + place).pivot_table(
        index=["N", "D"], columns="loss_of", values="loss"
    )
    wide = wide[wide.count().nlargest(QUICK_LOSSES).index] if quick else wide
    yield plain("gadre 79m+154m->larger", wide, 7e7, 2e8)
    yield plain("gadre 79m-412m->larger", wide, 7e7, 5e8)
    table = pd.read_csv(data / "scaling" / "gemstones_val.csv")
    wide = table.pivot_table(index=["N", "D", "run_name"], columns="val", values="loss").reset_index(
        "run_name", drop=True
    )
    wide = wide.loc[:, wide.count().nlargest(QUICK_LOSSES).index].iloc[::QUICK_EVERY] if quick else wide
    yield plain("gemstones 48m-117m->larger", wide, 0, 1.3e8)
    yield plain("gemstones 48m-543m->larger", wide, 0, 6e8)
    table = pd.read_csv(data / "scaling" / "chinchilla_epoch.csv")
    wide = table[table.kept240].set_index(["N", "D"])[["loss"]]
    yield plain("chinchilla 57m-180m->larger", wide, 0, 1.8e8)
    yield plain("chinchilla 57m-320m->larger", wide, 0, 3.2e8)


def plain(name: str, wide: Any, low: float, high: float) -> Case:
    X = np.array(wide.index.to_list(), dtype=float)
    return Case(name, X, wide.to_numpy(float), (X[:, 0] > low) & (X[:, 0] < high), X[:, 0] > high)


def persistence(case: Case) -> np.ndarray:
    """The loss of the same mixture at the largest size fitted, at its nearest checkpoint: (n_judged, n_losses)."""
    known, Y = case.X[case.fitted], case.Y[case.fitted]
    out = np.full((case.judged.sum(), Y.shape[1]), np.nan)
    for i, x in enumerate(case.X[case.judged]):
        same = np.flatnonzero((known[:, :-2] == x[:-2]).all(axis=1))
        same = same[known[same, -2] == known[same, -2].max()] if len(same) else same
        for k in range(Y.shape[1]):
            rows = same[np.isfinite(Y[same, k])]
            if len(rows):
                out[i, k] = Y[rows[np.abs(np.log(known[rows, -1] / x[-1])).argmin()], k]
    return out


def scores(case: Case, predicted: np.ndarray) -> dict[str, float]:
    X, Y = case.X[case.judged], case.Y[case.judged]
    off = 100 * (predicted / Y - 1)
    late = X[:, -1] >= LATE * X[:, -1].max()
    found = {
        "mre": float(np.nanmean(np.abs(off))),
        "mre_late": float(np.nanmean(np.abs(off[late]))),
        "bias": float(np.nanmean(off)),
    }
    last = X[:, -1] >= 0.98 * X[:, -1].max()  # the last checkpoints of one recipe, some a step apart
    if X.shape[1] > 2:
        found["mre_last"] = float(np.nanmean(np.abs(off[last])))
        known = [last & np.isfinite(Y[:, k] + predicted[:, k]) for k in range(Y.shape[1])]
        ranks = [spearman(predicted[rows, k], Y[rows, k]) for k, rows in enumerate(known)]
        found["spearman"] = float(np.mean(ranks))
    return found


def exponents(joint: JointRegressor) -> dict[str, float]:
    """The fitted exponents and how far the runs identify them."""
    found = {f"strength_{kind}": strength for kind, strength in joint.strength_.items()}
    for exponent in joint.exponents_:
        found[exponent.name] = float(np.mean(exponent.value))
        if np.isfinite(exponent.prior_sd):
            found[f"{exponent.name}_sd_ratio"] = float(np.mean(exponent.sd)) / exponent.prior_sd
    return found


def methods(case: Case) -> Iterator[tuple[str, JointRegressor]]:
    """Unfitted."""
    if case.X.shape[1] > 2:
        yield "default", new_law(chosen_law(case))
    for name in JOINT_LAWS if case.X.shape[1] > 2 else list(JOINT_LAWS)[:1]:
        yield name, JointRegressor(name, strength=1)
        yield f"{name} free", JointRegressor(name, strength=0)


def chosen_law(case: Case) -> str:
    """The joint law that `mixopt scale` chooses on the fitted rows, asked for the scale that is judged."""
    X, Y = case.X[case.fitted], case.Y[case.fitted]
    domains, losses = ([f"{letter}{k}" for k in range(n)] for letter, n in (("d", X.shape[1] - 2), ("l", Y.shape[1])))
    columns = [*(f"w/{name}" for name in domains), "params", "tokens", *(f"loss/{name}" for name in losses)]
    frame = pd.DataFrame(np.hstack([X, Y]), columns=columns).assign(run_id=range(len(X)))
    table = RunTable(frame, tuple(domains), tuple(losses))
    further = case.X[case.judged, -2:].max(axis=0) > SAME_SCALE * X[:, -2:].max(axis=0)
    beyond = [kind for kind, there in zip(("size", "tokens"), further, strict=True) if there]
    target = target_of(dict.fromkeys(losses, 1 / len(losses)), table)
    return judge(table, target, list(JOINT_LAWS), beyond=beyond, progress=Progress()).chosen


def of_plans(case: Case) -> dict[str, np.ndarray]:
    """What the forms of `mixopt plan scale` predict, and the leading one, loss by loss: (n_judged, n_losses) each."""
    out = {name: np.full(case.Y[case.judged].shape, np.nan) for name in ("default", ONCE, "average")}
    X = case.X[case.judged]
    for k in range(case.Y.shape[1]):
        rows = case.fitted & np.isfinite(case.Y[:, k])
        (params, tokens), loss = case.X[rows].T, case.Y[rows, k]
        chosen = chosen_form(Runs(case.name, params, tokens, tokens, loss, False, (), ()))
        out[ONCE][:, k] = ScalingRegressor(random_state=0).fit(case.X[rows], loss).predict(X)
        out["average"][:, k] = chosen.average.predict(np.column_stack([X, X[:, 1]]))
        out["default"][:, k] = out[chosen.form][:, k]
    return out


def options_of(name: str, description: str | None, quick: str) -> argparse.Namespace | None:
    """--quick and --data of a benchmark on the published tables; None, with a sentence, where they aren't there."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument(
        "--data", type=Path, default=REPO.parent / "shared" / "data", help="folder with mixing_scale/ and scaling/"
    )
    options = parser.parse_args()
    if (options.data / "mixing_scale").is_dir():
        return options
    print(f"{name}: no {options.data / 'mixing_scale'}: give the tables' folder by --data", file=sys.stderr)
    return None


def main() -> int:
    options = options_of("scale", __doc__, "fewer checkpoints, rows and losses")
    if options is None:
        return 2
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["benchmark", "case", "method", "metric", "value"])
    for case in (*mixed_cases(options.data, options.quick), *plain_cases(options.data, options.quick)):
        if case.X.shape[1] > 2:
            for metric, value in scores(case, persistence(case)).items():
                out.writerow(["scale", case.name, "persistence", metric, f"{value:.4f}"])
        else:
            for method, predicted in of_plans(case).items():
                for metric, value in scores(case, predicted).items():
                    out.writerow(["scale", case.name, method, metric, f"{value:.4f}"])
        for method, joint in methods(case):
            joint.fit(case.X[case.fitted], case.Y[case.fitted])
            predicted = joint.predict(case.X[case.judged])
            for metric, value in (scores(case, predicted) | exponents(joint)).items():
                out.writerow(["scale", case.name, method, metric, f"{value:.4f}"])
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
