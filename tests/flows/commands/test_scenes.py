"""`slickwatch scenes`: listing, retrying and forgetting."""

import csv
import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from flows.commands.options import time_option
from flows.resolve import open_ledger
from flows.settings import Settings
from ingest.errors import UsageError
from ingest.ledger.ledger import Ledger
from ingest.scene import scene_from_name

FIRST = "S1A_IW_GRDH_1SDV_20240101T055104_20240101T055129_051909_064584_AD4F"
SECOND = "S1A_IW_GRDH_1SDV_20241113T170607_20241113T170632_056539_06EEA8_B145"
T0 = datetime(2026, 7, 30, 20, 0, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path):
    path = str(tmp_path / "ledger.sqlite")
    with Ledger.open(path, clock=lambda: T0) as opened:
        opened.record_found("cdse", "bay", [replace(scene_from_name(id), published=T0) for id in (FIRST, SECOND)])
        (claim,) = opened.claim("fetch", "w", 60)
        opened.failed(claim, 'HTTP 404, "gone"', final=True)
    return path


@pytest.fixture
def scenes(cli, ledger):
    """Run `slickwatch scenes` on the ledger."""
    return lambda *arguments: cli("scenes", *arguments, "--ledger", ledger)


def test_a_failed_scene_is_shown_with_its_reason_and_retried(scenes):
    header, shown = scenes("list", "--state", "FAILED")[1].splitlines()
    assert header.split() == ["state", "changed", "(UTC)", "scene"]
    assert shown == f'failed  2026-07-30 20:00:00  {SECOND}  HTTP 404, "gone"'
    assert scenes("list", "--state", "processed")[1].splitlines() == ["state  changed (UTC)  scene", "0 scenes"]
    code, out, err = scenes("retry", SECOND + ".SAFE", "nonsense")
    assert (code, out) == (3, f"{SECOND}.SAFE: found, due now\n")
    assert err == ("slickwatch: nonsense: not a Sentinel-1 product name; give a product named S1x_..._GRDx_....SAFE\n")
    assert json.loads(scenes("list", "--counts", "--json")[1])["found"] == 2


def test_csv_and_json_agree(scenes):
    rows = list(csv.DictReader(io.StringIO(scenes("list", "--csv")[1])))
    parsed = json.loads(scenes("list", "--json")[1])
    assert [row["id"] for row in rows] == [each["id"] for each in parsed] == [FIRST, SECOND]
    assert rows[1]["reason"] == parsed[1]["reason"] == 'HTTP 404, "gone"'
    assert rows[0]["published"] == parsed[0]["published"] == "2026-07-30T20:00:00Z"
    assert (rows[0]["sources"], parsed[0]["sources"]) == ("cdse", ["cdse"])
    assert (rows[0]["reason"], parsed[0]["reason"]) == ("", None)


def test_forgetting_for_good_or_entirely(scenes):
    assert scenes("forget", FIRST) == (0, f"{FIRST}: forgotten; will not be found again\n", "")
    said = f"{SECOND}: deleted; found again if a source lists it\n"
    assert scenes("forget", SECOND, "--entirely") == (0, said, "")
    assert [(row["id"], row["state"]) for row in json.loads(scenes("list", "--json")[1])] == [(FIRST, "forgotten")]


def test_times_are_read_as_utc():
    assert time_option("2026-01-31") == datetime(2026, 1, 31, tzinfo=UTC)
    assert time_option("2026-01-31T06:00Z") == datetime(2026, 1, 31, 6, tzinfo=UTC)
    assert time_option("2026-01-31T06:00+02:00") == datetime(2026, 1, 31, 6, tzinfo=timezone(timedelta(hours=2)))
    assert time_option("36h", T0) == T0 - timedelta(hours=36)
    with pytest.raises(UsageError, match="yesterday: not a time"):
        time_option("yesterday")


def test_the_ledger_is_the_one_given_else_that_of_the_environment_else_of_the_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLICKWATCH_LEDGER", raising=False)
    assert Settings.read().ledger_url() == str(tmp_path / "ledger.sqlite")
    (tmp_path / "slickwatch.toml").write_text('[scenes]\nledger = "site.sqlite"\n')
    assert Settings.read().ledger_url() == str(tmp_path / "site.sqlite")
    monkeypatch.setenv("SLICKWATCH_LEDGER", "postgresql://host/scenes")
    assert Settings.read().ledger_url() == "postgresql://host/scenes"
    with pytest.raises(UsageError, match=r"mine\.sqlite: no such ledger"):
        open_ledger("mine.sqlite")


def test_scenes_are_those_of_the_ledger_of_the_settings(cli, ledger, tmp_path, monkeypatch):
    monkeypatch.delenv("SLICKWATCH_LEDGER", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ledger.sqlite").rename(tmp_path / "site.sqlite")
    (tmp_path / "slickwatch.toml").write_text('[scenes]\nledger = "site.sqlite"\n')
    code, out, err = cli("scenes", "list", "--json")
    assert (code, [row["id"] for row in json.loads(out)]) == (0, [FIRST, SECOND]), err


def test_looking_makes_no_ledger(cli, tmp_path):
    code, _, err = cli("scenes", "list", "--ledger", tmp_path / "none.sqlite")
    assert code == 2
    assert "no such ledger" in err
    assert list(tmp_path.iterdir()) == []
