"""Golden records: what today's commands answer on fixed inputs, kept as tests/golden/*.json.

    python -m tests.factories.golden                     writes every golden record anew
    python -m tests.factories.golden plan_epochs.json    only those that are named

Inputs are made here from closed formulas and a seeded generator of the standard library, and every answer is had
through the command line, so a golden record outlives any change of modules. Nothing is trained: the runs of a study of
repetition or of continued pretraining are written under the ids that `mixopt design` gives them. Write them anew only
where an answer is meant to change, and read the difference before committing it.
"""

import csv
import json
import math
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
EXAMPLES = Path(__file__).resolve().parents[2] / "configs"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def answers(*words: str) -> str:
    """Standard output of a command in the current folder; AssertionError with all it said where it fails."""
    from typer.testing import CliRunner

    from mixopt.cli.main import app

    before = sys.argv
    sys.argv = ["mixopt", *words]  # some answers keep the command that made them
    try:
        done = CliRunner().invoke(app, list(words))
    finally:
        sys.argv = before
    assert done.exit_code == 0, f"mixopt {' '.join(words)}: {done.output}\n{done.exception!r}"
    return done.stdout


def read(path: str) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_table(path: str, rows: Iterable[Mapping[str, Any]]) -> None:
    rows = list(rows)
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


# Mixtures: the shipped table of 43 runs


def mixture_study() -> dict[str, Any]:
    """The shipped study on a table of runs, with two quick predictors and few trials."""
    shutil.copy(EXAMPLES / "your-runs.csv", "your-runs.csv")
    text = (EXAMPLES / "your-runs.yaml").read_text(encoding="utf-8")
    for old, new in (
        ("seed: 0", "seed: 0\npredictors: [exponential-mixing, regmix-linear]"),
        ("max_epochs: 10", "max_epochs: 10, trials: 80"),
    ):
        assert text.count(old) == 1, f"your-runs.yaml has {old!r} {text.count(old)} times"
        text = text.replace(old, new)
    Path("your-runs.yaml").write_text(text, encoding="utf-8")
    answers("run", "your-runs.yaml", "--out", "study")
    return {
        "mixture_recommendation.json": read("study/recommendation.json"),
        "mixture_selection.json": read("study/fits/selection.json"),
    }


def mixture_fit() -> dict[str, Any]:
    """A stored fit of the shipped table."""
    shutil.copy(EXAMPLES / "your-runs.csv", "your-runs.csv")
    target = "medical=0.34,legal=0.33,docs=0.33"
    answers("fit", "your-runs.csv", "--target", target, "--predictors", "regmix-linear", "--out", "mixture.fit.json")
    return {"mixture_fit.json": read("mixture.fit.json")}


# Scale: made runs of three sizes and two lengths


def scale_rows() -> Iterable[dict[str, float]]:
    """Runs of eight mixtures of three domains at every size and length, with noise of .003 nats/token."""
    rng = random.Random(0)
    for params in (1e6, 4e6, 16e6):
        for tokens in (2e7, 6e7):
            for _ in range(8):
                parts = [rng.expovariate(1.0) for _ in range(3)]
                code, web = (round(part / sum(parts), 4) for part in parts[:2])
                books = round(1 - code - web, 4)
                base = 1.5 + 7.2 / params**0.15 + 60 / tokens**0.28
                yield {
                    "params": params,
                    "tokens": tokens,
                    "w/code": code,
                    "w/web": web,
                    "w/books": books,
                    "loss/code": base + 0.8 / (0.3 + 1.2 * code + 0.3 * web + 0.2 * books) + rng.gauss(0, 0.003),
                    "loss/web": base + 0.8 / (0.3 + 0.2 * code + 1.0 * web + 0.6 * books) + rng.gauss(0, 0.003),
                }


def scale() -> dict[str, Any]:
    write_table("scales.csv", scale_rows())
    beyond = ("--at-params", "1e8", "--at-tokens", "1B", "--pool", "code=300M")
    answers("scale", "scales.csv", "--target", "code=0.5,web=0.5", *beyond, "--out", "scale.json")
    return {"scaling_scale.json": read("scale.json")}


# Plans


def plan_epochs() -> dict[str, Any]:
    return {"plan_epochs.json": json.loads(answers("plan", "epochs", "--unique", "25B", "--compute", "1e22", "--json"))}


def plan_scale() -> dict[str, Any]:
    told = answers("plan", "scale", "--compute", "1e22", "--inference-tokens", "1T", "--json")
    return {"plan_scale.json": json.loads(told)}


def continued_losses(params: float, tokens: float, share: float, rng: random.Random) -> tuple[float, float]:
    """Domain and general loss after continued pretraining on a share of the domain, by the D-CPT law, with noise."""
    size = 60 / params**0.3
    domain = 0.9 + size + 9 * share**0.2 / tokens**0.17 + 0.25 / (share + 0.4) ** 0.9
    general = 1.5 + 1.3 * size + 2 / tokens**0.2 + 0.03 / (1 - share + 0.05) ** 0.7
    return domain + rng.gauss(0, 0.003), general + rng.gauss(0, 0.003)


def cpt_rows() -> Iterable[dict[str, Any]]:
    """Checkpoints of runs of two sizes and four shares, and each size's losses before."""
    rng = random.Random(1)
    for params in (3e7, 1e8):
        _, general = continued_losses(params, 4e9, 0.6, rng)
        yield dict(run="start", params=params, tokens=0, domain_share="", domain_loss=2.5, general_loss=general)
        for share in (0.3, 0.5, 0.7, 0.9):
            for tokens in (2e8, 5e8, 1.3e9, 3.2e9, 8e9):
                domain, general = continued_losses(params, tokens, share, rng)
                run = f"{params:.0e}/{share}"
                yield dict(run=run, params=params, tokens=tokens, domain_share=share, domain_loss=domain,
                           general_loss=general)  # fmt: skip


def plan_cpt() -> dict[str, Any]:
    write_table("cpt.csv", cpt_rows())
    return {"plan_cpt.json": json.loads(answers("plan", "cpt", "--runs", "cpt.csv", "--tolerance", "2%", "--json"))}


# Studies that would train: their runs are written instead

REPETITION = """\
name: repeated
kind: repetition
domains:
  a: {path: a.jsonl}
full: {unique: 1M, compute: 1e12}
tokenizer: {vocab: 257}
proxy: {layers: 1, width: 16, heads: 2, context: 16, batch: 4, device: cpu}
design:
  sizes: [1, 4]
  unique: [640, 2560]
  epochs: [1, 2, 4, 8]
  weight_decay: [0.1]
  repeats: 2
"""
CONTINUAL = """\
name: continued
kind: continual
domains:
  a: {path: a.jsonl}
  b: {path: b.jsonl}
  c: {path: c.jsonl}
new: a
general: {b: 0.75, c: 0.25}
base: {sizes: [1, 4], tokens: 3K}
design: {shares: [0, 0.25, 0.5, 0.75, 1], tokens: [640, 1280], repeats: 1, looks: 2}
full: {tokens: 1280, tolerance: 0.02}
tokenizer: {vocab: 257}
prepare: {val_fraction: 0.2}
proxy: {layers: 1, width: 16, heads: 2, context: 16, batch: 4, validation_tokens: 320, device: cpu}
"""


def write_text(path: str, letters: str, seed: int) -> None:
    """A hundred different documents of 60 letters."""
    rng = random.Random(seed)
    lines = (json.dumps({"text": "".join(rng.choice(letters) for _ in range(60))}) for _ in range(100))
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def planned(study: str) -> list[dict[str, str]]:
    """Rows of design.csv of a study file, which lies in study/ with its shards."""
    Path("study.yaml").write_text(study, encoding="utf-8")
    for stage in ("prepare", "design"):
        answers(stage, "study.yaml", "--out", "study")
    with Path("study/design.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_run(row: Mapping[str, str], losses: Mapping[str, float], **more: Any) -> None:
    """A planned run as if it had been trained."""
    weights = {name.removeprefix("w/"): float(value) for name, value in row.items() if name.startswith("w/")}
    pools = {name.removeprefix("pool/"): int(value) for name, value in row.items() if name.startswith("pool/")}
    units = {text: {"nats_per_token": x, "bits_per_byte": x / math.log(2)} for text, x in losses.items()}
    record: dict[str, Any] = {"run_id": row["run_id"], "role": row["role"], "seed": int(row["seed"])}
    record |= {"params": int(row["params"]), "tokens": int(row["tokens"]), "weights": weights, "pools": pools}
    record |= {"losses": units, "diverged": False, "reason": None, **more}
    path = Path("study/runs") / f"{row['run_id']}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record), encoding="utf-8")


def repetition_study() -> dict[str, Any]:
    """Made losses of two sizes on two texts: repeats decay, and harm the larger model on the smaller text."""
    write_text("a.jsonl", "abcdefghij ", 2)
    rng = random.Random(3)
    for row in planned(REPETITION):
        params, tokens, unique = (float(row[key]) for key in ("params", "tokens", "unique"))
        repeats = tokens / unique - 1
        seen = unique * (1 + 6 * math.log1p(repeats / 6))
        harm = 0.05 * (params / 1e4) ** 0.7 * (640 / unique) * math.log1p((repeats / 4) ** 2)
        loss = 1.6 + 0.6 * (params / 3e3) ** -0.2 + 1.2 * (seen / 1e3) ** -0.3 + harm
        write_run(row, {"a": loss * math.exp(rng.gauss(0, 0.004))})
    answers("recommend", "study.yaml", "--out", "study")
    return {"repetition_recommendation.json": read("study/recommendation.json")}


def continual_study() -> dict[str, Any]:
    """Made losses of bases of two sizes, continued with five shares of the new domain."""
    for seed, (name, letters) in enumerate({"a": "xyz ", "b": "abcdef ", "c": "ghijkl "}.items()):
        write_text(f"{name}.jsonl", letters, seed)
    rng = random.Random(4)
    starts: dict[str, dict[str, float]] = {}
    for row in planned(CONTINUAL):
        if row["role"] == "base":
            continue
        share, tokens = float(row["share"]), int(row["tokens"])
        size = 0.5 * (float(row["params"]) / 3e3) ** -0.2

        def at(seen: float, share: float = share, size: float = size) -> dict[str, float]:
            passed = seen / 640
            domain = 2.0 + size - 0.35 * math.log1p(4 * share * passed) + rng.gauss(0, 0.002)
            kept = 1.8 + size + 0.08 * share**2 * math.log1p(passed) - 0.03 * (1 - share) * math.log1p(passed)
            return {"a": domain, "b": kept + rng.gauss(0, 0.002), "c": kept + 0.1 + rng.gauss(0, 0.002)}

        start = starts.setdefault(row["params"], at(0))  # continuations of a size start from one base
        along = [{"step": 0, "tokens": 0, "losses": start}]
        for seen in (tokens // 3, 2 * tokens // 3):
            along.append({"step": seen // 64, "tokens": seen // 64 * 64, "losses": at(seen)})
        write_run(row, at(tokens), along=along)
    answers("recommend", "study.yaml", "--out", "study")
    return {"continual_recommendation.json": read("study/recommendation.json")}


MAKERS: dict[str, Callable[[], dict[str, Any]]] = {
    "mixture_recommendation.json": mixture_study,
    "mixture_selection.json": mixture_study,
    "mixture_fit.json": mixture_fit,
    "scaling_scale.json": scale,
    "plan_epochs.json": plan_epochs,
    "plan_scale.json": plan_scale,
    "plan_cpt.json": plan_cpt,
    "repetition_recommendation.json": repetition_study,
    "continual_recommendation.json": continual_study,
}


def made(maker: Callable[[], dict[str, Any]], folder: Path) -> dict[str, Any]:
    """What a maker gives in an empty folder, as JSON would give it back: golden file name to content."""
    with chdir(folder):
        return json.loads(json.dumps(maker(), allow_nan=False))


def main(names: list[str]) -> None:
    for name in THREADS:  # as tests run, and before anything imports numpy
        os.environ.setdefault(name, "1")
    GOLDEN.mkdir(exist_ok=True)
    for maker in dict.fromkeys(MAKERS[name] for name in names or MAKERS):
        with tempfile.TemporaryDirectory() as folder:
            for name, content in made(maker, Path(folder)).items():
                text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
                (GOLDEN / name).write_text(text + "\n", encoding="utf-8")
                print(GOLDEN / name)


if __name__ == "__main__":
    main(sys.argv[1:])
