"""Run-to-run noise of proxy recipes: the study's own beside other rates and batches, several seeds each.

    python benchmarks/noise.py [--quick]

Trains the uniform mixture of the demo corpus (--quick: of text that comes with mixopt's own dependencies) with seeds
0 to 3 (--quick: 0 to 1) for initialisation and data order alike, one thread. sd: of the weighted target over seeds;
loss: its mean; both nats/token.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mixopt.errors import MixoptError
from mixopt.study.pipeline import open_session, planned
from mixopt.study.prepare import prepare
from proxies.train import ProxyRun, Recipe, train
from proxies.worker import open_tokenizer, validation_set

HERE = Path(__file__).resolve().parent
RECIPES = {
    "default": {},
    "rate 3e-3": {"learning_rate": 3e-3},
    "rate 16e-3": {"learning_rate": 16e-3},
    "batch 16": {"batch": 16},
    "decay .2": {"decay": 0.2},
}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true")
    quick = options.parse_args().quick
    torch.set_num_threads(1)
    print("benchmark,case,method,metric,value")
    with tempfile.TemporaryDirectory() as scratch:
        study = HERE / "quick.yaml" if quick else HERE.parent / "configs" / "quickstart.yaml"
        try:
            session = open_session(study, Path(scratch) / "study")
            prepare(session.study, session.path, session.folder, session.progress)
            plan, shards = planned(session)
        except MixoptError as error:
            print(f"noise: {error}", file=sys.stderr)
            return 2
        uniform = next(job for job in plan.jobs if job.role == "uniform")
        tokenizer = open_tokenizer(str(session.folder.tokenizer), next(iter(shards.values())).meta.end)
        pools = {name: shards[name].train[:size] for name, size in uniform.pools.items()}
        for name, changes in RECIPES.items():
            recipe: Recipe = replace(plan.recipe, **changes)
            count = session.study.proxy.validation_tokens // recipe.context
            texts = {t: validation_set(t, shard, tokenizer, recipe, count) for t, shard in shards.items()}
            losses = []
            for seed in range(2 if quick else 4):
                outcome = train([ProxyRun(uniform.weights, pools, seed)], recipe, texts, device="cpu")[0]
                target = session.study.target_weights.items()
                losses.append(sum(weight * outcome.losses[text] for text, weight in target))
            case = "uniform mixture of three texts" if quick else "uniform mixture of the demo"
            print(f"noise,{case},{name},sd,{np.std(losses, ddof=1):.4f}")
            print(f"noise,{case},{name},loss,{np.mean(losses):.4f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
