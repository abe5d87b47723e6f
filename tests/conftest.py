import os

# Before any import of torch or LightGBM: tests run side by side, one thread each.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from pathlib import Path

import pytest
from hypothesis import settings

from tests.factories.command import Command
from tests.factories.training import launch_here

# Shared, noisy machines: how long one example takes says nothing.
settings.register_profile("mixopt", deadline=None)
settings.load_profile("mixopt")

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    """The published run tables, which are no part of the project."""
    if not SHARED.is_dir():
        pytest.skip(f"published run tables are not at {SHARED}")
    return SHARED


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Runs a command in tmp_path and gives what it wrote."""
    return Command(capsys, monkeypatch, tmp_path).output


@pytest.fixture
def command(capsys, monkeypatch):
    """Runs a command in a folder: command(*words, cwd=folder) gives its exit status and both streams."""
    return lambda *words, cwd: Command(capsys, monkeypatch, cwd)(*words)


@pytest.fixture(scope="module")
def trained_here():
    """Proxies are trained in this process, not by workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("proxies.launch.launch", launch_here)
        yield
