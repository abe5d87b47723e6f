"""What is built and installed."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return next(out.glob("*.whl"))


def test_the_wheel_holds_three_packages_examples_and_page_parts_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {"mixopt", "proxies", "regressors"} == {top for top in tops if not top.endswith(".dist-info")}
    for wanted in (
        "mixopt/configs/quickstart.yaml",
        "mixopt/configs/your-runs.csv",
        "mixopt/report/page.css",
        "mixopt/py.typed",
    ):
        assert wanted in names
    assert not [name for name in names if "test" in name]


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment(wheel, tmp_path):
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"

    def run(*words, code=0):
        done = subprocess.run([str(w) for w in words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    pins = ROOT / "constraints.txt"
    run(python, "-m", "pip", "install", "--quiet", "-c", pins, "torch==2.13.0")
    run(python, "-m", "pip", "install", "--quiet", "-c", pins, wheel)
    mixopt = tmp_path / "env" / "bin" / "mixopt"
    assert run(mixopt, "--version").startswith("mixopt ")
    assert "your-runs.yaml" in run(mixopt, "init", "study", "--example", "your-runs")
    assert "Train on " in run(mixopt, "run", "study/your-runs.yaml")
    assert (tmp_path / "studies" / "your-runs" / "report.html").stat().st_size > 10_000
