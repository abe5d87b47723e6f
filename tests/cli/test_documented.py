"""Every command of README and guide runs as it is written there, on tables such as it speaks of."""

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from tests.factories.command import Command
from tests.factories.mixture_tables import made_runs, write_table

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
TRAINS = ("run", "verify")  # the demo's study, and what the slow tests of each kind of study train


def documented() -> list[str]:
    """Commands of code blocks, without those that train and those with placeholders in capitals."""
    blocks = [block for page in ("README.md", "docs/guide.md") for block in
              re.findall(r"```\w*\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S)]  # fmt: skip
    lines = [part.split("#")[0].strip() for block in blocks for line in block.splitlines() for part in line.split("&&")]
    found = dict.fromkeys(" ".join(line.split()) for line in lines if line.startswith("mixopt "))
    return [line for line in found if line.split()[1] not in TRAINS]


def mixtures(path):
    w, losses = made_runs()
    return write_table(path, w, {"exams": losses["x"], "code": losses["y"]})


def sizes(path):
    from tests.factories.scaling_tables import made_runs as made

    return made().rename(columns={"loss_a": "loss_exams", "loss_b": "loss_code"}).to_csv(path, index=False)


def repetition(path):
    from tests.factories.plan_tables import made_runs as made

    return made().to_csv(path, index=False)


def checkpoints(path):
    """Training curves of every mixture at two sizes."""
    w, losses = made_runs()
    frame = pd.DataFrame(w, columns=["w_code", "w_news", "w_web"])
    rows = [
        frame.assign(run=[f"{size}-{i}" for i in frame.index], model_size=size, step=step, loss_c4=losses["x"])
        for size in ("52M", "122M") for step in (100, 200)
    ]  # fmt: skip
    return pd.concat(rows).to_csv(path, index=False)


def continued(path):
    from tests.factories.continual_tables import made_runs as made
    from tests.factories.continual_tables import write_runs

    write_runs(path, made(noise=0.002))
    names = {"domain_share": "w_code", "domain_loss": "loss_code", "general_loss": "loss_web"}
    return pd.read_csv(path).rename(columns=names).to_csv(path, index=False)


def pair(path):
    """Mixtures in one file and metrics in another, as olmix publishes them."""
    w, losses = made_runs()
    ids = {"run": [f"r{i}" for i in range(len(w))], "name": [f"mix-{i}" for i in range(len(w))]}
    domains = dict(zip(("dclm:code", "dclm:news", "dclm:web"), w.T, strict=True))
    pd.DataFrame(ids | domains).to_csv(path.parent / "ratios.csv")
    metrics = {"arc_easy": losses["x"], "hellaswag": losses["y"]}
    pd.DataFrame(ids | metrics).to_csv(path.parent / "metrics.csv")


TABLES = {
    "fit ratios.csv": pair,
    "fit runs.csv --target c4": checkpoints,
    "scale": sizes,
    "plan epochs": repetition,
    "plan cpt": continued,
    "": mixtures,
}


def test_commands_are_found():
    kinds = {line.split()[1] for line in documented()}
    assert {"init", "leaderboard", "fit", "predict", "scale", "plan"} <= kinds and len(documented()) >= 12


@pytest.mark.parametrize("line", documented())
def test_a_documented_command_runs_as_it_stands(line, capsys, monkeypatch, tmp_path):
    command = Command(capsys, monkeypatch, tmp_path)
    words = shlex.split(line)[1:]
    make = next(make for start, make in TABLES.items() if " ".join(words).startswith(start))
    make(tmp_path / "runs.csv")
    if words[0] == "predict":
        command.output("fit", "runs.csv", "--target", "exams", "--predictors", "exponential-mixing")
        pd.DataFrame({"w_code": [0.2, 0.5], "w_news": [0.3, 0.1], "w_web": [0.5, 0.4]}).to_csv(
            tmp_path / "candidates.csv", index=False
        )
    shown = command.output(*words)
    assert shown.strip() and "nan" not in shown
    for name in (words[i + 1] for i, word in enumerate(words) if word in ("--html", "--out")):
        assert (tmp_path / name).stat().st_size > 0
