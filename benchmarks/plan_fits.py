"""Writes mixopt/plan/published_fits.json: what `mixopt plan` knows of published runs without having them.

The forms of repetition fitted to the 182 runs of arXiv:2305.16264, with refits to runs drawn again, and such refits of
Chinchilla's law to the 240 runs of arXiv:2404.10102. The tables (CSV with columns N, D, loss; U; kept240) are not part
of this repository. To be run again when a form or its fit changes.
Usage: python benchmarks/plan_fits.py datablations_182.csv chinchilla_epoch.csv
"""

import json
import os
import sys
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))  # runs from a checkout that isn't installed

from mixopt.plan.presets import STORED, chinchilla_refits, numbers_of  # noqa: E402
from mixopt.runs.scaling import read_plan_runs  # noqa: E402

if __name__ == "__main__":
    repeated, once = map(Path, sys.argv[1:])
    numbers = {
        "repetition": numbers_of(read_plan_runs(repeated)),
        "chinchilla": chinchilla_refits(read_plan_runs(once, where=["kept240=True"])),
    }
    path = REPO / "mixopt" / "plan" / STORED
    path.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    print(path, numbers["repetition"]["weights"], numbers["repetition"]["check"])
