"""Atomic writes: a file takes its place whole, links and devices keep theirs, and what can't be written is named."""

import errno
import os
import threading
from pathlib import Path

import pytest

from proxies.files import SCRATCH, WriteError, replacing


def names(folder):
    return [path.name for path in folder.iterdir()]


def write(path, text="new"):
    with replacing(path) as half:
        half.write_text(text)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    write(path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as half:
        half.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    write(path)
    assert path.read_text() == "new" and names(path.parent) == ["a.txt"]


@pytest.mark.parametrize("name", ["a" * 255, "a" * 246 + ".parquet", "." + "a" * 254, "я" * 127])
def test_the_longest_names_that_a_file_may_have_are_written(name, tmp_path):
    write(tmp_path / name)
    assert (tmp_path / name).read_text() == "new"


def test_writers_of_one_file_at_once_don_t_meet(tmp_path):
    path, failed = tmp_path / "a.txt", []

    def often(text):
        try:
            for _ in range(100):
                write(path, text * 1000)
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=often, args=(text,)) for text in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert path.read_text() in {text * 1000 for text in "abcd"} and names(tmp_path) == ["a.txt"]


def test_a_link_goes_on_pointing_to_what_is_written(tmp_path):
    (tmp_path / "link").symlink_to("there")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there").read_text() == "new"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/dev/full", "it is no regular file"),
        ("device", "it is no regular file"),
        ("pipe", "it is no regular file"),
        (".", "it is a folder"),
        ("/", "it is a folder"),
        ("file/deeper/a.txt", "Not a directory"),
        ("a" * 256, "File name too long"),
        ("new/" + "a" * 256, "File name too long"),
    ],
)
def test_what_can_t_be_written_is_named_with_the_reason(name, reason, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "device").symlink_to("/dev/full")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WriteError) as error:
        write(tmp_path / name)
    assert str(error.value) == f"{tmp_path / name} can't be written ({reason})"
    assert not Path("/dev/full").is_file() and not list(tmp_path.rglob(f"{SCRATCH}*"))


def test_a_full_disk_names_the_file_that_was_meant(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    reason = r"a\.txt can't be written \(No space left on device\)"
    with pytest.raises(WriteError, match=reason), replacing(tmp_path / "a.txt") as half:
        half.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (tmp_path / "a.txt").read_text() == "old" and names(tmp_path) == ["a.txt"]
