import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import StorageError
from outputs import record
from outputs.record import (
    InputFile,
    RunRecord,
    config_hash,
    git_commit,
    input_file,
    peak_memory_bytes,
    read_record,
    write_record,
)
from tests.support.full_disk import full_after

OPTIONS = {"slicks": {"grow": 0.3, "classes": ["oil"]}, "preprocess": {"polarisations": ["VV"]}}
RECORD = RunRecord(
    run_id="run-1",
    scene_id="S1A_...",
    model_id="saross-1",
    weights_sha256="ab" * 32,
    options=OPTIONS,
    thresholds={"keep": 0.7},
    config_hash=config_hash(OPTIONS),
    inputs=(InputFile("scene.zip", 12),),
    started_at=datetime(2021, 1, 19, 4, 0, tzinfo=UTC),
    ended_at=datetime(2021, 1, 19, 4, 2, 30, 500_000, tzinfo=UTC),
    durations_s={"calibrate": 3.5, "predict": 120.25},
    slick_count=0,
    flags=("no noise vectors",),
    peak_memory_bytes=10**9,
)


def test_a_record_comes_back_as_it_was(tmp_path):
    write_record(RECORD, tmp_path / "run.json")
    assert read_record(tmp_path / "run.json") == RECORD


def test_a_clean_scene_is_recorded_as_analysed(tmp_path):
    write_record(RECORD, tmp_path / "run.json")
    document = json.loads((tmp_path / "run.json").read_text())
    assert document["analysed"] is True
    assert document["slick_count"] == 0
    assert document["started_at"] == "2021-01-19T04:00:00+00:00"
    assert document["inputs"] == [{"path": "scene.zip", "size": 12}]


def test_what_is_no_plain_value_is_refused(tmp_path):
    with pytest.raises(TypeError, match="no place"):
        write_record(replace(RECORD, options={"model": object()}), tmp_path / "run.json")
    with pytest.raises(ValueError, match="JSON"):
        write_record(replace(RECORD, durations_s={"predict": float("nan")}), tmp_path / "run.json")
    assert [*tmp_path.iterdir()] == []


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans(), max_size=5), st.randoms())
def test_the_hash_depends_on_the_options_and_not_on_their_order(options, random):
    items = list(options.items())
    random.shuffle(items)
    assert config_hash(dict(items)) == config_hash(options)
    assert config_hash(options | {"another": 1.5}) != config_hash(options)


def test_the_size_of_a_folder_is_that_of_its_files(tmp_path):
    (tmp_path / "scene.SAFE" / "measurement").mkdir(parents=True)
    (tmp_path / "scene.SAFE" / "manifest.safe").write_bytes(b"x" * 10)
    (tmp_path / "scene.SAFE" / "measurement" / "a.tiff").write_bytes(b"x" * 32)
    assert input_file(tmp_path / "scene.SAFE").size == 42
    assert input_file(tmp_path / "scene.SAFE" / "manifest.safe").size == 10


def test_a_folder_may_hold_names_that_are_no_text(tmp_path):
    (tmp_path / "a\udcff.xml").write_bytes(b"x")
    checksum = input_file(tmp_path).checksum
    (tmp_path / "a\udcff.xml").rename(tmp_path / "a\udcfe.xml")
    assert input_file(tmp_path).checksum != checksum


def test_peak_memory_is_in_bytes():
    peak = peak_memory_bytes()
    assert 20e6 < peak < 1e12
    held = bytearray(b"\1" * 80_000_000)
    assert peak_memory_bytes() >= peak
    assert len(held) == 80_000_000


def git(folder, *arguments):
    command = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e@x", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_that_of_the_source_tree_and_says_when_it_was_changed(tmp_path, monkeypatch):
    module = tmp_path / "outputs" / "record.py"
    module.parent.mkdir()
    module.write_text("")
    monkeypatch.setattr(record, "__file__", str(module))
    assert git_commit.__wrapped__() is None
    git(tmp_path, "init", "-q")
    assert git_commit.__wrapped__() is None
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    assert git_commit.__wrapped__() == git(tmp_path, "rev-parse", "HEAD")
    module.write_text("changed")
    assert git_commit.__wrapped__() == git(tmp_path, "rev-parse", "HEAD") + "-dirty"


def test_a_full_disk_is_a_storage_error(tmp_path):
    with full_after(100), pytest.raises(StorageError, match="space"):
        write_record(RECORD, tmp_path / "run.json")
