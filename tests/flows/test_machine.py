"""What is wrong with a machine is said before the work, in one line with the folder and the way out."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from flows.machine import require_detection, require_services
from flows.settings import Settings
from ingest.credentials import find_credentials
from ingest.errors import SourceError, StorageError
from ingest.files import require_writable, user_cache

NO_SERVER = {"PREFECT_API_URL": "http://127.0.0.1:1/api"}


@pytest.fixture
def nowhere(tmp_path):
    """A folder that nobody can make, not even the superuser."""
    (tmp_path / "file").write_text("x")
    return tmp_path / "file" / "folder"


def test_a_home_that_cannot_be_written_is_told_at_once(nowhere, tmp_path):
    """In a process of its own, since Prefect reads what profiles say when it is imported."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(nowhere)}
    command = [sys.executable, "-m", "flows.cli", "demo", "--out", str(tmp_path / "demo")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 5, done.stderr
    assert done.stderr.startswith(f"slickwatch: {nowhere / '.prefect'}: another file is in its place ")
    assert done.stderr.endswith("; set PREFECT_HOME, or HOME, to a folder you may write to\n")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "demo").exists()


def test_a_home_on_a_read_only_disk_is_told_at_once(tmp_path):
    """As a service account has it; a disk of one's own takes a superuser."""
    mounted = f"mount -t tmpfs tmpfs '{tmp_path}' && mount -o remount,ro '{tmp_path}'"
    alone = ["unshare", "-m", "bash", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*alone, mounted], capture_output=True).returncode:
        pytest.skip("no disk of one's own can be mounted here")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    command = f"{mounted} && exec '{sys.executable}' -m flows.cli demo --out /tmp/slickwatch-demo"
    done = subprocess.run(
        [*alone, command], env=environment | {"HOME": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 5, done.stderr
    assert done.stderr.startswith(f"slickwatch: {tmp_path / '.prefect'}: no permission to write it (Read-only file")
    assert done.stderr.count("\n") == 1
    assert not Path("/tmp/slickwatch-demo").exists()


def test_where_home_cannot_be_written_matplotlib_has_a_folder_in_the_cache(nowhere, tmp_path, monkeypatch):
    for name, value in {**NO_SERVER, "HOME": nowhere, "XDG_CACHE_HOME": tmp_path, "MPLCONFIGDIR": ""}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    require_detection(coastline=None)
    assert os.environ["MPLCONFIGDIR"] == str(tmp_path / "slickwatch" / "matplotlib")
    require_writable(Path(os.environ["MPLCONFIGDIR"]))


def test_a_home_is_not_needed_where_a_server_is_named(nowhere, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", NO_SERVER["PREFECT_API_URL"])
    monkeypatch.setenv("PREFECT_HOME", str(nowhere))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    require_detection(coastline=None)


@pytest.mark.parametrize("given", [{"PREFECT_HOME": "/tmp"}, {}])
def test_a_user_without_a_home_folder(given, monkeypatch):
    def none():
        raise RuntimeError("Could not determine home directory.")

    for name in ("HOME", "XDG_CACHE_HOME", "PREFECT_HOME", "PREFECT_API_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Path, "home", none)
    monkeypatch.setattr("flows.machine._has_server", lambda: False)
    with pytest.raises(StorageError, match="HOME: is not set, and this user has no home folder; set HOME"):
        require_detection(coastline=None)
    with pytest.raises(StorageError, match="HOME"):
        user_cache("x")


def test_credentials_of_a_user_without_a_home_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.delenv("NETRC", raising=False)
    with pytest.raises(SourceError, match="no credentials found"):
        find_credentials("eodata")


def test_a_cache_that_cannot_be_written_is_told_before_the_work(cli, nowhere, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", NO_SERVER["PREFECT_API_URL"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(nowhere))
    code, out, err = cli("demo", "--out", tmp_path / "demo")
    assert (code, out) == (5, "")
    assert err.startswith(f"slickwatch: {nowhere / 'slickwatch'}: another file is in its place ")
    assert "set XDG_CACHE_HOME" in err
    assert not (tmp_path / "demo").exists()


def test_no_folder_for_temporary_files(monkeypatch):
    def none():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(StorageError, match="TMPDIR: no folder"):
        require_detection(coastline=None)


@pytest.mark.parametrize(
    "command",
    [
        "detect x.SAFE", "demo", "calibrate x.SAFE --polarisation VV", "segment x.png", "simulate", "evaluate x",
        "quality x y", "train saross", "train jointnet", "synthesize --model x --count 1", "fetch x",
    ],
)  # fmt: skip
def test_results_that_cannot_be_written_are_refused_before_the_work(cli, nowhere, command):
    code, out, err = cli(*command.split(), "--out", nowhere / "results")
    assert (code, out) == (5, "")
    assert err.startswith(f"slickwatch: {nowhere}")
    assert err.count("\n") == 1


KEYS = ["scenes.folder", "monitor.results", "monitor.catalogue", "models.registry", "retraining.folder", "prefect.home"]


@pytest.mark.parametrize("key", [*KEYS, "scenes.ledger"])
def test_services_do_not_start_where_one_of_their_folders_cannot_be_written(cli, nowhere, tmp_path, monkeypatch, key):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLICKWATCH_PREFECT__PORT", "1")  # taken, as it were: nothing may start
    variable = f"SLICKWATCH_{key.upper().replace('.', '__')}"
    monkeypatch.setenv(variable, str(nowhere / "x"))
    code, _, err = cli("up")
    assert code == 5, err
    assert err.startswith(f"slickwatch: {nowhere}")
    assert err.endswith(f"; set {key}, or {variable}, to another place\n")
    code, _, err = cli("settings", "check")
    assert code == 2
    assert f"{key}: {nowhere}" in err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_folders_yet_to_be_made_are_fine_and_are_not_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    require_services(Settings.read())
    require_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="no permission to write it"):
        require_writable(tmp_path / "a")
