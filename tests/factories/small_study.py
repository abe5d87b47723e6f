"""A study on a little text of its own: three domains, nine runs of a second each."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

STUDY = """\
name: small
domains:
  web: {path: web.jsonl}
  law: {path: law.jsonl}
  code: {path: code.jsonl}
target: {law: 1.0}
full: {params: 10M, tokens: 1M}
tokenizer: {vocab: 280}
prepare: {val_fraction: 0.2}
proxy: {layers: 1, width: 16, heads: 1, context: 16, batch: 8, tokens: 10K, validation_tokens: 400, workers: 1}
design: {mixtures: 8, repeats: 1, repetition_runs: 0, shorter_runs: 0}
predictors: [regmix-linear]
search: {trials: 40}
verify: {seeds: 2}
"""
OF_RUNS = """\
name: mine
domains: {}
runs: runs.csv
target: x
predictors: [regmix-linear]
search: {trials: 40}
"""
CONTINUAL = """\
name: NAME
kind: continual
domains:
  web: {path: web.jsonl}
  law: {path: law.jsonl}
new: law
base: {sizes: [1], tokens: 20K, store: bases}
design: {shares: [0, 0.5, 1], tokens: [5120], repeats: 1, looks: 2}
full: {tokens: 5120, tolerance: 0.5}
tokenizer: {vocab: 280}
prepare: {val_fraction: 0.2}
proxy: {layers: 1, width: 16, heads: 1, context: 16, batch: 4, validation_tokens: 320, workers: 1}
"""


def write_small_study(folder: Path) -> Path:
    """The study file, with its text beside it."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("web", "law", "code"):
        words = [f"{name}{n}" for n in range(40)]
        texts = [" ".join(rng.choice(words, size=rng.integers(5, 30))) for _ in range(400)]
        (folder / f"{name}.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    (folder / "study.yaml").write_text(STUDY)
    return folder / "study.yaml"


def started(*words, cwd) -> subprocess.Popen:
    """A command on its way, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "mixopt.cli", *map(str, words)],
        cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(child: subprocess.Popen) -> tuple[int, str, str]:
    """Its exit status and both streams."""
    out, err = child.communicate()
    return child.returncode, out, err
