"""Answers don't depend on threads, hash seeds or locales, whether Python asks or a command."""

import json
import os
import subprocess
import sys

import pytest

from tests.factories.mixture_tables import made_runs, write_table

PREDICTORS = "effective-data,gp-log,regmix-lightgbm"
ASKED = f"""
import mixopt
fit = mixopt.fit_table(mixopt.read_runs(["runs.csv"]), {{"x": 0.5, "y": 0.5}}, "{PREDICTORS}".split(","), folds=4)
fit.save("fit.json")
"""
ENVIRONMENTS = (
    {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "LC_ALL": "C"},
    {"OMP_NUM_THREADS": "4", "PYTHONHASHSEED": "12345", "LC_ALL": "de_DE.UTF-8", "LC_NUMERIC": "de_DE.UTF-8"},
    {"PYTHONHASHSEED": "random", "LANG": "tr_TR.UTF-8", "TZ": "Asia/Kolkata"},
)
SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONHASHSEED", "LC_ALL", "LANG")
VOLATILE = ("seconds", "command", "checksum", "path")  # times, what was typed, and a hash over both


def settled(value):
    """Without what differs from one time to the next."""
    if isinstance(value, dict):
        return {key: settled(one) for key, one in value.items() if key not in VOLATILE}
    return [settled(one) for one in value] if isinstance(value, list) else value


@pytest.mark.slow
@pytest.mark.parametrize("by_command", [False, True], ids=["from Python", "by a command"])
def test_a_fit_and_its_recommendation_are_the_same_byte_for_byte(tmp_path, by_command):
    write_table(tmp_path / "runs.csv", *made_runs(40))
    code = [
        "-m",
        "mixopt.cli",
        "fit",
        "runs.csv",
        "--target",
        "all",
        "--predictors",
        PREDICTORS,
        "--folds",
        "4",
        "--out",
        "fit.json",
    ]
    answers = []
    for settings in ENVIRONMENTS:
        (tmp_path / "fit.json").unlink(missing_ok=True)
        env = {name: value for name, value in os.environ.items() if name not in SETTINGS} | settings
        words = code if by_command else ["-c", ASKED]
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        answers.append(json.dumps(settled(json.loads((tmp_path / "fit.json").read_text(encoding="utf-8")))))
    assert answers[1:] == answers[:1] * 2
