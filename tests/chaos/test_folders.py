"""Study folders under two processes, kills at any moment, full and read-only disks."""

import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest

from mixopt.study.layout import LOCK
from proxies.files import SCRATCH
from tests.factories.command import contents, one_sentence
from tests.factories.small_study import CONTINUAL, ended, started, write_small_study

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    write_small_study(folder)
    return folder


@pytest.fixture(scope="module")
def whole(home):
    """The folder of a run that nothing disturbed, by file."""
    code, _, err = ended(started("run", "study.yaml", "--out", "whole", cwd=home))
    assert code == 0, err
    return contents(home / "whole")


def left_over(folder) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.name.startswith(SCRATCH) or path.name == LOCK]


def assert_the_same(folder, whole):
    """Token shards, runs and the answer, byte for byte but for times."""
    found = contents(folder)
    for name in whole:
        if name.startswith("shards/") and name.endswith((".bin", "tokenizer.json")):
            assert found[name] == whole[name], name
    assert {name for name in found if name.startswith("runs/")} == {name for name in whole if name.startswith("runs/")}
    answers = [json.loads(files["recommendation.json"]) for files in (found, whole)]
    assert answers[0]["domains"] == answers[1]["domains"]


@pytest.mark.parametrize("n", range(9))
def test_of_two_processes_on_one_fresh_folder_one_prepares_and_the_other_is_refused(n, home, whole):
    out = f"two-{n}"
    first = started("prepare", "study.yaml", "--out", out, cwd=home)
    time.sleep(0.05 * n)
    ends = [ended(child) for child in (first, started("prepare", "study.yaml", "--out", out, cwd=home))]
    assert 0 in [code for code, _, _ in ends]
    for code, _, err in ends:
        assert code == 0 or (code == 2 and "is at work there: wait" in one_sentence(err))
    found = contents(home / out)
    assert all(found[name] == whole[name] for name in whole if name.endswith((".bin", "tokenizer.json")))
    assert left_over(home / out) == []


def test_two_runs_at_once_end_with_one_answer(home, whole):
    children = [started("run", "study.yaml", "--out", "both", cwd=home) for _ in range(2)]
    ends = [ended(child) for child in children]
    assert sorted(code for code, _, _ in ends) == [0, 2]
    assert "is at work there" in one_sentence(next(err for code, _, err in ends if code == 2))
    assert_the_same(home / "both", whole)


@pytest.mark.parametrize("command", ["run", "fit", "recommend", "report", "export", "verify"])
def test_no_command_works_where_another_one_does(command, home):
    child = started("run", "study.yaml", "--out", "busy", cwd=home)
    lock = home / "busy" / LOCK  # one of a killed process may lie there
    while not (lock.exists() and f"process {child.pid} " in lock.read_text()):
        assert child.poll() is None
        time.sleep(0.01)
    code, _, err = ended(started(command, "study.yaml", "--out", "busy", cwd=home))
    child.kill()
    child.communicate()
    assert code == 2 and f"process {child.pid} on" in one_sentence(err)


@pytest.mark.parametrize("seed", range(6))
def test_killed_at_any_moment_it_goes_on_to_the_same_answer(seed, home, whole):
    rng, out = np.random.default_rng(seed), f"killed-{seed}"
    for _ in range(3):
        child = started("run", "study.yaml", "--out", out, cwd=home)
        time.sleep(rng.uniform(0.5, 8))
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
    code, _, err = ended(started("run", "study.yaml", "--out", out, cwd=home))
    assert code == 0, err
    assert_the_same(home / out, whole)
    assert left_over(home / out) == []


def test_verify_killed_at_any_moment_goes_on(home, whole):
    import shutil

    shutil.copytree(home / "whole", home / "checked")
    for seconds in (1.5, 3, 4.5):
        child = started("verify", "study.yaml", "--out", "checked", cwd=home)
        time.sleep(seconds)
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
    code, _, err = ended(started("verify", "study.yaml", "--out", "checked", cwd=home))
    assert code == 0, err
    assert json.loads((home / "checked" / "verify.json").read_text())["sizes"]
    assert left_over(home / "checked") == []


@pytest.fixture
def disk(tmp_path):
    """Mounts a file system of a size, or again with other options, at one place."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = []

    def mount(options: str):
        again = ["-o", f"remount,{options}"] if mounted else ["-o", options]
        done = subprocess.run(
            ["mount", "-t", "tmpfs", *again, "none", place], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
        mounted.append(options)
        return place

    yield mount
    if mounted:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("kilobytes", [4, 40, 80, 120, 160, 220, 600, 4000])
def test_a_full_disk_is_one_sentence_and_with_room_it_goes_on(kilobytes, disk, home, whole):
    place = disk(f"size={kilobytes}k")
    code, _, err = ended(started("run", "study.yaml", "--out", place / "out", cwd=home))
    assert code == 2
    assert "No space left on device" in one_sentence(err) and "--out" in err and str(place) in err
    assert left_over(place) == []
    disk("size=100m")
    code, _, err = ended(started("run", "study.yaml", "--out", place / "out", cwd=home))
    assert code == 0, err
    assert_the_same(place / "out", whole)


def test_a_read_only_folder_is_one_sentence(disk, home, whole):
    import shutil

    place = disk("size=100m")
    shutil.copytree(home / "whole", place / "out")
    before = contents(place)
    disk("ro")
    for command in ("run", "fit", "recommend", "report", "export", "verify"):
        code, _, err = ended(started(command, "study.yaml", "--out", place / "out", cwd=home))
        assert code == 2 and "Read-only file system" in one_sentence(err) and "--out" in err
    for words in (("plan", "scale", "--compute", "1e22", "--html", place / "new" / "page.html"),):
        code, _, err = ended(started(*words, cwd=home))
        assert code == 2 and "--html" in one_sentence(err) and "Read-only file system" in err
    assert contents(place) == before


def test_two_studies_share_a_store_of_bases_and_train_each_base_once(home):
    children = []
    for name in ("one", "two"):
        (home / f"{name}.yaml").write_text(CONTINUAL.replace("NAME", name))
        children.append(started("run", f"{name}.yaml", cwd=home))
    ends = [ended(child) for child in children]
    for name, (code, _, err) in zip(("one", "two"), ends, strict=True):
        if code:
            assert "bases: process" in one_sentence(err) and "base.store" in err
            code, _, err = ended(started("run", f"{name}.yaml", cwd=home))
            assert code == 0, err
    assert len(list((home / "bases").glob("*.npz"))) == 1
    assert left_over(home / "bases") == []
