import json
from datetime import datetime
from urllib.parse import unquote, urlsplit

import numpy as np
import pystac
import pytest
import shapely
from pystac.errors import STACValidationError
from pystac.stac_object import STACObjectType
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from outputs.attributes import ATTRIBUTES
from outputs.options import SlickOptions
from outputs.slicks import find_slicks
from outputs.stac import scene_item, write_item
from outputs.stac_collection import list_scenes
from tests.support.slick_scenes import CLASSES, NAME, PROCESSED_AT, probabilities, scene

FILES = ("slicks.geojson", "slicks.gpkg", "class_probability.tif", "class_probability.qml", "quicklook.png", "run.json")


def validate(document, kind=STACObjectType.ITEM):
    """Against the schema of the core specification that comes with pystac; no network."""
    JsonSchemaSTACValidator().validate_core(document, kind, document["stac_version"])


def item(centre=(3.0, 58.0), heading=193.0):
    plane = np.zeros((60, 80))
    plane[10:40, 20:50] = 0.9
    calibrated = scene(np.full(plane.shape, 0.05), ("VV", "VH"), centre, heading)
    slicks = find_slicks(
        probabilities(oil=plane), calibrated, land=None, options=SlickOptions(), model_id="m", processed_at=PROCESSED_AT
    )
    return scene_item(calibrated, slicks, FILES, model_id="m", processed_at=PROCESSED_AT, class_names=CLASSES), slicks


@pytest.mark.parametrize("centre", [(3.0, 58.0), (180.0, -20.0)])
def test_the_item_obeys_the_core_specification(tmp_path, centre):
    made, _ = item(centre)
    write_item(made, tmp_path / "item.json")
    document = json.loads((tmp_path / "item.json").read_text())
    validate(document)
    again = pystac.Item.from_file(str(tmp_path / "item.json"))
    assert again.id == NAME
    assert again.datetime == datetime.fromisoformat("2021-01-19T03:16:53Z")


def test_an_item_that_breaks_the_specification_is_noticed():
    document = item()[0].to_dict(include_self_link=False, transform_hrefs=False)
    del document["properties"]["datetime"]
    with pytest.raises(STACValidationError):
        validate(document)


def test_the_item_says_what_the_radar_and_the_model_were():
    made, slicks = item(heading=-13.0)
    properties = made.properties
    assert properties["sar:polarizations"] == ["VV", "VH"]
    assert properties["sar:frequency_band"] == "C"
    assert properties["sar:instrument_mode"] == "IW"
    assert properties["sar:product_type"] == "GRD"
    assert properties["sat:relative_orbit"] == 79
    assert properties["sat:absolute_orbit"] == 36201
    assert properties["sat:orbit_state"] == "ascending"
    assert item(heading=193.0)[0].properties["sat:orbit_state"] == "descending"
    assert properties["platform"] == "sentinel-1a"
    assert properties["processing:datetime"] == "2021-01-19T04:00:00Z"
    assert properties["slickwatch:slick_count"] == 1
    assert properties["slickwatch:slick_area_m2"] == slicks.area_m2.sum()


def test_the_slicks_are_described_as_a_table():
    made, slicks = item()
    for key in ("slicks", "slicks_gpkg"):
        asset = made.assets[key].to_dict()
        assert [column["name"] for column in asset["table:columns"]] == [one.name for one in ATTRIBUTES]
        assert asset["table:row_count"] == len(slicks) == 1
    described = {column["name"]: column for column in asset["table:columns"]}
    assert described["area_m2"]["type"] == "float64"
    assert described["area_m2"]["description"].endswith("(m\N{SUPERSCRIPT TWO})")
    assert "table:columns" not in made.assets["quicklook"].to_dict()
    assert any("/table/" in one for one in made.stac_extensions)


def test_assets_are_the_result_files_beside_it():
    assets = item()[0].assets
    assert {asset.href for asset in assets.values()} == {f"./{name}" for name in FILES}
    raster = assets["class_probability"].to_dict()
    assert raster["type"] == "image/tiff; application=geotiff; profile=cloud-optimized"
    assert [band["name"] for band in raster["bands"]] == list(CLASSES)
    assert raster["proj:shape"] == [60, 80]
    assert raster["raster:scale"] * 250 == pytest.approx(1.0)
    with pytest.raises(KeyError, match="notes"):
        scene_item(
            scene(np.full((60, 80), 0.05)),
            item()[1],
            ["notes.txt"],
            model_id="m",
            processed_at=PROCESSED_AT,
            class_names=CLASSES,
        )


def test_the_footprint_holds_the_slicks():
    for centre in ((3.0, 58.0), (180.0, -20.0)):
        made, slicks = item(centre)
        footprint = shapely.geometry.shape(made.geometry)
        assert footprint.is_valid
        assert footprint.buffer(1e-3).covers(slicks.union_all())
        west, _, east, _ = made.bbox
        assert (west > east) == (centre[0] == 180.0)


def test_items_are_listed_in_a_collection_that_leads_to_them_and_back(tmp_path):
    for name, centre in (("a", (3.0, 58.0)), ("b", (10.0, -20.0))):
        made, _ = item(centre)
        made.id = name
        (tmp_path / name).mkdir()
        write_item(made, tmp_path / name / "item.json")
        list_scenes(tmp_path)
    (tmp_path / ".processing").mkdir()
    document = json.loads((tmp_path / "collection.json").read_text())
    validate(document, STACObjectType.COLLECTION)
    (west, south, east, north), *others = document["extent"]["spatial"]["bbox"]
    assert not others
    assert (west, south, east, north) == pytest.approx((3.0, -20.0, 10.0, 58.0), abs=0.1)
    assert document["extent"]["temporal"]["interval"] == [["2021-01-19T03:16:53Z", "2021-01-19T03:17:18Z"]]
    collection = pystac.Collection.from_file(str(tmp_path / "collection.json"))
    found = [*collection.get_items()]
    assert [one.id for one in found] == ["a", "b"]
    assert all(one.get_collection() is collection for one in found)
    assert {asset.get_absolute_href() for asset in found[1].assets.values()} == {str(tmp_path / "b" / f) for f in FILES}
    assert sorted(path.name for path in tmp_path.iterdir()) == [".processing", "a", "b", "collection.json"]


def test_a_collection_follows_its_folder_and_is_made_anew_where_it_is_damaged(tmp_path):
    list_scenes(tmp_path)
    assert list(tmp_path.iterdir()) == []
    made, _ = item()
    for name in ("gone", "here"):
        (tmp_path / name).mkdir()
        write_item(made, tmp_path / name / "item.json")
    list_scenes(tmp_path)
    (tmp_path / "gone" / "item.json").unlink()
    list_scenes(tmp_path)
    whole = (tmp_path / "collection.json").read_bytes()
    links = json.loads(whole)["links"]
    assert [link["href"] for link in links if link["rel"] == "item"] == ["./here/item.json"]
    (tmp_path / "collection.json").write_bytes(whole[:100])
    list_scenes(tmp_path)
    assert (tmp_path / "collection.json").read_bytes() == whole


def test_the_extent_of_a_collection_with_a_scene_across_the_antimeridian_is_the_whole_circle(tmp_path):
    (tmp_path / "a").mkdir()
    write_item(item((180.0, -20.0))[0], tmp_path / "a" / "item.json")
    list_scenes(tmp_path)
    document = json.loads((tmp_path / "collection.json").read_text())
    validate(document, STACObjectType.COLLECTION)
    assert document["extent"]["spatial"]["bbox"][0][::2] == [-180.0, 180.0]


def test_the_item_is_derived_from_the_product_of_its_name():
    (link,) = [
        one
        for one in item()[0].to_dict(include_self_link=False, transform_hrefs=False)["links"]
        if one["rel"] == "derived_from"
    ]
    address = urlsplit(link["href"])
    assert address.hostname == "catalogue.dataspace.copernicus.eu"
    assert unquote(address.query) == f"$filter=Name eq '{NAME}.SAFE'"
