import json
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from ingest.errors import UnreadableInput, UsageError
from ingest.safe.metadata import ImageMetadata
from ingest.safe.product import SafeProduct
from ingest.safe_writing.image_metadata import grd_metadata
from ingest.safe_writing.writer import write_safe
from tests.support.safe_products import zip_safe

LINES, SAMPLES = 60, 90
ARCHIVE = Path(__file__).parents[4] / "shared/data/s1/safe"


def make_product(folder: Path, polarisations: tuple[str, ...] = ("VV", "VH"), cog: bool = False, **options) -> Path:
    images = {}
    for index, polarisation in enumerate(polarisations):
        numbers = np.full((LINES, SAMPLES), 100 + index, np.uint16)
        images[polarisation] = (numbers, grd_metadata(polarisation, LINES, SAMPLES, **options))
    return write_safe(folder, None, images, noise_schema=options.get("noise_schema", "azimuth"), cog=cog)


def member(product: Path, pattern: str) -> Path:
    (found,) = product.glob(pattern)
    return found


def edit(path: Path, old: str, new: str, count: int = -1) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


def same_metadata(one: ImageMetadata, other: ImageMetadata) -> bool:
    return repr(one.annotation) == repr(other.annotation) and all(
        (a.noise == b.noise).all() and (a.pixel == b.pixel).all() and a.line == b.line
        for a, b in zip(one.noise.range_vectors, other.noise.range_vectors, strict=True)
    )


@pytest.mark.parametrize("platform", ["S1A", "S1B", "S1C", "S1D", "S1Z"])
@pytest.mark.parametrize(
    ("mode", "polarisations"), [("IW", ("VV", "VH")), ("EW", ("HH", "HV")), ("SM", ("HH",)), ("IW", ("VH",))]
)
def test_every_platform_mode_and_polarisation(
    platform: str, mode: str, polarisations: tuple[str, ...], tmp_path: Path
) -> None:
    product = SafeProduct.open(make_product(tmp_path, polarisations, platform=platform, mode=mode))
    assert product.polarisations == polarisations
    assert (product.scene.platform, product.scene.mode, product.scene.product_type) == (platform, mode, "GRD")
    annotation = product.image(polarisations[-1]).annotation
    assert (annotation.polarisation, annotation.number_of_lines) == (polarisations[-1], LINES)


def test_round_trip_through_the_writer(tmp_path: Path) -> None:
    written = grd_metadata("VV", LINES, SAMPLES)
    read = SafeProduct.open(make_product(tmp_path)).image("VV")
    a, b = read.annotation, written.annotation
    assert (a.platform, a.mode, a.swath, a.absolute_orbit, a.datatake) == (
        b.platform, b.mode, b.swath, b.absolute_orbit, b.datatake
    )  # fmt: skip
    assert abs((a.start - b.start).total_seconds()) < 1e-6
    assert a.range_pixel_spacing == pytest.approx(b.range_pixel_spacing)
    for name in ("line", "pixel", "latitude", "longitude", "slant_range_time", "incidence_angle", "height"):
        read_values, written_values = (getattr(x.geolocation_grid, name) for x in (a, b))
        np.testing.assert_allclose(read_values, written_values, rtol=1e-9, atol=1e-9)
    for one, other in zip(read.calibration, written.calibration, strict=True):
        assert one.line == other.line
        np.testing.assert_array_equal(one.pixel, other.pixel)
        np.testing.assert_allclose(one.sigma_nought, other.sigma_nought, rtol=1e-6)
        np.testing.assert_allclose(one.gamma, other.gamma, rtol=1e-6)
    for block, other_block in zip(read.noise.azimuth_blocks, written.noise.azimuth_blocks, strict=True):
        assert (block.swath, block.first_line, block.last_pixel) == (
            other_block.swath, other_block.first_line, other_block.last_pixel
        )  # fmt: skip
        np.testing.assert_allclose(block.noise, other_block.noise, rtol=1e-6)


def test_old_noise_schema(tmp_path: Path) -> None:
    noise = SafeProduct.open(make_product(tmp_path, noise_schema="vector")).image("VH").noise
    assert noise.azimuth_blocks == ()
    assert len(noise.range_vectors) >= 1
    assert all(vector.noise.size == vector.pixel.size > 1 for vector in noise.range_vectors)


@pytest.mark.parametrize("form", ["zip", "cog", "aws", "renamed", "renamed zip", "manifest"])
def test_every_form_tells_the_same(form: str, tmp_path: Path) -> None:
    plain = make_product(tmp_path / "plain")
    expected = SafeProduct.open(plain)
    expected_image = expected.image("VH")
    path = {
        "zip": lambda: zip_safe(plain),
        "cog": lambda: make_product(tmp_path / "cog", cog=True),
        "aws": lambda: as_on_aws(plain, tmp_path / "aws"),
        "renamed": lambda: plain.rename(tmp_path / "my scene"),
        "renamed zip": lambda: zip_safe(plain.rename(tmp_path / "my scene.SAFE")),
        "manifest": lambda: plain / "manifest.safe",
    }[form]()
    product = SafeProduct.open(path)
    if form == "cog":  # another manifest, hence another last part of the name
        assert product.scene.id[:-8] == expected.scene.id[:-4]
        assert product.scene.id.endswith("_COG")
    else:
        assert product.scene.id == expected.scene.id
    assert product.scene.relative_orbit == expected.scene.relative_orbit
    assert product.scene.footprint.equals(expected.scene.footprint)
    assert product.polarisations == ("VV", "VH")
    assert same_metadata(product.image("VH"), expected_image)


def as_on_aws(plain: Path, folder: Path) -> Path:
    """A copy of a product under the AWS archive's names."""
    shutil.copytree(plain, folder)
    for path in [*folder.glob("annotation/**/*.xml"), *folder.glob("measurement/*.tiff")]:
        parts = path.stem.split("-")
        prefix = f"{parts.pop(0)}-" if parts[0] in ("noise", "calibration") else ""
        path.rename(path.with_name(f"{prefix}{parts[1]}-{parts[3]}{path.suffix}"))
    (folder / "productInfo.json").write_text(json.dumps({"id": plain.stem, "missionId": "S1A"}))
    return folder


def test_renamed_cog_and_one_without_manifest(tmp_path: Path) -> None:
    cog = make_product(tmp_path, cog=True)
    assert SafeProduct.open(cog.rename(tmp_path / "x")).scene.id == cog.stem
    plain = make_product(tmp_path, ("HH",))
    (plain / "manifest.safe").unlink()
    scene = SafeProduct.open(plain.rename(tmp_path / "over the Aegean.SAFE")).scene
    assert (scene.id, scene.platform, scene.absolute_orbit) == ("over the Aegean", "S1A", 54_100)
    assert scene.footprint is None


def test_a_folder_without_any_name_still_has_an_id(tmp_path: Path) -> None:
    # An empty id would let a scene's results replace the whole folder of results.
    path = make_product(tmp_path).rename(tmp_path / ".SAFE")
    (path / "manifest.safe").unlink()
    assert SafeProduct.open(path).scene.id.startswith("S1A_IW_GRDH_")


def test_footprint_across_the_antimeridian(tmp_path: Path) -> None:
    path = make_product(tmp_path)
    edited = member(path, "manifest.safe")
    text = edited.read_text()
    start, end = text.index("coordinates>") + len("coordinates>"), text.index("</gml:coordinates>")
    edited.write_text(f"{text[:start]}10.0,-179.0 10.0,178.0 12.0,178.0 12.0,-179.0{text[end:]}")
    footprint = SafeProduct.open(path).scene.footprint
    assert footprint.geom_type == "MultiPolygon"
    assert footprint.area == pytest.approx(3.0 * 2.0, rel=1e-3)
    assert footprint.bounds == pytest.approx((-180.0, 10.0, 180.0, 12.0), abs=0.01)


def test_only_complete_polarisations_are_there(tmp_path: Path) -> None:
    path = make_product(tmp_path)
    member(path, "measurement/*-vh-*").unlink()
    product = SafeProduct.open(path)
    assert product.polarisations == product.scene.polarisations == ("VV",)
    with pytest.raises(UnreadableInput, match="measurement file of VH is missing"):
        product.measurement("VH")
    with pytest.raises(UsageError, match="has no polarisation HH; choose from VV") as caught:
        product.image("HH")
    assert caught.value.exit_code == 2


def test_metadata_is_read_once(tmp_path: Path) -> None:
    product = SafeProduct.open(make_product(tmp_path))
    assert product.image("VV") is product.image("VV")


@pytest.mark.parametrize("kind", ["SLC", "OCN", "RAW"])
def test_other_products_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    path = make_product(tmp_path)
    other = path.rename(tmp_path / path.name.replace("GRDH", f"{kind}_"))
    with pytest.raises(UnreadableInput, match=f"is a {kind} product; give a GRD product"):
        SafeProduct.open(other)


def test_other_products_are_refused_by_content(tmp_path: Path) -> None:
    path = make_product(tmp_path).rename(tmp_path / "renamed")
    for annotation in path.glob("annotation/*.xml"):
        edit(annotation, "<productType>GRD<", "<productType>SLC<", 1)
    with pytest.raises(UnreadableInput, match="is a SLC product; give a GRD product"):
        SafeProduct.open(path)
    shutil.rmtree(path / "annotation")
    shutil.rmtree(path / "measurement")
    edit(path / "manifest.safe", "productType>GRD<", "productType>OCN<")
    with pytest.raises(UnreadableInput, match="is a OCN product; give a GRD product"):
        SafeProduct.open(path)


def remove_calibration(product: Path) -> None:
    member(product, "annotation/calibration/calibration-*-vv-*").unlink()


def remove_noise(product: Path) -> None:
    member(product, "annotation/calibration/noise-*-vv-*").unlink()


def empty_annotation(product: Path) -> None:
    member(product, "annotation/*-vv-*").write_bytes(b"")


def cut_noise(product: Path) -> None:
    path = member(product, "annotation/calibration/noise-*-vv-*")
    path.write_bytes(path.read_bytes()[:-100])


def bomb(product: Path) -> None:
    text = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><calibration>&b;</calibration>'
    member(product, "annotation/calibration/calibration-*-vv-*").write_text(text)


def external(product: Path) -> None:
    text = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><noise>&a;</noise>'
    member(product, "annotation/calibration/noise-*-vv-*").write_text(text)


def no_pass(product: Path) -> None:
    edit(member(product, "annotation/*-vv-*"), "pass>", "passage>")


def wrong_number(product: Path) -> None:
    edit(member(product, "annotation/*-vv-*"), f"<numberOfLines>{LINES}<", "<numberOfLines>many<")


def miscounted(product: Path) -> None:
    path = member(product, "annotation/calibration/noise-*-vv-*")
    text = path.read_text()
    at = text.index("noiseRangeLut")
    path.write_text(text[:at] + text[at:].replace("</noiseRangeLut>", " 7.0</noiseRangeLut>", 1))


def not_finite(product: Path) -> None:
    path = member(product, "annotation/calibration/calibration-*-vv-*")
    text = path.read_text()
    at = text.index(">", text.index("<sigmaNought")) + 1
    path.write_text(text[:at] + "nan" + text[text.index(" ", at) :])


def zero_gain(product: Path) -> None:
    path = member(product, "annotation/calibration/calibration-*-vv-*")
    text = path.read_text()
    at = text.index(">", text.index("<sigmaNought")) + 1
    path.write_text(text[:at] + "0.0" + text[text.index(" ", at) :])


def no_vectors(product: Path) -> None:
    path = member(product, "annotation/calibration/calibration-*-vv-*")
    text = path.read_text()
    start, end = text.index("<calibrationVector>"), text.rindex("</calibrationVector>")
    path.write_text(text[:start] + text[end + len("</calibrationVector>") :])


def holed_grid(product: Path) -> None:
    path = member(product, "annotation/*-vv-*")
    text = path.read_text()
    start, end = text.index("<geolocationGridPoint>"), text.index("</geolocationGridPoint>")
    path.write_text(text[:start] + text[end + len("</geolocationGridPoint>") :])


def swapped(product: Path) -> None:
    edit(member(product, "annotation/*-vv-*"), "<polarisation>VV<", "<polarisation>VH<", 1)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_calibration, "calibration file of VV is missing"),
        (remove_noise, "noise file of VV is missing"),
        (empty_annotation, "annotation/s1a-.*not well-formed XML"),
        (cut_noise, "calibration/noise-s1a-.*not well-formed XML"),
        (bomb, "calibration/calibration-s1a-.*declares XML entities"),
        (external, "calibration/noise-s1a-.*declares XML entities"),
        (no_pass, "has no pass"),
        (wrong_number, "numberOfLines 'many' is not an integer"),
        (miscounted, r"noiseRangeLut has \d+ values, its count says \d+"),
        (not_finite, "sigmaNought holds values that are not finite"),
        (zero_gain, "sigmaNought of line -?\\d+ holds values that are not positive"),
        (no_vectors, "has no calibrationVector"),
        (holed_grid, "geolocation grid is not a full grid"),
        (swapped, "contains VH, its name says VV"),
    ],
)
def test_damaged_metadata(damage: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    path = make_product(tmp_path)
    damage(path)
    product = SafeProduct.open(path)
    assert product.image("VH").annotation.polarisation == "VH"
    with pytest.raises(UnreadableInput, match=message) as caught:
        product.image("VV")
    assert "\n" not in str(caught.value)


def test_bad_manifest_and_product_info(tmp_path: Path) -> None:
    path = make_product(tmp_path)
    (path / "manifest.safe").write_text("<unfinished")
    with pytest.raises(UnreadableInput, match=r"manifest\.safe: is not well-formed XML"):
        SafeProduct.open(path)
    (path / "manifest.safe").unlink()
    (path / "productInfo.json").write_text("[]")
    with pytest.raises(UnreadableInput, match=r"productInfo\.json: not a productInfo\.json of AWS"):
        SafeProduct.open(path)


def test_no_product_at_all(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(UnreadableInput, match="is not a Sentinel-1 SAFE product"):
        SafeProduct.open(tmp_path)
    path = make_product(tmp_path / "x")
    shutil.rmtree(path / "annotation")
    with pytest.raises(UnreadableInput, match="has no annotation file"):
        SafeProduct.open(path)


def test_stripmap_azimuth_noise_without_a_block(tmp_path: Path) -> None:
    path = make_product(tmp_path, ("VV",), mode="SM")
    noise = member(path, "annotation/calibration/noise-*")
    text = noise.read_text()
    start = text.index("</noiseRangeVectorList>") + len("</noiseRangeVectorList>")
    vector = '<line count="2">0 50</line><noiseAzimuthLut count="2">1.0 1.5</noiseAzimuthLut>'
    end = "</noise>"
    listed = f"<noiseAzimuthVectorList><noiseAzimuthVector>{vector}</noiseAzimuthVector></noiseAzimuthVectorList>"
    noise.write_text(text[:start] + listed + end)
    (block,) = SafeProduct.open(path).image("VV").noise.azimuth_blocks
    assert (block.swath, block.first_line, block.last_line) == ("S3", 0, LINES - 1)
    assert (block.first_pixel, block.last_pixel) == (0, SAMPLES - 1)
    noise.write_text(text[:start] + '<noiseAzimuthVectorList count="0"/>' + end)
    assert SafeProduct.open(path).image("VV").noise.azimuth_blocks == ()


def test_real_products(tmp_path: Path) -> None:
    archives = sorted(ARCHIVE.glob("*.tar.gz")) if ARCHIVE.is_dir() else []
    if not archives:
        pytest.skip(f"real products are not at {ARCHIVE}")
    for archive in archives:
        shutil.unpack_archive(archive, tmp_path, filter="data")
        path = tmp_path / archive.name.removesuffix(".tar.gz")
        product = SafeProduct.open(path)
        assert product.scene.footprint.area > 1.0
        annotation = product.image("VV").annotation
        assert annotation.number_of_samples > 25_000
        assert annotation.geolocation_grid.latitude.shape == (10, 21)
        assert annotation.absolute_orbit == product.scene.absolute_orbit
        polarisations, relative_orbit = product.polarisations, product.scene.relative_orbit
        renamed = SafeProduct.open(path.rename(tmp_path / "renamed"))
        # VH of the Sentinel-1B product is not in its archive, so its name cannot say DV.
        assert renamed.scene.id.replace("1SSV", "1SDV") == path.stem
        assert (renamed.polarisations, renamed.scene.relative_orbit) == (polarisations, relative_orbit)
        shutil.rmtree(tmp_path / "renamed")


@pytest.mark.parametrize("layout", ["folder", "zip", "AWS"])
def test_hidden_files_beside_the_others_are_ignored(layout: str, tmp_path: Path) -> None:
    product = make_product(tmp_path)
    if layout == "AWS":
        for path in [*product.glob("annotation/**/*.xml"), *product.glob("measurement/*.tiff")]:
            kind = path.name.split("-")[0] if path.parent.name == "calibration" else ""
            path.rename(path.with_name(f"{kind}-iw-{'vv' if '-vv-' in path.name else 'vh'}{path.suffix}".lstrip("-")))
        (product / "manifest.safe").unlink()
    plain = SafeProduct.open(product)
    members = plain.container.members
    for path in [path for path in product.rglob("*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07Mac OS X")
        path.with_name(f".{path.name}.swp").write_bytes(b"x")
    (product / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (product / "annotation" / ".cache").mkdir()
    (product / "annotation" / ".cache" / "x-vv-x.xml").write_text("<broken")
    opened = SafeProduct.open(zip_safe(product) if layout == "zip" else product)
    assert opened.container.members == members
    for polarisation in ("VV", "VH"):
        assert same_metadata(opened.image(polarisation), plain.image(polarisation))
        assert "/._" not in opened.measurement(polarisation)


def test_a_product_in_a_folder_of_its_name_is_pointed_at(tmp_path: Path) -> None:
    product = make_product(tmp_path / "inner")
    outer = tmp_path / product.name
    outer.mkdir()
    product.rename(outer / product.name)
    with pytest.raises(UnreadableInput) as caught:
        SafeProduct.open(outer)
    assert str(caught.value) == f"{outer}: has a product in a subfolder; give {outer / product.name}"


def test_a_leap_second_in_an_annotation(tmp_path: Path) -> None:
    product = make_product(tmp_path, ("VV",))
    annotation = member(product, "annotation/*-vv-*.xml")
    text = re.sub(r"<stopTime>[^<]*<", "<stopTime>2016-12-31T23:59:60.400000<", annotation.read_text())
    annotation.write_text(text)
    stop = SafeProduct.open(product).image("VV").annotation.stop
    assert stop == datetime(2017, 1, 1, 0, 0, 0, 400_000, tzinfo=UTC)
