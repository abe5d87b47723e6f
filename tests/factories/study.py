"""A made study: what its folder would hold, for tests that draw it."""

import numpy as np
import pandas as pd

DOMAINS = ("encyclopedia", "french", "speeches", "scripture", "legal", "medical", "code", "docs")
TEXTS = ("quotes", "spanish")
TOKENS = 2.0e9  # of the full run


def made_study(domains=DOMAINS, n_runs=28, seed=0):
    """A study as its files hold it: losses follow one made-up law with seed noise of 0.006 nats/token."""
    rng = np.random.default_rng(seed)
    n = len(domains)
    pools = rng.lognormal(18.5, 1.2, n).round()
    natural = pools / pools.sum()
    worth = rng.lognormal(-1.2, 1.0, (n, 2))

    def law(w):  # (2,) nats/token: each text gains from a domain with diminishing returns
        return np.array([3.1, 3.4]) + 1.0 / (0.6 + np.sqrt(w) @ worth)

    w = np.vstack([natural, np.full(n, 1 / n), rng.dirichlet(np.full(n, 0.8), n_runs - 2)])
    w[-3:] = natural
    roles = ["natural", "uniform"] + ["dirichlet"] * (n_runs - 5) + ["repeat"] * 3
    best = np.sqrt(natural) * (worth @ [0.7, 0.3]) ** 2
    best /= best.sum()
    losses = np.array([law(one) for one in w]) + rng.normal(0, 0.006, (n_runs, 2))
    ids = [f"r{rng.integers(16**8):08x}" for _ in range(n_runs)]
    runs = pd.DataFrame(
        {"run_id": ids, "params": 1_180_000, "tokens": 3_000_000, "seed": 0, "role": roles, "diverged": False}
    )
    runs["seed"] = [0] * (n_runs - 3) + [1, 2, 3]
    shares = pd.DataFrame(w, columns=[f"w/{domain}" for domain in domains])
    runs = pd.concat([runs, shares, pd.DataFrame(losses, columns=[f"loss/{text}" for text in TEXTS])], axis=1)
    runs.loc[5, "diverged"] = True
    kept = [i for i in range(n_runs) if i != 5]

    weights = np.array([0.7, 0.3])
    top = min(kept, key=lambda i: losses[i] @ weights)
    measured = {"target": (losses @ weights)[kept], **{t: losses[kept, j] for j, t in enumerate(TEXTS)}}
    errors = {"effective-data": 0.008, "exponential-mixing": 0.013, "regmix-lightgbm": 0.03, "regmix-linear": 0.018}
    predicted = {
        name: {t: (y + rng.normal(0, sd, len(kept))).tolist() for t, y in measured.items()}
        for name, sd in errors.items()
    }
    scores = [
        {
            "predictor": p,
            "target": t,
            "spearman": 1 - 4 * sd,
            "rmse": sd,
            "rmse_se": sd / 7,
            "regret": sd / 3,
            "regret5": sd / 9,
            "coverage80": 0.79,
            "seconds": 20 * sd,
        }
        for p, sd in errors.items()
        for t in measured
    ]
    selection = {
        "folds": 5,
        "mixtures": len(kept) - 3,
        "runs": len(kept),
        "chosen": "effective-data",
        "why": "effective-data: the lowest held-out error.",
        "floor": 0.0051,
        "nested": {
            "spearman": 0.967,
            "rmse": 0.0083,
            "rmse_se": 0.001,
            "regret": 0.004,
            "regret5": 0.0,
            "coverage80": 0.78,
            "chosen": {"effective-data": 4, "exponential-mixing": 1},
        },
        "scores": scores,
        "held_out": {
            "run_id": [ids[i] for i in kept],
            "role": [roles[i] for i in kept],
            "measured": {t: y.tolist() for t, y in measured.items()},
            "predicted": predicted,
        },
        "noise": [
            {"target": "target", "sd": 0.0051, "signal_sd": 0.062, "signal_to_noise": 12.2, "repeats": 4},
            {"target": "quotes", "sd": 0.006, "signal_sd": 0.081, "signal_to_noise": 13.5, "repeats": 4},
            {"target": "spanish", "sd": 0.0062, "signal_sd": 0.005, "signal_to_noise": 0.81, "repeats": 4},
        ],
        "left_out": [{"run_id": ids[5], "reason": "diverged"}],
    }

    def score(mixture):
        return float(law(mixture) @ weights)

    def moved(j, share):  # the others shrink or grow in proportion
        out = best * (1 - share) / (1 - best[j])
        out[j] = share
        return score(out)

    grid = np.linspace(0, 1, 21)
    mixtures = {"recommended": best, "natural": natural, "uniform": np.full(n, 1 / n)}
    recommendation = {
        "mixopt": "0.1.0",
        "study": "quickstart",
        "seed": 7,
        "target": {"weights": {"quotes": 0.7, "spanish": 0.3}, "unit": "nats/token"},
        "full": {"params": 1.5e8, "tokens": TOKENS},
        "proxy": {"params": 1_180_000, "tokens": 3_000_000},
        "predictor": "effective-data",
        "domains": [
            {
                "domain": domain,
                "natural": natural[j],
                "uniform": 1 / n,
                "recommended": best[j],
                "best_measured": w[top, j],
                "tokens": TOKENS * best[j],
                "epochs": TOKENS * best[j] / pools[j],
                "pool": pools[j],
                "min": 0.0,
                "max": 1.0,
            }
            for j, domain in enumerate(domains)
        ],
        "predicted": {
            **{k: {"loss": score(m), "low": score(m) - 0.021, "high": score(m) + 0.024} for k, m in mixtures.items()},
            "best_measured": {
                "loss": score(w[top]),
                "low": score(w[top]) - 0.02,
                "high": score(w[top]) + 0.02,
                "measured": float(losses[top] @ weights),
                "run_id": ids[top],
            },
        },
        "by_text": {t: {k: float(law(m)[j]) for k, m in mixtures.items()} for j, t in enumerate(TEXTS)},
        "interval": {"level": 0.8, "method": "CV+ over 5 folds of distinct mixtures"},
        "optimism": {"loss": 0.006, "standard_error": 0.002, "method": "rehearsed choices"},
        "search": {
            "sampler": "CMA-ES",
            "trials": 2000,
            "seeded": 30,
            "found": score(best) + 0.0004,
            "polished": score(best),
            "polish_gain": 0.0004,
            "agreeing_starts": 5,
            "starts": 6,
            "inside_hull": True,
            "nearest_run": {"run_id": ids[top], "distance": 0.18},
        },
        "effects": {d: {"weight": grid.tolist(), "loss": [moved(j, s) for s in grid]} for j, d in enumerate(domains)},
        "warnings": [
            "Proxies of 1.18M parameters rank mixtures of much larger models only roughly: check at a larger size.",
            "medical would be repeated 5.1 times; no run repeated any domain more than 4 times.",
        ],
    }
    problems = {"documents": 1200, "bytes": 1, "empty": 3, "not_text": 0, "places": {"empty": ["a:3"]}, "capped": False}
    corpora: dict = {
        d: {
            "documents": 1200 + 37 * j,
            "train_tokens": int(pools[j]),
            "val_tokens": 20000,
            "bytes": int(4 * pools[j]),
            "problems": problems if j % 3 == 0 else {},
            "source": f"data/{d}/*.jsonl.zst",
        }
        for j, d in enumerate(domains)
    }
    overlap = {"texts": 14, "first_share": 0.012, "second_share": 0.009, "example": 3}
    corpora = {"texts": corpora, "duplicates": [{"first": domains[0], "second": domains[-1], **overlap}]}
    return {
        "recommendation": recommendation,
        "selection": selection,
        "runs": runs,
        "corpora": corpora,
        "study_text": "name: quickstart\nkind: mixture\ntarget:\n  quotes: 0.7\n  spanish: 0.3\n",
    }


def made_check(study):
    """verify.json of a made study: three seeds at its own size and at a larger one, as predicted on average."""
    best = study["recommendation"]["predicted"]
    predicted = {arm: best[arm]["loss"] for arm in ("recommended", "natural", "uniform")}
    sizes = [
        {
            "params": params,
            "tokens": tokens,
            "arms": {arm: [loss - off + 0.004 * seed for seed in (-1, 0, 1)] for arm, loss in predicted.items()},
            "gains": {
                arm: {"mean": predicted[arm] - predicted["recommended"], "standard_error": 0.0}
                for arm in ("natural", "uniform")
            },
        }
        for params, tokens, off in ((1_180_000, 3_000_000, 0.0), (12_600_000, 40_000_000, 0.9))
    ]
    return {"sizes": sizes, "conclusions": [f"At {size['params']:,} parameters it wins." for size in sizes]}
