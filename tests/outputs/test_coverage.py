import json
from dataclasses import replace

import numpy as np
import pytest

from outputs.attributes import slick_table
from outputs.coverage import Coverage, finding
from outputs.quicklook import _summary
from outputs.record import read_record, write_record
from outputs.stac import scene_item
from outputs.survey import measure_coverage
from tests.support.catalogue_results import record
from tests.support.slick_scenes import CLASSES, PROCESSED_AT, probabilities, scene

SHAPE = (300, 400)
CELL_KM2 = 0.0016
FRESH_DB, CALM_DB = -13.0, -27.0


def measured(power_db, *, missing=None, land=None, model_land=None, polarisations=("VV",)) -> Coverage:
    power = np.broadcast_to(10 ** (np.asarray(power_db) / 10), SHAPE)
    power = np.where(False if missing is None else missing, np.nan, power)
    ground = np.zeros(SHAPE) if model_land is None else np.where(model_land, 0.99, 0.0)
    classes = probabilities(oil=np.where(np.isnan(power), np.nan, 0.01), land=ground)
    return measure_coverage(scene(power, polarisations), classes, land)


def part(rows: slice, columns: slice = slice(None)) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[rows, columns] = True
    return mask


def test_areas_of_sea_land_and_no_data_add_up() -> None:
    land, missing = part(slice(0, 60)), part(slice(30, 90))
    found = measured(FRESH_DB, land=land, missing=missing, model_land=part(slice(280, 300)))
    cells = {"land_km2": 60 + 20, "no_data_km2": 30, "sea_km2": 300 - 60 - 30 - 20}
    for name, rows in cells.items():
        assert getattr(found, name) == pytest.approx(rows * 400 * CELL_KM2, rel=0.01)
    assert found.low_wind_share == 0.0
    assert found.nothing_to_see is None


def test_low_wind_is_the_share_of_the_sea_that_is_calm() -> None:
    calm = part(slice(0, 200))
    found = measured(np.where(calm, CALM_DB, FRESH_DB), land=part(slice(0, 100)))
    assert found.low_wind_share == pytest.approx(0.5, abs=0.01)
    with_ships = np.where(calm, CALM_DB, FRESH_DB)
    with_ships[5:300:25, 5:400:25] = 10.0
    assert measured(with_ships, land=part(slice(0, 100))).low_wind_share == pytest.approx(0.5, abs=0.01)
    assert measured(CALM_DB, polarisations=("VH",)).low_wind_share is None
    assert measured(CALM_DB, polarisations=("VH", "HH")).low_wind_share is not None


def test_slicks_in_a_fresh_sea_are_no_calm() -> None:
    slick = part(slice(100, 110), slice(50, 350))
    assert measured(np.where(slick, CALM_DB, FRESH_DB)).low_wind_share == 0.0


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"power_db": FRESH_DB, "land": part(slice(None))}, "100 % land, 0 % no data, 0 % calm sea"),
        ({"power_db": FRESH_DB, "missing": part(slice(None))}, "0 % land, 100 % no data, 0 % calm sea"),
        ({"power_db": -99.0}, "0 % land, 0 % no data, 100 % calm sea"),
        (
            {"power_db": CALM_DB, "land": part(slice(0, 150)), "missing": part(slice(150, 225))},
            "50 % land, 25 % no data, 25 % calm sea",
        ),
        ({"power_db": FRESH_DB, "land": part(slice(2, None))}, "99 % land, 0 % no data, 0 % calm sea"),
    ],
)
def test_nothing_to_see_is_not_clean(given: dict, why: str) -> None:
    found = measured(**given)
    assert found.nothing_to_see == why
    assert finding(0, found) == f"nothing to see ({why})"
    assert finding(2, found).startswith("2 slicks in ")


def test_the_finding_names_the_sea_that_was_searched() -> None:
    seen = Coverage(812.4, 100.0, 0.0, 0.0)
    assert finding(0, seen) == "no slicks in 812 km2 of sea"
    assert finding(1, replace(seen, low_wind_share=0.25)) == "1 slick in 812 km2 of sea, 25 % of it calm"
    assert finding(3, replace(seen, low_wind_share=None)) == "3 slicks in 812 km2 of sea"
    assert finding(0, None) == "no slicks"


def test_the_record_tells_and_one_of_before_still_reads(tmp_path) -> None:
    blank = record("run-1", coverage=Coverage(0.0, 90.0, 10.0, None), analysed=False)
    write_record(blank, tmp_path / "run.json")
    document = json.loads((tmp_path / "run.json").read_text())
    assert document["coverage"] == {
        "sea_km2": 0.0,
        "land_km2": 90.0,
        "no_data_km2": 10.0,
        "low_wind_share": None,
        "nothing_to_see": "90 % land, 10 % no data, 0 % calm sea",
    }
    assert read_record(tmp_path / "run.json") == blank
    del document["coverage"]
    (tmp_path / "run.json").write_text(json.dumps(document))
    assert read_record(tmp_path / "run.json") == replace(blank, coverage=None)


def test_the_item_and_the_caption_tell() -> None:
    blank, nothing = Coverage(0.0, 100.0, 0.0, None), slick_table([], [])
    item = scene_item(
        scene(np.full((60, 80), 0.05)), nothing, (), model_id="m", processed_at=PROCESSED_AT, class_names=CLASSES,
        coverage=blank, flags=("of the run",),
    )  # fmt: skip
    assert item.properties["slickwatch:sea_km2"] == 0.0
    assert item.properties["slickwatch:nothing_to_see"] == "100 % land, 0 % no data, 0 % calm sea"
    assert item.properties["slickwatch:flags"] == ["of the run"]
    assert _summary(nothing, blank) == "Nothing to see (100 % land, 0 % no data, 0 % calm sea)"
    assert _summary(nothing, Coverage(50.0, 0.0, 0.0, 0.0)) == "No slicks in 50 km2 of sea"
