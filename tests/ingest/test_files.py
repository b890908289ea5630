import errno
import os
import sys
import threading
import time

import pytest

from ingest import files
from ingest.errors import StorageError
from ingest.files import require_writable, storage_errors, whole_file, whole_folder
from tests.support.full_disk import full_after


def write(folder, text="new"):
    with whole_folder(folder, required=("a.txt",)) as hidden:
        (hidden / "a.txt").write_text(text)


def fail(folder):
    with whole_folder(folder) as hidden:
        (hidden / "a.txt").write_text("half")
        raise RuntimeError("on the way")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_results_appear_when_the_block_ends(tmp_path):
    folder = tmp_path / "deep" / "scene"
    with whole_folder(folder) as hidden:
        (hidden / "a.txt").write_text("new")
        assert not folder.exists()
        assert hidden.parent == folder.parent
        assert hidden.name.startswith(".")
    assert names(folder) == ["a.txt"]
    assert names(folder.parent) == ["scene"]


@pytest.mark.parametrize("exchange", [True, False])
def test_a_rerun_replaces_the_whole_result(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    folder = tmp_path / "scene"
    with whole_folder(folder) as hidden:
        (hidden / "a.txt").write_text("old")
        (hidden / "b.txt").write_text("only in the old one")
    write(folder)
    assert names(folder) == ["a.txt"]
    assert (folder / "a.txt").read_text() == "new"
    assert names(tmp_path) == ["scene"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux swaps two folders in one step")
def test_a_reader_finds_a_whole_result_at_every_instant(tmp_path):
    folder = tmp_path / "scene"
    write(folder, "0")
    seen, done = [], threading.Event()

    def read():
        while not done.is_set():
            try:
                seen.append((folder / "a.txt").read_text())
            except FileNotFoundError:
                seen.append("nothing")

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(1, 101):
        write(folder, str(i))
    done.set()
    reader.join()
    assert len(seen) > 100
    assert set(seen) <= {str(i) for i in range(101)}


def test_a_failure_leaves_the_former_result_and_nothing_else(tmp_path):
    folder = tmp_path / "scene"
    write(folder, "old")
    with pytest.raises(RuntimeError, match="on the way"):
        fail(folder)
    assert (folder / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["scene"]


def test_a_missing_or_empty_file_is_not_published(tmp_path):
    with pytest.raises(StorageError, match="completely"):
        write(tmp_path / "scene", "")
    with pytest.raises(StorageError, match="completely"), whole_folder(tmp_path / "scene", ("a.txt",)):
        pass
    assert names(tmp_path) == []


def test_a_crash_between_two_renames_is_undone_by_the_next_run(tmp_path):
    former = tmp_path / ".scene.former"
    former.mkdir()
    (former / "a.txt").write_text("old")
    with pytest.raises(RuntimeError):
        fail(tmp_path / "scene")
    assert (tmp_path / "scene" / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["scene"]


def test_abandoned_partial_results_go_but_those_of_a_running_neighbour_stay(tmp_path):
    abandoned, running = tmp_path / ".scene.1.partial", tmp_path / ".scene.2.partial"
    abandoned.mkdir()
    running.mkdir()
    os.utime(abandoned, (0, time.time() - 2 * 24 * 3600))
    write(tmp_path / "scene")
    assert names(tmp_path) == [".scene.2.partial", "scene"]


def test_a_file_in_the_place_of_the_folder_is_a_storage_error(tmp_path):
    (tmp_path / "scene").write_text("a file")
    with pytest.raises(StorageError, match="in its place"):
        write(tmp_path / "scene")
    with pytest.raises(StorageError, match="in its place"):
        write(tmp_path / "scene" / "below")
    assert names(tmp_path) == ["scene"]


@pytest.mark.parametrize(
    ("number", "match"), [(errno.ENOSPC, "space"), (errno.EACCES, "permission"), (errno.EROFS, "permission")]
)
def test_known_failures_of_the_disk_are_storage_errors(tmp_path, number, match):
    with pytest.raises(StorageError, match=match), storage_errors(tmp_path):
        raise OSError(number, os.strerror(number))


def test_unknown_failures_stay_what_they_are(tmp_path):
    with pytest.raises(OSError, match="Interrupted"), storage_errors(tmp_path):
        raise OSError(errno.EINTR, os.strerror(errno.EINTR))


def test_a_single_file_is_replaced_or_left(tmp_path):
    path = tmp_path / "new folder" / "a.json"
    with whole_file(path) as hidden:
        assert hidden.suffix == ".json"
        hidden.write_text("old")
    with pytest.raises(FileNotFoundError), whole_file(path):
        (tmp_path / "not there").read_text()
    with full_after(3), pytest.raises(StorageError, match="space"), whole_file(path) as hidden:
        hidden.write_text("far too long")
    with pytest.raises(StorageError, match="completely"), whole_file(path):
        pass
    assert path.read_text() == "old"
    assert names(path.parent) == ["a.json"]


def test_what_is_no_file_is_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        with pytest.raises(StorageError, match="another file"), whole_file(path) as hidden:
            hidden.write_text("x")
    assert pipe.is_fifo()
    assert names(tmp_path) == ["pipe"]


def test_a_failure_elsewhere_names_the_file_that_failed(tmp_path):
    source = str(tmp_path / "elsewhere" / "weights")
    with pytest.raises(StorageError) as caught, whole_file(tmp_path / "results" / "a.json"):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), source)
    assert str(caught.value).startswith(f"{source}: no permission to read or write it (Permission denied); ")


def test_a_file_beside_that_cannot_be_read_is_not_one_that_cannot_be_written(tmp_path):
    beside = str(tmp_path / "input")
    with pytest.raises(StorageError, match="cannot be read or written"), whole_file(tmp_path / "a.json"):
        raise OSError(errno.EIO, os.strerror(errno.EIO), beside)


def test_a_path_that_is_no_text_is_refused(tmp_path):
    with pytest.raises(StorageError, match=r"\\xff.*its path is not UTF-8"):
        require_writable(tmp_path / "\udcff" / "x")
