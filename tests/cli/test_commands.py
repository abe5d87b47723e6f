"""Commands one by one, on the example that needs no text."""

import json
import os
import subprocess
import sys

import pytest

from mixopt.study import examples
from tests.factories.command import Command


@pytest.fixture
def mixopt(capsys, monkeypatch):
    """What a command wrote that ended with this exit status."""
    return lambda *words, cwd, code=0: Command(capsys, monkeypatch, cwd).output(*words, code=code)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    path = next(path for path in examples.copy("your-runs", folder / "mine") if path.suffix == ".yaml")
    text = path.read_text().replace("seed: 0", "seed: 0\npredictors: [exponential-mixing, regmix-linear]")
    path.write_text(text.replace("max_epochs: 10", "max_epochs: 10, trials: 80"))
    return folder


def test_init_writes_a_commented_study_and_overwrites_nothing(mixopt, tmp_path):
    assert "quickstart.yaml" in mixopt("init", "new", cwd=tmp_path)
    text = (tmp_path / "new/quickstart.yaml").read_text()
    assert text.count("#") > 15 and "target:" in text
    assert "is there already" in mixopt("init", "new", cwd=tmp_path, code=2)
    assert (tmp_path / "new/quickstart.yaml").read_text() == text


def test_init_lists_its_examples(mixopt, tmp_path):
    assert set(mixopt("init", "--list", cwd=tmp_path).split()) >= {"quickstart", "your-runs", "gpu-swarm"}
    assert "mixopt init DIR" in mixopt("init", cwd=tmp_path, code=2)
    assert not list(tmp_path.iterdir())


def test_schema_is_a_json_schema(mixopt, tmp_path):
    schema = json.loads(mixopt("schema", cwd=tmp_path))
    assert "domains" in schema["properties"] and schema["additionalProperties"] is False


def test_fit_shows_every_predictor_and_marks_the_one_used(mixopt, home):
    shown = mixopt("fit", "mine/your-runs.yaml", "--out", "out", cwd=home)
    assert "exponential-mixing *" in shown and "regmix-linear" in shown


def test_recommend_report_and_export_go_on_from_the_fit(mixopt, home):
    mixopt("fit", "mine/your-runs.yaml", "--out", "out", cwd=home)
    shown = mixopt("recommend", "mine/your-runs.yaml", "--out", "out", cwd=home)
    assert "as before" in shown and "Train on " in shown
    for name in ("Natural", "Uniform", "Best run"):
        assert name in shown
    assert ", measured " in shown and "Measured" not in shown  # no column where only one row would have a number
    mixopt("report", "mine/your-runs.yaml", "--out", "out", cwd=home)
    written = mixopt("export", "mine/your-runs.yaml", "--out", "out", cwd=home)
    assert "interleave.py" in written and "megatron.txt" in written
    assert (home / "out" / "report.html").stat().st_size > 10_000


def test_report_writes_markdown_and_overwrites_nothing(mixopt, home):
    mixopt("recommend", "mine/your-runs.yaml", "--out", "out", cwd=home)
    page = home / "answer.md"
    mixopt("report", "mine/your-runs.yaml", "--out", "out", "--markdown", page.name, cwd=home)
    text = page.read_text()
    assert text.startswith("# ") and "\n## " in text and "\n| --- |" in text
    refused = mixopt("report", "mine/your-runs.yaml", "--out", "out", "--markdown", page.name, cwd=home, code=2)
    assert "answer.md is there already" in refused
    assert page.read_text() == text


def test_a_stage_without_its_input_names_the_command_that_makes_it(mixopt, home):
    for stage in ("report", "export"):
        assert "`mixopt run` makes it" in mixopt(stage, "mine/your-runs.yaml", "--out", "empty", cwd=home, code=2)


def test_an_unknown_command_is_refused_without_a_traceback(mixopt, tmp_path):
    assert "Traceback" not in mixopt("fly", cwd=tmp_path, code=2)


THREADS = """
import sys
from mixopt.cli import main

@main.app.command()
def threads():
    import numpy, threadpoolctl
    print([pool["num_threads"] for pool in threadpoolctl.threadpool_info()])

sys.argv = ["mixopt", "threads"]
main.main()
"""


def test_sums_do_not_depend_on_the_number_of_threads():
    wanted = os.environ | {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", THREADS], env=wanted, capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) == {1}


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_terminal_that_lacks_characters_gets_plain_ones(tmp_path, encoding):
    done = subprocess.run(
        [sys.executable, "-m", "mixopt.cli", "plan", "epochs", "--unique", "25B", "--compute", "1e22"],
        cwd=tmp_path, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert "-0.0680" in done.stdout and "?" not in done.stdout


def test_a_closed_standard_output_stops_nothing(tmp_path):
    command = f'"{sys.executable}" -m mixopt.cli plan epochs --unique 25B --compute 1e22 >&-'
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_standard_input_is_no_terminal(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdin", None)
    Command(capsys, monkeypatch, tmp_path).output("schema")
    assert not sys.stdin.isatty()
    sys.stdin.close()


def test_counts_may_have_separators_of_thousands(mixopt, tmp_path):
    words = ("plan", "epochs", "--compute", "1e22", "--json", "--unique")
    answers = [json.loads(mixopt(*words, unique, cwd=tmp_path))["answer"] for unique in ("25,000,000,000", "25B")]
    assert answers[0] == answers[1]
