"""Stage fit: every predictor judged on mixtures that it hasn't seen, the best one kept with its evidence."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.config import Study
from mixopt.errors import MixoptError
from mixopt.folder import Folder, digest, read_json, stamp_of, write_json
from mixopt.progress import Progress
from mixopt.target import Target, target_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixopt.runtable import RunTable
    from regressors.judge import HeldOut

    Floats = NDArray[np.float64]

TARGET = "target"  # stands for the study's weighted target beside the texts' names
FOLDS = 16  # or one a mixture: tiny designs can spare few
NO_POOLS = "effective-data-epochs alone can't be used: the runs tell no pools, or different ones"
MANY = 150  # mixtures from which on 5 folds tell as much


@dataclass(frozen=True)
class Fitted:
    """The chosen predictor, fitted to all runs, with the fold estimators that its intervals need."""

    name: str
    estimator: Any  # predict: (n, n_domains) -> (n, n_texts)
    held_out: "HeldOut"
    table: "RunTable"  # the runs that were fitted
    selection: dict[str, Any]


def check_target(table: "RunTable", study: Study, where: str) -> None:
    """Raises MixoptError when the target names a text that the runs don't have, or a text has the target's name."""
    try:
        target_of(study.target_weights, table)
    except MixoptError as error:
        raise MixoptError(f"{where}: {error}") from None
    if TARGET in table.targets and study.target_weights != {TARGET: 1.0}:
        raise MixoptError(
            f"{where}: runs.losses: a loss is called {TARGET!r}, which stands for the study's own target: name it "
            "otherwise with a map {name: column}"
        )


def fit(table: "RunTable", study: Study, folder: Folder, progress: Progress) -> Fitted:
    """Judge all predictors of the study, fit the best and write fits/. Nothing is fitted twice on the same runs.

    Raises MixoptError when too few mixtures are left to judge by.
    """
    fitted_on = without_repeats(table)
    stamp = stamp_for(fitted_on, table, study)
    if stamp_of(folder.selection) == stamp:
        kept = load(folder, fitted_on)
        progress.stage("fit")
        progress.finish(f"{kept.name}, as before")
        return kept
    W, Y, groups = fitted_on.weights, fitted_on.losses, fitted_on.groups
    mixtures = len(np.unique(groups))
    if mixtures < 4:
        raise MixoptError(f"{mixtures} mixtures without divergence are too few to judge a predictor by: train more")
    folds = 5 if mixtures > MANY else min(mixtures, FOLDS)
    progress.stage("fit", total=len(study.predictors) + 1)
    judged: dict[str, HeldOut] = {}
    makers = {name: make for name in study.predictors if (make := maker(name, fitted_on, seed=study.seed))}
    if not makers:
        raise MixoptError(f"predictors: {NO_POOLS}")
    for i, (name, make) in enumerate(makers.items()):
        progress.update(i, name)
        judged[name] = judge(name, make, W, Y, groups, folds=folds, seed=study.seed)
    selection = select(judged, fitted_on, table, study, folds=folds)
    chosen = selection["chosen"]
    progress.update(len(judged), f"{chosen} on all runs")
    try:
        estimator = makers[chosen]().fit(W, Y)
    except ValueError as error:
        raise MixoptError(f"{chosen}: {error}") from None
    found = Fitted(chosen, estimator, judged[chosen], fitted_on, selection | {"stamp": stamp})
    save(found, folder, study)
    best = next(s for s in selection["scores"] if s["predictor"] == chosen and s["target"] == TARGET)
    progress.finish(f"{chosen}: held-out Spearman {best['spearman']:.3f}, RMSE {best['rmse']:.3f} nats/token")
    return found


def maker(name: str, table: "RunTable", *, seed: int) -> Callable[[], Any] | None:
    """Gives unfitted estimators of a predictor; None: it needs pools and the runs tell none."""
    from regressors import EPOCH_AWARE, PREDICTORS

    if name != EPOCH_AWARE:
        return lambda: PREDICTORS[name](seed)
    unique = unique_of(table)
    return None if unique is None else lambda: PREDICTORS[name](seed).set_params(unique=unique)


def unique_of(table: "RunTable") -> list[float | None] | None:
    """Each domain's unique tokens over a run's tokens, where all runs agree on them; None otherwise."""
    kept = table.kept
    if "tokens" not in kept or any(f"pool/{name}" not in kept for name in table.domains):
        return None
    shares = np.stack([kept[f"pool/{name}"] / kept["tokens"] for name in table.domains], axis=1).astype(float)
    if not np.isfinite(shares).any() or not np.allclose(shares, shares[0], rtol=1e-6, equal_nan=True):
        return None
    return [float(share) if np.isfinite(share) else None for share in shares[0]]


def judge(
    name: str, make: Callable[[], Any], W: "Floats", Y: "Floats", groups: Any, *, folds: int, seed: int
) -> "HeldOut":
    from regressors import cross_validate

    try:
        return cross_validate(make, W, Y, groups, folds=folds, seed=seed)
    except ValueError as error:
        raise MixoptError(f"{name}: {error}") from None


def without_repeats(table: "RunTable") -> "RunTable":
    """The runs to fit: repeats with other seeds measure noise only.

    All other runs share initialisation and data order, so that their differences are the mixtures'; a repeat
    doesn't, and would look like an effect of its mixture.
    """
    from dataclasses import replace

    if "role" not in table.frame:
        return table
    return replace(table, frame=table.frame[table.frame["role"] != "repeat"].reset_index(drop=True))


def stamp_for(fitted_on: "RunTable", table: "RunTable", study: Study) -> str:
    """Of everything that the fit depends on."""
    from mixopt import __version__

    return digest(
        [
            __version__,
            list(fitted_on.domains),
            list(table.targets),
            np.round(table.weights, 12).tolist(),
            np.where(np.isnan(table.losses), -1.0, table.losses).tolist(),
            list(map(str, table.kept["run_id"])),
            study.predictors,
            unique_of(fitted_on),
            study.seed,
            study.target_weights,
        ]
    )


def select(
    judged: Mapping[str, "HeldOut"], fitted_on: "RunTable", table: "RunTable", study: Study, *, folds: int
) -> dict[str, Any]:
    """fits/selection.json: scores of all predictors, the chosen one, held-out predictions, noise."""
    texts, Y = list(fitted_on.targets), fitted_on.losses
    aim = target_of(study.target_weights, fitted_on)
    groups = fitted_on.groups
    measured = columns(Y, texts, aim)
    predicted = {name: columns(held_out.predicted, texts, aim) for name, held_out in judged.items()}
    rows = [
        {"predictor": name, "target": text, **score(predicted[name][text], measured[text], groups)}
        for name in judged
        for text in measured
    ]
    # Lowest error on the target; ranks alone would not tell a predictor that exaggerates.
    chosen = min(judged, key=lambda name: error_on_target(rows, name))
    kept = fitted_on.kept
    roles = kept["role"] if "role" in kept else [""] * len(kept)
    return {
        "folds": folds,
        "mixtures": len(np.unique(groups)),
        "runs": len(kept),
        "chosen": chosen,
        "scores": rows,
        "held_out": {
            "run_id": list(map(str, kept["run_id"])),
            "role": list(map(str, roles)),
            "measured": {text: plain(values) for text, values in measured.items()},
            "predicted": {
                name: {text: plain(values) for text, values in by_text.items()} for name, by_text in predicted.items()
            },
        },
        "noise": noise(table, study),
        "left_out": table.left_out,
        "notes": list(table.notes),
    }


def columns(losses: "Floats", texts: Sequence[str], aim: Target) -> dict[str, "Floats"]:
    """The weighted target first, then every text: name -> (n,)."""
    return {TARGET: aim.of(losses)} | {text: losses[:, i] for i, text in enumerate(texts)}


def error_on_target(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    error = next(row["rmse"] for row in rows if row["predictor"] == name and row["target"] == TARGET)
    return float("inf") if error is None else error


def score(predicted: "Floats", measured: "Floats", groups: Any) -> dict[str, float | None]:
    """Held-out scores over mixtures: runs of one mixture count once, by their mean. None where there are too few."""
    from regressors import regret, rmse, spearman

    known = np.isfinite(predicted) & np.isfinite(measured)
    labels = np.unique(groups[known])
    if len(labels) < 3:
        return {"spearman": None, "rmse": None, "regret": None}
    p, m = (np.array([x[known & (groups == g)].mean() for g in labels]) for x in (predicted, measured))
    return {"spearman": number(spearman(p, m)), "rmse": number(rmse(p, m)), "regret": number(regret(p, m))}


def noise(table: "RunTable", study: Study) -> list[dict[str, Any]]:
    """Scatter of repeats of one mixture against scatter across mixtures, for the target and every text."""
    groups, aim = table.groups, target_of(study.target_weights, table)
    rows = []
    for text, losses in columns(table.losses, list(table.targets), aim).items():
        known = np.isfinite(losses)
        # Pooled over all mixtures that were trained more than once.
        within = [losses[known & (groups == g)] for g in np.unique(groups[known])]
        spare = sum(len(x) - 1 for x in within)
        square = sum(float(((x - x.mean()) ** 2).sum()) for x in within)
        means = np.array([x.mean() for x in within])
        sd = (square / spare) ** 0.5 if spare else None
        signal = float(means.std(ddof=1)) if len(means) > 1 else None
        ratio = signal / sd if sd and signal is not None else None
        rows.append(
            {
                "target": text,
                "sd": sd,
                "signal_sd": signal,
                "signal_to_noise": ratio,
                "repeats": spare + 1 if spare else 0,
            }
        )
    return rows


def number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def plain(values: "Floats") -> list[float | None]:
    return [number(value) for value in values]


def save(found: Fitted, folder: Folder, study: Study) -> None:
    """fits/<predictor>.json, then fits/selection.json, whose stamp makes the fit valid."""
    import scipy
    import sklearn

    from mixopt import __version__

    write_json(
        folder.fits / f"{found.name}.json",
        {
            "stamp": found.selection["stamp"],
            "predictor": found.name,
            "domains": list(found.table.domains),
            "texts": list(found.table.targets),
            "seed": study.seed,
            "versions": {"mixopt": __version__, "numpy": np.__version__, "scipy": scipy.__version__,
                         "scikit-learn": sklearn.__version__},
            "model": found.estimator.to_dict(),
            "fold": found.held_out.fold.tolist(),
            "fold_models": [estimator.to_dict() for estimator in found.held_out.estimators],
            "held_out": [plain(row) for row in found.held_out.predicted],
        },
    )  # fmt: skip
    write_json(folder.selection, found.selection)


def load(folder: Folder, fitted_on: "RunTable") -> Fitted:
    """What `save` wrote. Raises MixoptError when it is absent, or of other domains than the runs."""
    from regressors import HeldOut, from_dict

    selection = read_json(folder.selection, made_by="fit")
    path = folder.fits / f"{selection['chosen']}.json"
    kept = read_json(path, made_by="fit")
    if kept["domains"] != list(fitted_on.domains):
        raise MixoptError(f"{path}: fitted on domains {', '.join(kept['domains'])}, the runs have others: fit again")
    held_out = HeldOut(
        predicted=np.array([[np.nan if x is None else x for x in row] for row in kept["held_out"]]),
        fold=np.array(kept["fold"]),
        estimators=[from_dict(model) for model in kept["fold_models"]],
    )
    return Fitted(kept["predictor"], from_dict(kept["model"]), held_out, fitted_on, selection)
