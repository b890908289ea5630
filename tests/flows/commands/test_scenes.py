"""Listing, retrying and forgetting scenes."""

import csv
import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from flows.scenes import (
    as_csv,
    as_json,
    as_table,
    count_scenes,
    forget_scenes,
    ledger_url,
    list_scenes,
    retry_scenes,
    time_of,
)
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


def test_a_failed_scene_is_shown_with_its_reason_and_tried_again(ledger):
    (failed,) = list_scenes(ledger, ["FAILED"])
    assert as_table([failed]) == f'failed       2026-07-30 20:00:00Z  {SECOND}  HTTP 404, "gone"'
    said: list[str] = []
    failures = retry_scenes(ledger, [SECOND + ".SAFE", "nonsense"], said.append)
    assert said == [f"{SECOND}.SAFE: found, due now"]
    assert [str(failure) for failure in failures] == [
        "nonsense: not a Sentinel-1 product name; give a product named S1x_..._GRDx_....SAFE"
    ]
    assert count_scenes(ledger)["found"] == 2


def test_csv_and_json_tell_the_same(ledger):
    records = list_scenes(ledger)
    rows = list(csv.DictReader(io.StringIO(as_csv(records))))
    parsed = json.loads(as_json(records))
    assert [row["id"] for row in rows] == [each["id"] for each in parsed] == [FIRST, SECOND]
    assert rows[1]["reason"] == parsed[1]["reason"] == 'HTTP 404, "gone"'
    assert rows[0]["published"] == parsed[0]["published"] == "2026-07-30T20:00:00Z"
    assert (rows[0]["sources"], parsed[0]["sources"]) == ("cdse", ["cdse"])
    assert (rows[0]["reason"], parsed[0]["reason"]) == ("", None)


def test_forgetting_for_good_or_entirely(ledger):
    said: list[str] = []
    assert forget_scenes(ledger, [FIRST], False, said.append) == []
    assert forget_scenes(ledger, [SECOND], True, said.append) == []
    assert [(r.id, r.state) for r in list_scenes(ledger)] == [(FIRST, "forgotten")]
    assert said == [f"{FIRST}: forgotten; not found again", f"{SECOND}: deleted; found anew if a source lists it"]


def test_times_are_read_as_utc():
    assert time_of("2026-01-31") == datetime(2026, 1, 31, tzinfo=UTC)
    assert time_of("2026-01-31T06:00Z") == datetime(2026, 1, 31, 6, tzinfo=UTC)
    assert time_of("2026-01-31T06:00+02:00") == datetime(2026, 1, 31, 6, tzinfo=timezone(timedelta(hours=2)))
    assert time_of("36h", T0) == T0 - timedelta(hours=36)
    with pytest.raises(UsageError, match="yesterday: not a time"):
        time_of("yesterday")


def test_the_ledger_is_the_one_given_else_that_of_the_environment(monkeypatch):
    monkeypatch.delenv("SLICKWATCH_LEDGER", raising=False)
    assert ledger_url() == "ledger.sqlite"
    monkeypatch.setenv("SLICKWATCH_LEDGER", "postgresql://host/scenes")
    assert ledger_url() == "postgresql://host/scenes"
    assert ledger_url("mine.sqlite") == "mine.sqlite"


def test_looking_makes_no_ledger(tmp_path):
    with pytest.raises(UsageError, match="no such ledger"):
        list_scenes(str(tmp_path / "none.sqlite"))
    assert list(tmp_path.iterdir()) == []
