"""Which slicks are alerted, what an alert says, and what is an e-mail address."""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import MultiPolygon, box

from ingest.areas import Area, read_areas
from outputs.alerting import render, rules
from outputs.alerting.options import AlertOptions, mailbox
from outputs.alerting.records import Message, identity, one_line
from outputs.attributes import slick_table

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SCENE = "S1A_IW_GRDH_1SDV_20260301T031653_20260301T031718_036201_043ED0_8255"
NORTH = Area("north", box(0, 50, 10, 60))
OPTIONS = AlertOptions(link_template="https://map.example/{scene_id}?slick={slick_id}")


def slicks(*rows):
    """Slicks of 0.1 by 0.1 degrees from (id, longitude, latitude, changes to their attributes)."""
    common = {
        "class": "oil",
        "status": "unreviewed",
        "area_m2": 5e6,
        "length_m": 4321.0,
        "confidence_mean": 0.91,
        "confidence_level": "High",
        "acquired_start": datetime(2026, 3, 1, 3, 16, 53, tzinfo=UTC),
    }
    table = [{**common, "id": name, "centroid_lon": lon, "centroid_lat": lat, **more} for name, lon, lat, more in rows]
    outlines = [MultiPolygon([box(lon - 0.05, lat - 0.05, lon + 0.05, lat + 0.05)]) for _, lon, lat, _ in rows]
    return slick_table(table, outlines)


def alerted(table, areas=(NORTH,), options=OPTIONS):
    alerts = rules.detections(table, "gulf", areas, options, NOW, scene_id=SCENE, model_id="saross-1")
    return [alert.subject for alert in alerts]


def test_only_what_overlaps_the_area_is_alerted():
    table = slicks(
        ("inside", 5, 55, {}),
        ("across", 10, 55, {}),
        ("touching", 10.05, 55, {}),  # shares an edge, no surface
        ("outside", 12, 55, {}),
    )
    assert sorted(alerted(table)) == ["across", "inside"]
    assert len(alerted(table, areas=())) == 4


def test_an_area_across_the_antimeridian_is_one_area():
    (area,) = read_areas("175,-20,-175,-10")
    table = slicks(("west", 179, -15, {}), ("east", -179, -15, {}), ("home", 0, -15, {}))
    assert sorted(alerted(table, areas=(area,))) == ["east", "west"]


def test_small_unsure_and_rejected_slicks_and_look_alikes_are_left_out():
    table = slicks(
        ("kept", 5, 55, {"area_m2": 1e6, "confidence_mean": 0.8}),  # on both limits
        ("small", 5, 55, {"area_m2": 0.999e6}),
        ("unsure", 5, 55, {"confidence_mean": 0.799}),
        ("rejected", 5, 55, {"status": "rejected"}),
        ("confirmed", 5, 55, {"status": "confirmed"}),
        ("look-alike", 5, 55, {"class": "look-alike"}),
        ("unknown", 5, 55, {"area_m2": None, "confidence_mean": None}),
    )
    options = AlertOptions(minimum_area_km2=1.0, minimum_confidence=0.8)
    assert alerted(table, options=options) == ["confirmed", "kept", "unknown"]  # the largest first


def test_an_alert_carries_all_that_is_known_of_the_slick():
    table = slicks(("s 1", 5.123456, 55, {}), ("s2", 6, 56, {"area_m2": 9e6, "length_m": None}))
    areas = (NORTH, Area("everywhere", box(-180, -90, 180, 90)))
    largest, alert = rules.detections(table, "gulf", areas, OPTIONS, NOW, scene_id=SCENE, model_id="saross-1")
    assert largest.detection.length_km is None
    seen = alert.detection
    assert (seen.slick_id, seen.scene_id, seen.model_id) == ("s 1", SCENE, "saross-1")
    assert (seen.longitude, seen.latitude, seen.area_name) == (5.12346, 55.0, "north, everywhere")
    assert (seen.area_km2, seen.length_km) == (5.0, 4.321)
    assert (seen.confidence_mean, seen.confidence_level) == (0.91, "High")
    assert seen.acquired_start == datetime(2026, 3, 1, 3, 16, 53, tzinfo=UTC)
    assert seen.acquired_end is None
    assert seen.link == f"https://map.example/{SCENE}?slick=s%201"


def test_a_slick_has_one_id_whichever_watch_found_its_scene():
    table = slicks(("s1", 5, 55, {}), ("s2", 6, 55, {}))
    ids = [
        rules.detections(table, watch, (NORTH,), OPTIONS, NOW + timedelta(hours=h), scene_id=SCENE, model_id=None)[0].id
        for watch, h in (("gulf", 0), ("gulf", 7), ("sea", 0), (None, 0))
    ]
    assert len(set(ids)) == 1
    both = rules.detections(table, "gulf", (NORTH,), OPTIONS, NOW, scene_id=SCENE, model_id=None)
    assert len({alert.id for alert in both}) == 2


def test_slicks_of_a_scene_that_somebody_named_are_in_no_watch():
    table = slicks(("s1", 5, 55, {}), ("s2", 6, 55, {}))
    told = message(*rules.detections(table, None, (), OPTIONS, NOW, scene_id=SCENE, model_id=None))
    assert render.title(told) == "2 oil slicks, largest 5.0 km2"
    assert render.text(told).startswith("2 oil slicks (1 scene):\n")
    assert render.payload(told)["alerts"][0]["watch"] is None
    assert told.alerts[0].title == f"Oil slick of 5.0 km2 in {SCENE}"


def test_a_failed_scene_names_the_watch_that_found_it():
    told = message(rules.failure(SCENE, "no orbit", "scene", "", NOW, "arabian-sea"))
    assert re.search(r"^ +watch +arabian-sea$", render.text(told), re.M)
    assert render.payload(told)["alerts"][0]["watch"] == "arabian-sea"


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_identities_are_equal_only_for_equal_parts(one, other):
    assert (identity(*one) == identity(*other)) == (one == other)


@given(st.text())
def test_one_line_is_one_printable_line(text):
    line = one_line(text, 50)
    assert line.isprintable()
    assert len(line) <= 50
    assert one_line(line, 50) == line


def message(*alerts):
    return Message("m" * 32, NOW, tuple(alerts))


def test_the_text_of_many_slicks_tells_the_ten_largest_and_counts_the_rest():
    table = slicks(*[(f"slick-{i:03}", 5, 55, {"area_m2": 1e6 * (i + 1)}) for i in range(60)])
    told = message(*rules.detections(table, "gulf", (NORTH,), OPTIONS, NOW, scene_id=SCENE, model_id="saross-1"))
    assert render.title(told) == "60 oil slicks in watch gulf, largest 60.0 km2"
    text = render.text(told)
    assert re.findall(r"slick-\d+$", text.replace(SCENE, ""), re.M)[0] == "slick-059"
    assert text.count("confidence") == 10
    assert text.rstrip().endswith("... and 50 more, none larger than 50.0 km2.")
    content = render.payload(told)
    assert content["counts"] == {"detection": 60, "failure": 0, "silence": 0, "all-clear": 0}
    assert (len(content["alerts"]), content["omitted"]) == (50, 10)
    assert json.loads(json.dumps(content)) == content
    assert content["alerts"][0]["sighting"]["acquired_start"] == "2026-03-01T03:16:53Z"


def test_a_mixed_message_counts_each_kind():
    alert = rules.detections(slicks(("s1", 5, 55, {})), "gulf", (), OPTIONS, NOW, scene_id=SCENE, model_id=None)[0]
    broken = [rules.failure(f"scene {i}", "no orbit", "scene", "", NOW) for i in range(2)]
    told = message(alert, *broken)
    assert render.title(told) == "3 alerts: 1 slick, 2 failures"
    assert render.text(told).index("oil slick") < render.text(told).index("Scene failed: scene 0")


def test_html_shows_what_it_is_given_as_text():
    spiteful = '<script>alert(1)</script>" onload="x'
    told = message(rules.failure(spiteful, "<b>bold</b>\r\nSubject: x", "flow", "1", NOW))
    page = render.page(told)
    assert "<script>" not in page
    assert "<b>bold</b>" not in page
    assert html.escape("<b>bold</b> Subject: x") in page


def test_positions_are_read_by_their_hemisphere():
    table = slicks(("s1", -3.25, -12.5, {}))
    alert = rules.detections(table, "gulf", (), OPTIONS, NOW, scene_id=SCENE, model_id=None)[0]
    assert "5.00 km2, 4.3 km long, at 12.5000 S, 3.2500 W" in render.text(message(alert))


@pytest.mark.parametrize(
    "given", ["a@b\r\nBcc: c@d.example", "a@b, c@d.example", "@b", "a@", "a..b@c.example", "ä@b.example", ""]
)
def test_what_is_no_single_address_is_refused(given):
    with pytest.raises(ValueError, match="e-mail address"):
        mailbox(given)


def test_a_name_goes_with_an_address():
    assert (mailbox("Zoë Ölwehr <z@b.example>").display_name, mailbox("z@b.example").addr_spec) == (
        "Zoë Ölwehr",
        "z@b.example",
    )
