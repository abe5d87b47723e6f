"""Pools so small that the best mixture repeats them: what reckoning with repetition gains over a cap of 4 epochs.

    python benchmarks/repetition_mixture.py [--quick] [--out DIR]

repetition_mixture.yaml describes the study. Four recommendations are made for it:

  default               proxies that repeat text as often as the full run will, and mixopt's choice of predictor
  default cap 4         the same, and at most 4 epochs: tells what the cap costs from what the predictor gains
  weight-only cap 4     proxies that read from whole corpora, predictors that see weights alone, at most 4 epochs
  weight-only no cap    the same without the cap

Then all of them, the natural and the uniform mixture are really trained at the larger size of `mixopt verify`, with the
full run's epochs. `gain over X`: nats/token of the target by which `default` is lower than X, over pairs of runs of one
seed, and its standard error.

Seed 0 for data order and initialisation of all mixtures, 1 and 2 for the repeats, 1000 to 1002 for the larger size. The
full run trains some 75 proxies and 18 larger models, about 15 minutes on 2 cores. --quick uses text that comes with
mixopt's own dependencies, fewer and shorter proxies, and two seeds at the proxy's own size.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mixopt.errors import MixoptError
from mixopt.mixture.config import Study
from mixopt.mixture.design import full_pools, make_recipe, proxy_pools
from mixopt.mixture.verify import SEED_OFFSET, gain, target_loss
from mixopt.runs.table import read_run
from mixopt.serialization import read_json
from mixopt.study.jobs import PlannedRun, make_job
from mixopt.study.kind import Session
from mixopt.study.layout import Folder
from mixopt.study.pipeline import open_session, runs_of
from mixopt.study.prepare import open_shards
from mixopt.study.training import train_missing
from regressors import SEES_EPOCHS

HERE = Path(__file__).resolve().parent
CAP = 4.0  # epochs; repeated text up to here is said to be nearly as good as new (arXiv:2305.16264)
QUICK_POOLS = {"docs": 60e6, "reference": 60e6}  # 1.5% of the tokens of quick.yaml's full run each
QUICK_DESIGN = {"mixtures": 10, "repeats": 1, "repetition_runs": 4, "shorter_runs": 1}
QUICK_PREDICTORS = ["effective-data", "effective-data-epochs"]
OURS = "default"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--out", type=Path, help="folder to keep both studies in; default: a temporary one")
    given = options.parse_args()
    print("benchmark,case,method,metric,value")
    with tempfile.TemporaryDirectory() as scratch:
        out = given.out or Path(scratch)
        try:
            ours = open_session(HERE / ("quick.yaml" if given.quick else "repetition_mixture.yaml"), out / "matched")
            if given.quick:
                design = ours.study.design.model_copy(update=QUICK_DESIGN)
                ours = changed(ours, domains=small_pools(ours.study), predictors=QUICK_PREDICTORS, design=design)
            compare(ours, out)
        except MixoptError as error:
            print(f"repetition_mixture: {error}", file=sys.stderr)
            return 2
    return 0


def compare(ours: Session, out: Path) -> None:
    """Recommends by every method, trains what they recommend, and prints rows as they come."""
    found = recommendations(ours, out)
    arms = {method: weights_of(recommendation, "recommended") for method, recommendation in found.items()}
    arms |= {arm: weights_of(found[OURS], arm) for arm in ("natural", "uniform")}
    for method, recommendation in found.items():
        foreseen(method, recommendation)
    selection = read_json(ours.folder.selection, made_by="fit")
    row("proxies", "repeats", "sd", selection["noise"][0]["sd"])  # of the target
    for score in selection["scores"]:
        if score["target"] == "target":
            row("held-out target of matched proxies", score["predictor"], "rmse", score["rmse"])
    measured(arms, trained(ours, arms), ours.study)


def changed(session: Session, root: Path | None = None, **settings: Any) -> Session:
    """The session of a study with other settings, in a folder of its own if root is given."""
    study = session.study.model_copy(update=settings)
    return replace(session, study=study, folder=Folder(root) if root else session.folder)


def small_pools(study: Study) -> dict[str, Any]:
    return {
        name: domain.model_copy(update={"pool": QUICK_POOLS.get(name, domain.pool)})
        for name, domain in study.domains.items()
    }


def recommendations(ours: Session, out: Path) -> dict[str, dict[str, Any]]:
    """recommendation.json's content, by method. With and without a cap, the proxies and the fit are the same."""
    blind = changed(
        ours,
        out / "weight-only",
        design=ours.study.design.model_copy(update={"repetition_matched": False, "repeats": 0}),
        predictors=[name for name in ours.study.predictors if name not in SEES_EPOCHS],
    )
    found = {}
    for session, names in ((ours, (OURS, "default cap 4")), (blind, ("weight-only no cap", "weight-only cap 4"))):
        table = runs_of(session)
        for method, cap in zip(names, (None, CAP), strict=True):
            search = session.study.search.model_copy(update={"max_epochs": cap})
            found[method] = session.kind.recommend(changed(session, search=search), table)
    return found


def weights_of(recommendation: Mapping[str, Any], mixture: str) -> dict[str, float]:
    return {row["domain"]: float(row[mixture]) for row in recommendation["domains"]}


def trained(session: Session, arms: Mapping[str, Mapping[str, float]]) -> dict[str, list[Path]]:
    """Every arm with every seed at the larger size, with the full run's epochs: the files of its runs."""
    study, folder = session.study, session.folder
    shards = open_shards(study, folder)
    recipe = make_recipe(
        study,
        vocab=next(iter(shards.values())).meta.vocab_size,
        params_scale=study.verify.params_scale,
        tokens_scale=study.verify.tokens_scale,
    )
    pools, _ = proxy_pools(study, shards, full_pools(study, shards, session.path), recipe)
    seeds = range(study.seed + SEED_OFFSET, study.seed + SEED_OFFSET + study.verify.seeds)
    jobs = {
        arm: [make_job(PlannedRun(arm, dict(weights), dict(pools), seed), study, shards, recipe) for seed in seeds]
        for arm, weights in arms.items()
    }
    flat = [job for group in zip(*jobs.values(), strict=True) for job in group]
    where = folder.root / "verify"
    train_missing(flat, recipe, study, shards, folder, where, session.progress, title="larger size")
    return {arm: [where / f"{job.run_id}.json" for job in group] for arm, group in jobs.items()}


def measured(arms: Mapping[str, Any], runs: Mapping[str, list[Path]], study: Study) -> None:
    """Target losses of all arms at the larger size, the losses of the target's texts, and what `default` gains."""
    losses = {arm: [target_loss(path, study) for path in runs[arm]] for arm in arms}
    for arm, values in losses.items():
        known = [value for value in values if value is not None]
        row("larger size", arm, "target_loss", float(np.mean(known)) if known else None)
        row("larger size", arm, "sd", float(np.std(known, ddof=1)) if len(known) > 1 else None)
        for text in study.target_weights:
            each = [read_run(path).losses[text].nats_per_token for path in runs[arm]]
            row(f"larger size {text}", arm, "loss", float(np.mean(each)))
    for arm in arms:
        won = gain(losses[OURS], losses[arm])
        if arm != OURS and won is not None:
            row(f"gain over {arm}", OURS, "mean", won["mean"])
            row(f"gain over {arm}", OURS, "standard_error", won["standard_error"])


def foreseen(method: str, recommendation: Mapping[str, Any]) -> None:
    """Weights and epochs of a recommendation, and what its predictor promised at the proxy's size."""
    for row in recommendation["domains"]:
        row(f"weight {row['domain']}", method, "weight", row["recommended"])
        row(f"weight {row['domain']}", method, "epochs", row["epochs"])
    row("proxies", method, "predicted_loss", recommendation["predicted"]["recommended"]["loss"])


def row(case: str, method: str, metric: str, value: float | None) -> None:
    if value is not None:
        print(f"repetition_mixture,{case},{method},{metric},{value:.4f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
