"""Arguments and options of every command with something wrong in each: one sentence that names the option."""

import contextlib
import os
import subprocess
import sys

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixopt.cli.main import app
from tests.factories import continual_tables, mixture_tables, scaling_tables
from tests.factories.bad_input import assert_refused
from tests.factories.command import Command, contents

pytestmark = pytest.mark.slow

# A command that is sound but for what a case adds. None of the cases gets as far as fitting.
SOUND = {
    "init": ["init", "new"],
    "schema": ["schema"],
    "run": ["run", "study.yaml"], "prepare": ["prepare", "study.yaml"], "design": ["design", "texts.yaml"],
    "train": ["train", "study.yaml"], "recommend": ["recommend", "study.yaml"], "report": ["report", "study.yaml"],
    "export": ["export", "study.yaml"], "verify": ["verify", "study.yaml"],
    "import": ["import", "texts.yaml", "runs.csv"],
    "fit": ["fit", "runs.csv", "--target", "x"],
    "leaderboard": ["leaderboard", "runs.csv"],
    "predict": ["predict", "runs.fit.json", "runs.csv"],
    "scale": ["scale", "scales.csv", "--target", "a"],
    "plan epochs": ["plan", "epochs", "--unique", "25B"],
    "plan scale": ["plan", "scale"],
    "plan cpt": ["plan", "cpt", "--runs", "cpt.csv"],
}  # fmt: skip
COUNT = [
    "",
    " ",
    "x",
    "-1",
    "0",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "7Q",
    "1,00",
    "20 B eggs",
    "0x10",
    "١٢e",
    "1e5e5",
    "a\tb",
    "9" * 400,
]
WHOLE = ["", "x", "-1", "1.5", "nan", "inf", "1e3", "9" * 40, "True"]
NAME = ["", " ", ",", "nowhere", "n" * 5000, "[/red]", "a\tb", "'; drop", "\udcff"]
FILE = [
    "",
    " ",
    ".",
    "/",
    "/dev/full",
    "/dev/null",
    "pipe",
    "n" * 300,
    "n" * 5000,
    "runs.csv/page",
    "/proc/page",
    "runs.csv",
    "link",
]
PAIRS = ["", "=", "a", "a=", "=1", "a=x", "a=1,a=2", "a=-1", "a=inf,b=-inf", "a=nan", "a=0.5,b=0.6", "a==1", "a=1=2"]
COLUMN = ["", "nowhere", "n" * 5000, "[/]", "w_nowhere"]
COLUMNS = [*COLUMN, "code=w_code", "a=w_code,b=w_code", "a=nowhere,b=w_web", "=,=", ",", "a=", "=w_code"]
CONDITION = ["", "x", "nowhere=1", "=", "run=", "run", "run>x", "run>=1,2", "run=nothing", "run!", "w_code>2", "a\tb=1"]
VALUES = {
    "--seed": WHOLE, "--folds": ["", "x", "-1", "0", "1", "1.5", "nan", "9" * 40, "100"], "--trials": WHOLE,
    "--level": ["", "x", "-1", "0", "1", "7", "nan", "inf"], "--passes": ["", "x", "-1", "0", "nan", "inf"],
    "--r-star": ["", "x", "-1", "0", "nan", "inf"], "--general-start": ["", "x", "-1", "0", "nan", "inf", "1e9"],
    "--unique": [*COUNT, "5", "1e30"], "--compute": [*COUNT, "1e-3", "1e90"], "--params": COUNT, "--tokens": COUNT, "--loss": [*COUNT, "25B", "101"],
    "--inference-tokens": [*COUNT, "1e50"], "--at-params": COUNT, "--at-tokens": COUNT, "--domain-tokens": COUNT,
    "--pool": [*PAIRS, "code=0", "code=inf", "code=-5B", "nowhere=1B"], "--tolerance": ["", "x", "nan", "inf", "3", "300%", "%", "3%%"],
    "--target": [*NAME, *PAIRS, "x=0.5", "x,x", "x=1,x=0"], "--also": ["nowhere", "x,nowhere"], "--predictors": ["", ",", "nowhere", "regmix", "all,all"], "--laws": ["", ",", "nowhere"],
    "--weights": COLUMNS, "--losses": ["", "nowhere", "run", "a=nowhere", "x=loss_x,y=loss_x", "=loss_x"], "--where": CONDITION, "--on": COLUMN,
    "--out": FILE, "--export": [name for name in FILE if name != "/"], "--html": FILE, "--markdown": FILE, "--runs": ["", ".", "nowhere.csv", "/dev/full", "pipe", "study.yaml", "n" * 300, "a\tb", "~nouser/x.csv"],
    "--columns": ["", "x", "params", "params=", "=N", "params=nowhere", "nowhere=params", "a=b=c"], "--preset": NAME,
    "--law": NAME, "--sampler": NAME, "--example": NAME, "--kind": NAME,
    "--share": COLUMN, "--domain-loss": COLUMN, "--general-loss": COLUMN, "--start-column": COLUMN, "--params-column": COLUMN,
    "--tokens-column": COLUMN, "--run-column": COLUMN,
}  # fmt: skip
# What stands for something sound after all.
FINE = {("fit", "--also", ""), ("scale", "--target", "a"), ("scale", "--target", "a=1,a=2")}
# Sentences that name the file, the example, the kind or what else is missing.
UNNAMED = {"--runs", "--example", "--kind", ("plan epochs", "--preset"), ("leaderboard", "--folds")}
NEEDS = {
    "--columns": ["--runs", "scales.csv"],
    "--where": ["--runs", "scales.csv"],
}  # of `plan epochs` and `plan scale`


def commands():
    found = typer.main.get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
    plans = found.pop("plan").commands
    return found | {f"plan {name}": command for name, command in plans.items()}


COMMANDS = commands()


def options_of(name):
    """The options with a value, by their long name."""
    for parameter in COMMANDS[name].params:
        if parameter.opts[0].startswith("--") and not parameter.is_flag:
            yield next(opt for opt in parameter.opts if opt.startswith("--"))


def cases():
    """Every option of every command, with three or four wrong values each, all values in turn."""
    turn = {}
    for name in COMMANDS:
        for option in options_of(name):
            wrong = [value for value in VALUES[option] if (name, option, value) not in FINE]
            used = turn.get(option, 0)
            turn[option] = used + 4
            for i in range(min(4, len(wrong))):
                value = wrong[(used + i) % len(wrong)]
                yield pytest.param(name, option, value, id=f"{name}-{option}-{ascii(value)[:24]}")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    import mixopt
    from mixopt.runs.read import read_runs

    folder = tmp_path_factory.mktemp("made")
    mixture_tables.write_table(folder / "runs.csv", *mixture_tables.made_runs())
    scaling_tables.made_runs(mixtures=6).to_csv(folder / "scales.csv", index=False)
    continual_tables.write_runs(folder / "cpt.csv", continual_tables.made_runs())
    mixopt.fit_table(read_runs(folder / "runs.csv"), {"x": 1.0}, ["regmix-linear"], folds=4).save(
        folder / "runs.fit.json"
    )
    (folder / "study.yaml").write_text(
        "name: mine\ndomains: {}\nruns: runs.csv\ntarget: x\npredictors: [regmix-linear]\n"
    )
    (folder / "texts.yaml").write_text(
        "name: texts\ndomains: {a: {path: cpt.csv}, b: {path: scales.csv}}\ntarget: a\nfull: {params: 1M, tokens: 1M}\n"
    )
    return contents(folder)


@pytest.fixture
def command(capsys, monkeypatch, tmp_path, made):
    for name, content in made.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("link")
    return Command(capsys, monkeypatch, tmp_path)


@pytest.mark.parametrize(("name", "option", "value"), list(cases()))
def test_a_wrong_value_of_an_option_is_refused(name, option, value, command, monkeypatch):
    monkeypatch.setattr("mixopt.mixture.fit.fit_runs", lambda *_, **__: pytest.fail("the work has begun"))
    words = SOUND[name] + (NEEDS.get(option, []) if name in ("plan epochs", "plan scale") else [])
    if name == "plan scale" and option != "--compute" and option != "--loss":
        words = [*words, "--compute", "1e22"]
    if option in words:
        at = words.index(option)
        words = words[:at] + words[at + 2 :]
    sentence = assert_refused(command, *words, f"{option}={value}")
    assert option in UNNAMED or (name, option) in UNNAMED or option in sentence


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    "words",
    [["--nowhere"], ["--nowhere", "3"], ["-z"], ["one", "two", "three", "four"], ["--help=3"]],
    ids=lambda words: words[0],
)
def test_what_a_command_does_not_take_is_refused(name, words, command):
    assert_refused(command, *SOUND[name], *words)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("schema",)])
def test_a_missing_argument_is_asked_for(name, command):
    assert_refused(command, *name.split())


FILES = [
    "nowhere",
    "nowhere.csv",
    "nowhere.yaml",
    ".",
    "pipe",
    "/dev/null",
    "/dev/full",
    "n" * 300,
    "~nouser/x",
    "link",
    "",
    " ",
    "a\tb",
    "runs.csv/x",
    "*.csv",
    "-",
]


@pytest.mark.parametrize("value", FILES, ids=ascii)
@pytest.mark.parametrize("name", ["run", "report", "fit", "leaderboard", "predict", "scale", "plan cpt", "plan epochs"])
def test_a_file_that_can_t_be_read_is_refused(name, value, command):
    words = list(SOUND[name])
    place = {"plan cpt": 3, "plan epochs": 5}.get(name, 1)
    words = [*words, "--runs", value] if name == "plan epochs" else [*words[:place], value, *words[place + 1 :]]
    assert_refused(command, *words)


@pytest.mark.parametrize(
    "words", [["nowhere"], ["plan", "nowhere"], ["Fit"], ["fit.csv"], [""], ["--"], ["plan", ""], ["\udcff"]], ids=str
)
def test_an_unknown_command_is_refused(words, command):
    assert_refused(command, *words)


COMBINED = [
    ["fit", "runs.csv", "runs.csv", "--target", "x"],
    ["fit", "runs.csv", "scales.csv", "cpt.csv", "--target", "x"],
    ["fit", "runs.csv", "study.yaml", "--target", "x"],
    ["fit", "study.yaml", "study.yaml"],
    ["fit", "study.yaml", "--target", "x"],
    ["fit", "study.yaml", "--seed", "3"],
    ["fit", "runs.csv"],
    ["fit", "runs.csv", "--target", "x", "--last-step"],
    ["fit", "runs.csv", "--target", "x", "--weights", "w_", "--losses", "w_"],
    ["fit", "runs.csv", "--target", "x", "--out", "o", "--html", "o"],
    ["leaderboard", "study.yaml"],
    ["scale", "study.yaml", "--target", "x"],
    ["scale", "runs.csv", "--target", "x"],
    ["scale", "scales.csv", "--target", "a", "--at-params", "1B", "--compute", "1e20", "--at-tokens", "1B"],
    ["scale", "scales.csv", "--target", "a", "--pool", "code=1B", "--pool", "code=2B"],
    ["predict", "runs.fit.json", "scales.csv", "--weights", "nowhere_"],
    ["predict", "runs.fit.json", "cpt.csv"],
    ["prepare", "study.yaml"],
    ["design", "study.yaml"],
    ["train", "study.yaml"],
    ["verify", "study.yaml"],
    ["report", "study.yaml"],
    ["export", "study.yaml"],
    ["plan", "scale"],
    ["plan", "scale", "--compute", "1e22", "--loss", "2.2"],
    ["plan", "scale", "--loss", "0.1"],
    ["plan", "scale", "--compute", "1e22", "--where", "a=1"],
    ["plan", "scale", "--compute", "1e22", "--columns", "params=N"],
    ["plan", "scale", "--compute", "1e22", "--runs", "cpt.csv"],
    ["plan", "epochs"],
    ["plan", "epochs", "--unique", "25B", "--compute", "1e22", "--tokens", "1B", "--params", "1B"],
    ["plan", "epochs", "--unique", "25B", "--runs", "runs.csv"],
    ["plan", "cpt"],
    ["plan", "cpt", "--runs", "runs.csv"],
    ["plan", "cpt", "--runs", "scales.csv"],
    ["plan", "cpt", "--runs", "cpt.csv", "--compute", "1e20", "--params", "1B", "--tokens", "1B"],
    ["plan", "cpt", "--runs", "cpt.csv", "--passes", "2"],
    ["init", "study.yaml"],
    ["init"],
]


@pytest.mark.parametrize("words", COMBINED, ids=" ".join)
def test_options_and_files_that_do_not_go_together_are_refused(words, command):
    assert_refused(command, *words)


words_of = st.text(alphabet="abw_codex=,.:;<>!0123456789eEKMBT+-% []/\\'\"\n", max_size=14)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(option=st.sampled_from(["--target", "--weights", "--where", "--params", "--predictors"]), value=words_of)
def test_any_text_as_an_option_is_read_or_refused_in_one_sentence(option, value, command, monkeypatch):
    class Begun(BaseException):
        pass

    def begin(*_, **__):
        raise Begun

    monkeypatch.setattr("mixopt.mixture.table.fit_table", begin)
    words = ["fit", "runs.csv"] + ([] if option == "--target" else ["--target", "x"])
    with contextlib.suppress(Begun):
        command.refused(*words, f"{option}={value}")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(option=st.sampled_from(["--unique", "--compute", "--params", "--tokens"]), value=words_of)
def test_any_text_as_a_count_is_read_or_refused_in_one_sentence(option, value, command):
    result = command("plan", "epochs", "--unique=25B", f"{option}={value}", "--json")
    if result.code:
        assert result.code == 2 and result.err.startswith("mixopt: ") and result.err.count("\n") == 1, result.err


# What only a process of its own can meet


def outcome(cwd, *words, shell='exec "$@"', **options):
    done = subprocess.run(
        ["sh", "-c", shell, "sh", sys.executable, "-m", "mixopt.cli", *words],
        cwd=cwd, capture_output=True, text=True, timeout=60, check=False, **options,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_few_open_files_standard_output_closed_and_other_encodings(command):
    plan = ("plan", "scale", "--compute", "1e22")
    assert outcome(command.cwd, *plan, shell='ulimit -n 20; exec "$@"').returncode in (0, 2)
    assert outcome(command.cwd, *plan, shell='exec "$@" >&-').returncode == 0
    assert outcome(command.cwd, *plan, shell='exec "$@" 2>&-').returncode == 0
    assert outcome(command.cwd, "plan", "nowhere", shell='exec "$@" 2>&-').returncode == 2
    assert outcome(command.cwd, *plan, shell='exec "$@" </dev/null').returncode == 0
    for encoding in ("cp1252", "ascii", "latin-1"):
        done = outcome(command.cwd, *plan, env=os.environ | {"PYTHONIOENCODING": encoding, "LC_ALL": "C"})
        assert done.returncode == 0 and (encoding != "ascii" or done.stdout.isascii())
    done = subprocess.run(
        f"{sys.executable} -m mixopt.cli plan scale --compute 1e22 | head -1",
        shell=True,
        cwd=command.cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "" and done.stdout
