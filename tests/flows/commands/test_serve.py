"""`slickwatch serve` and `slickwatch tokens`, as processes and clients meet them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import httpx
import pytest

from outputs.catalogue import Catalogue
from tests.support.catalogue_results import FOOTPRINT, SCENE, record, squares, table


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with a catalogue, and the working folder."""
    monkeypatch.chdir(tmp_path)
    Catalogue.open(tmp_path / "catalogue.gpkg").publish(
        record("run-1", slick_count=3), SCENE, FOOTPRINT, table("run-1", squares(3))
    )
    return tmp_path


@contextmanager
def serving(home, *options):
    """The service as a process of its own; yields its address. It must end by SIGTERM, quietly."""
    command = [sys.executable, "-m", "flows.cli", "serve", "--port", "0", *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process.stdout.readline().split()[0]
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
        assert "Traceback" not in said
    finally:
        process.kill()
        process.communicate()


def test_it_serves_the_catalogue_of_the_settings_until_sigterm(home):
    with serving(home) as address:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
        answer = httpx.get(f"{address}/collections/slicks/items", trust_env=False)
        assert answer.json()["numberMatched"] == 3
        assert address in answer.json()["links"][0]["href"]


def test_the_demonstration_is_served_where_there_is_nothing_else(home, cli):
    (home / "demo").mkdir()
    (home / "catalogue.gpkg").rename(home / "demo" / "catalogue.gpkg")
    with serving(home) as address:
        assert httpx.get(f"{address}/collections/slicks/items", trust_env=False).json()["numberMatched"] == 3
    (home / "demo" / "catalogue.gpkg").unlink()
    code, out, err = cli("serve")
    assert (code, out) == (2, "")
    assert "catalogue.gpkg: no such catalogue; set --catalogue, or process a scene first" in err


def test_other_machines_need_tokens_or_a_word_for_everybody(home, cli):
    code, _, err = cli("serve", "--host", "0.0.0.0")
    assert code == 2
    assert "0.0.0.0: is reachable from other machines, and there are no tokens; run slickwatch tokens add" in err
    code, token, _ = cli("tokens", "add", "ada")
    assert code == 0
    with serving(home, "--host", "0.0.0.0") as address:
        local = address.replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(local, trust_env=False).status_code == 401
        assert (
            httpx.get(local, headers={"Authorization": f"Bearer {token.strip()}"}, trust_env=False).status_code == 200
        )


def test_a_port_that_is_taken_is_said(home, cli):
    for port in (-1, 99999):
        assert cli("serve", "--port", port)[0] == 2
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, err = cli("serve", "--port", taken.getsockname()[1])
    assert code == 2
    assert "cannot listen there (in use); give another --host or --port" in err


def test_tokens_are_shown_once_and_listed_by_name(home, cli):
    code, token, note = cli("tokens", "add", "ada", "--scope", "Review")
    assert (code, note) == (0, "keep it: it cannot be shown again\n")
    assert len(token.strip()) > 40
    code, listed, _ = cli("tokens", "list", "--json")
    (row,) = json.loads(listed)
    assert set(row) == {"name", "scope", "created_at"}
    assert (row["name"], row["scope"]) == ("ada", "review")
    header, row = cli("tokens", "list")[1].splitlines()
    assert header.split() == ["name", "scope", "since"]
    assert row.split()[:2] == ["ada", "review"]
    assert cli("tokens", "add", "ada")[0] == 2
    assert cli("tokens", "add", "b", "--scope", "root")[0] == 2
    assert cli("tokens", "revoke", "ada")[:2] == (0, "ada: revoked\n")
    assert cli("tokens", "list")[1].splitlines()[-1] == "0 tokens"
