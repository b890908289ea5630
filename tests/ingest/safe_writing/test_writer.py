"""The SAFE writer: other open readers open its products, and ours gets back what was put in."""

from __future__ import annotations

import binascii
import dataclasses
import hashlib
import tarfile
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import dask.array as da
import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.errors import StorageError, UsageError
from ingest.safe.annotation import Document, read_annotation, read_calibration, read_noise
from ingest.safe.metadata import (
    Annotation,
    CalibrationVector,
    ImageMetadata,
    NoiseAzimuthBlock,
    NoiseRangeVector,
    ThermalNoise,
)
from ingest.safe.product import SafeProduct
from ingest.safe_writing.documents import annotation_document, calibration_document, noise_document
from ingest.safe_writing.image_metadata import grd_metadata
from ingest.safe_writing.writer import product_name, write_safe
from ingest.scene import scene_from_name
from tests.support.safe_products import sea_images, sea_product, zip_safe

REAL = Path(__file__).parents[4] / "shared/data/s1/safe"
START = datetime(2023, 2, 28, 17, 10, 0, 123456, tzinfo=UTC)
MODES = {"IW": ("VV", "VH"), "EW": ("HH", "HV"), "SM": ("VV",)}
SEVEN_DIGITS = 5.1e-7  # relative; how precisely products tell look-up tables


@contextmanager
def third_party() -> Iterator[None]:
    """The other reader's own warnings are not ours to answer for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sea_product(tmp_path_factory.mktemp("iw"), start=START)


# Other readers


def test_gdal_opens_the_product(product: Path) -> None:
    with rasterio.open(product / "manifest.safe") as source:
        assert source.driver == "SAFE"
        assert (source.height, source.width, source.count) == (400, 600, 2)
        assert len(source.gcps[0]) == 210
        assert source.gcps[1].to_epsg() == 4326
        tags = source.tags()
        names = [name.split("manifest.safe:")[1] for name in source.subdatasets]
    assert {"IW_VV:AMPLITUDE", "IW_VH:AMPLITUDE", "IW:AMPLITUDE"} == set(names)
    assert tags["PRODUCT_TYPE"] == "GRD"
    assert tags["ACQUISITION_START_TIME"] == "2023-02-28T17:10:00.123456"
    assert tags["ORBIT_DIRECTION"] == "ASCENDING"
    assert tags["ORBIT_NUMBER"] == "54100"


def test_gdal_reads_the_digital_numbers_of_a_subdataset(product: Path) -> None:
    name = f"SENTINEL1_CALIB:UNCALIB:{product}/manifest.safe:IW_VH:AMPLITUDE"
    with rasterio.open(name) as source:
        numbers = source.read(1)
    np.testing.assert_array_equal(numbers, sea_images(start=START)["VH"][0])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cog", [False, True])
def test_documents_are_valid_by_esas_schema(tmp_path: Path, mode: str, cog: bool) -> None:
    with third_party():
        import xmlschema
        from xarray_sentinel.esa_safe import cached_sentinel1_schemas
    safe = sea_product(tmp_path, 100, 150, MODES[mode], mode=mode, cog=cog)
    for kind, pattern in (("annotation", "*.xml"), ("calibration", "calibration/c*"), ("noise", "calibration/n*")):
        schema: xmlschema.XMLSchema = cached_sentinel1_schemas(kind)
        documents = list((safe / "annotation").glob(pattern))
        assert len(documents) == len(MODES[mode])
        for document in documents:
            assert [error.reason for error in schema.iter_errors(str(document))] == []


def test_old_noise_is_valid_by_the_schema_of_its_time(tmp_path: Path) -> None:
    with third_party():
        import xmlschema
    folder = unpack_real(tmp_path, "S1A_IW_GRDH_1SDV_20150203T043109") / "support"
    metadata = grd_metadata("VV", 60, 90, noise_schema="vector")
    documents = {
        "s1-level-1-noise.xsd": noise_document(metadata, "vector"),
        "s1-level-1-calibration.xsd": calibration_document(metadata),
        "s1-level-1-product.xsd": annotation_document(metadata.annotation, (200.0, 60.0), (), "002.72"),
    }
    for name, document in documents.items():
        schema = xmlschema.XMLSchema(str(folder / name))
        assert [error.reason for error in schema.iter_errors(ElementTree.fromstring(document))] == []


@pytest.mark.parametrize("mode", MODES)
def test_xarray_sentinel_opens_every_group(tmp_path: Path, mode: str) -> None:
    polarisations = MODES[mode]
    images = sea_images(200, 300, polarisations, mode=mode)
    safe = write_safe(tmp_path, None, images)
    for polarisation, (numbers, metadata) in images.items():
        group = f"{metadata.annotation.swath}/{polarisation}"
        image = open_elsewhere(safe, group)["measurement"]
        np.testing.assert_array_equal(image.values, numbers)
        vectors = metadata.calibration
        table = open_elsewhere(safe, f"{group}/calibration")
        assert table.line.values.tolist() == [vector.line for vector in vectors]
        assert table.pixel.values.tolist() == vectors[0].pixel.tolist()
        for theirs, ours in (("sigmaNought", "sigma_nought"), ("betaNought", "beta_nought"), ("gamma", "gamma")):
            expected = [getattr(vector, ours) for vector in vectors]
            np.testing.assert_allclose(table[theirs].values, expected, rtol=1e-6)  # they read in single precision
        noise = open_elsewhere(safe, f"{group}/noise_range")
        expected = [vector.noise for vector in metadata.noise.range_vectors]
        np.testing.assert_allclose(noise["noiseRangeLut"].values, expected, rtol=1e-6)
        points = open_elsewhere(safe, f"{group}/gcp")
        np.testing.assert_allclose(points.latitude.values, metadata.annotation.geolocation_grid.latitude, atol=1e-12)
        np.testing.assert_allclose(points.longitude.values, metadata.annotation.geolocation_grid.longitude, atol=1e-12)


def test_xarray_sentinel_reads_azimuth_noise_orbit_and_ground_range(product: Path) -> None:
    metadata = sea_images(start=START)["VV"][1]
    factor = open_elsewhere(product, "IW/VV/noise_azimuth")["noiseAzimuthLut"].values
    np.testing.assert_allclose(factor, metadata.noise.azimuth_blocks[0].noise, rtol=1e-6)
    orbit = open_elsewhere(product, "IW/VV/orbit")
    assert 7.05e6 < float(np.linalg.norm(orbit.position[:, 0])) < 7.09e6  # m
    conversion = open_elsewhere(product, "IW/VV/coordinate_conversion")
    grid = metadata.annotation.geolocation_grid
    coefficients = conversion.grsrCoefficients.values[0]
    slant = np.polynomial.polynomial.polyval(grid.pixel * 10.0, coefficients)
    np.testing.assert_allclose(slant, grid.slant_range_time[0] * 299_792_458.0 / 2, atol=5.0)  # m


# Layout


def test_measurements_are_as_esas(product: Path) -> None:
    path = product / "measurement/s1a-iw-grd-vv-20230228t171000-20230228t171000-054100-069a3c-001.tiff"
    with rasterio.open(path) as source:
        assert source.block_shapes == [(1, 600)]  # strips of one row
        assert source.compression is None
        assert source.dtypes == ("uint16",)
        tags, points = source.tags(), source.gcps[0]
    assert tags["TIFFTAG_IMAGEDESCRIPTION"] == "Sentinel-1A IW GRD HR L1"
    assert tags["TIFFTAG_SOFTWARE"] == "Sentinel-1 IPF 003.71"
    assert tags["TIFFTAG_DATETIME"] == "2023:02:28 20:10:00"
    grid = sea_images(start=START)["VV"][1].annotation.geolocation_grid
    assert [(point.row, point.col) for point in points] == [(i, j) for i in grid.line for j in grid.pixel]
    np.testing.assert_allclose([point.x for point in points], grid.longitude.ravel(), atol=1e-9)
    np.testing.assert_allclose([point.y for point in points], grid.latitude.ravel(), atol=1e-9)


def test_cog_products_are_cogs(tmp_path: Path) -> None:
    safe = sea_product(tmp_path, 1100, 1200, ("VV",), cog=True)
    assert safe.name.endswith("_COG.SAFE")
    paths = sorted(path.name for path in safe.rglob("*vv*"))
    assert all(name.endswith(("-001-cog.tiff", "-001-cog.xml")) for name in paths)
    with rasterio.open(next((safe / "measurement").iterdir())) as source:
        assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert source.overviews(1)
        assert len(source.gcps[0]) == 210
        np.testing.assert_array_equal(source.read(1), sea_images(1100, 1200, ("VV",))["VV"][0])


def test_the_manifest_tells_the_truth_about_every_file(product: Path) -> None:
    root = ElementTree.parse(product / "manifest.safe").getroot()
    listed = {}
    for item in root.iterfind("dataObjectSection/dataObject"):
        stream = item.find("byteStream")
        assert stream is not None
        location, checksum = stream.find("fileLocation"), stream.findtext("checksum")
        assert location is not None
        content = (product / location.attrib["href"]).read_bytes()
        assert hashlib.md5(content).hexdigest() == checksum
        assert str(len(content)) == stream.attrib["size"]
        listed[location.attrib["href"].removeprefix("./")] = item.attrib["ID"]
    schemas = {one.attrib["href"].removeprefix("./") for one in root.iterfind(".//metadataReference")}
    there = {path.relative_to(product).as_posix() for path in product.rglob("*") if path.is_file()}
    assert there == {*listed, *schemas, "manifest.safe"}
    pointers = {pointer.attrib["dataObjectID"] for pointer in root.iter("dataObjectPointer")}
    assert pointers == set(listed.values())
    identifiers = [element.attrib["ID"] for element in root.iter() if "ID" in element.attrib]
    assert len(identifiers) == len(set(identifiers))


def test_names_are_esas_and_end_with_the_manifests_crc(product: Path) -> None:
    scene = scene_from_name(product.name)
    crc = binascii.crc_hqx((product / "manifest.safe").read_bytes(), 0xFFFF)
    assert product.name == f"S1A_IW_GRDH_1SDV_20230228T171000_20230228T171000_054100_069A3C_{crc:04X}.SAFE"
    assert scene.relative_orbit == (54100 - 73) % 175 + 1


@pytest.mark.parametrize(
    ("mode", "spacing", "polarisations", "beginning"),
    [
        ("IW", 10.0, ("VV", "VH"), "S1C_IW_GRDH_1SDV_"),
        ("EW", 40.0, ("HH", "HV"), "S1C_EW_GRDM_1SDH_"),
        ("EW", 25.0, ("HH",), "S1C_EW_GRDH_1SSH_"),
        ("SM", 4.0, ("VV",), "S1C_S3_GRDF_1SSV_"),
        ("SM", 10.0, ("VH",), "S1C_S3_GRDH_1SVH_"),
    ],
)
def test_names_follow_mode_resolution_and_polarisations(
    mode: str, spacing: float, polarisations: tuple[str, ...], beginning: str
) -> None:
    annotations = {
        each: grd_metadata(each, 30, 40, mode=mode, spacing=spacing, platform="S1C").annotation
        for each in polarisations
    }
    name = product_name(annotations, "0A1B")
    assert name.startswith(beginning)
    assert scene_from_name(name).polarisations == polarisations


def test_a_platform_without_known_numbering_has_no_relative_orbit(tmp_path: Path) -> None:
    safe = sea_product(tmp_path, 60, 80, ("VV",), platform="S1E")
    assert b"relativeOrbitNumber" not in (safe / "manifest.safe").read_bytes()
    assert SafeProduct.open(safe).scene.relative_orbit is None


def test_a_given_name_is_kept(tmp_path: Path) -> None:
    name = "S1A_IW_GRDH_1SDV_20230228T171000_20230228T171000_054100_069A3C_ABCD"
    images = sea_images(50, 60, start=START)
    assert write_safe(tmp_path, name, images).name == f"{name}.SAFE"
    assert write_safe(tmp_path, f"{name}.SAFE", images).name == f"{name}.SAFE"


def test_the_preview_shows_the_whole_image(product: Path) -> None:
    from PIL import Image

    with Image.open(product / "preview/quick-look.png") as picture:
        assert picture.mode == "RGB"
        assert abs(picture.width / picture.height - 600 / 400) < 0.02
        assert np.asarray(picture).std() > 1


# Our own reader


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("noise_schema", ["azimuth", "vector"])
@pytest.mark.parametrize("packing", ["folder", "zip", "cog"])
def test_our_reader_gets_back_all_metadata(tmp_path: Path, mode: str, noise_schema: str, packing: str) -> None:
    options: dict[str, Any] = {"mode": mode, "noise_schema": noise_schema, "start": START}
    images = sea_images(120, 200, MODES[mode], **options)
    path = sea_product(tmp_path, 120, 200, MODES[mode], cog=packing == "cog", zipped=packing == "zip", **options)
    found = SafeProduct.open(path)
    assert set(found.polarisations) == set(MODES[mode])
    for polarisation, (numbers, metadata) in images.items():
        assert_same(found.image(polarisation), metadata)
        with rasterio.open(found.measurement(polarisation)) as source:
            np.testing.assert_array_equal(source.read(1), numbers)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_odd_tables_survive_the_round_trip(data: st.DataObject) -> None:
    """Vectors before and behind the image and of differing lengths, blocks that leave parts uncovered."""
    metadata = data.draw(odd_metadata())
    found = read_back(metadata, "azimuth" if metadata.noise.azimuth_blocks else data.draw(schemas()))
    assert_same(found, metadata)


@pytest.mark.parametrize(
    "beginning", ["S1A_IW_GRDH_1SDV_20150203", "S1A_IW_GRDH_1SDV_20210119", "S1B_IW_GRDH_1SDV_2021"]
)
def test_real_metadata_survive_the_round_trip(tmp_path: Path, beginning: str) -> None:
    real = SafeProduct.open(unpack_real(tmp_path, beginning)).image("VV")
    assert_same(read_back(real, "azimuth" if real.noise.azimuth_blocks else "vector"), real)


# Behaviour


@pytest.mark.parametrize("cog", [False, True])
def test_the_same_input_gives_the_same_bytes(tmp_path: Path, cog: bool) -> None:
    one, two = (sea_product(tmp_path / name, 150, 200, cog=cog) for name in ("one", "two"))
    other = sea_product(tmp_path / "other", 150, 200, seed=1, cog=cog)
    assert one.name == two.name != other.name
    assert contents(one) == contents(two)
    assert zip_safe(one).read_bytes() == zip_safe(two).read_bytes()


def test_archives_hold_the_folder_deflated(product: Path) -> None:
    archive = zip_safe(product)
    assert archive.name == product.name.replace(".SAFE", ".zip")
    with zipfile.ZipFile(archive) as pack:
        assert pack.testzip() is None
        assert {info.compress_type for info in pack.infolist()} == {zipfile.ZIP_DEFLATED}
        members = {info.filename: pack.read(info) for info in pack.infolist()}
    assert members == {f"{product.name}/{name}": content for name, content in contents(product).items()}


def test_images_are_read_in_bands(tmp_path: Path) -> None:
    class Recorder:
        shape = (1500, 70)
        largest = 0

        def __getitem__(self, rows: slice) -> np.ndarray:
            count = len(range(*rows.indices(self.shape[0])))
            Recorder.largest = max(Recorder.largest, count)
            return np.full((count, 70), 7, np.uint16)

    safe = write_safe(tmp_path, None, {"VV": (Recorder(), grd_metadata("VV", 1500, 70))})
    assert 0 < Recorder.largest <= 512
    with rasterio.open(next((safe / "measurement").iterdir())) as source:
        assert (source.read(1) == 7).all()


def test_lazy_and_mapped_images_are_written(tmp_path: Path) -> None:
    numbers, metadata = sea_images(100, 120, ("VV",))["VV"]
    mapped = np.memmap(tmp_path / "numbers", np.uint16, "w+", shape=numbers.shape)
    mapped[:] = numbers
    products = [
        write_safe(tmp_path / str(index), None, {"VV": (image, metadata)})
        for index, image in enumerate((numbers, mapped, da.from_array(numbers, chunks=(30, 50))))
    ]
    assert contents(products[0]) == contents(products[1]) == contents(products[2])


def test_no_data_is_kept_and_left_out_of_the_statistics(tmp_path: Path) -> None:
    numbers = np.full((80, 90), 100, np.uint16)
    numbers[:, :45] = 0
    safe = write_safe(tmp_path, None, {"VV": (numbers, grd_metadata("VV", 80, 90))})
    root = ElementTree.parse(next((safe / "annotation").glob("*.xml"))).getroot()
    mean = root.findtext("imageAnnotation/imageInformation/imageStatistics/outputDataMean/re")
    assert float(mean or "nan") == 100.0
    with rasterio.open(SafeProduct.open(safe).measurement("VV")) as source:
        np.testing.assert_array_equal(source.read(1), numbers)


def test_a_product_of_the_same_name_is_replaced(tmp_path: Path) -> None:
    name = "S1A_IW_GRDH_1SSV_20240601T053000_20240601T053000_054100_069A3C_0000"
    write_safe(tmp_path, name, sea_images(50, 60, ("VV",)))
    safe = write_safe(tmp_path, name, sea_images(50, 60, ("VV",), seed=5))
    with rasterio.open(SafeProduct.open(safe).measurement("VV")) as source:
        np.testing.assert_array_equal(source.read(1), sea_images(50, 60, ("VV",), seed=5)["VV"][0])
    assert [path.name for path in tmp_path.iterdir()] == [safe.name]


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    class Broken:
        shape = (600, 60)

        def __getitem__(self, rows: slice) -> np.ndarray:
            if rows.start:
                raise RuntimeError("the source broke off")
            return np.ones((512, 60), np.uint16)

    with pytest.raises(RuntimeError, match="broke off"):
        write_safe(tmp_path, None, {"VV": (Broken(), grd_metadata("VV", 600, 60))})
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="check space and permissions"):
        write_safe(tmp_path / "file", None, sea_images(50, 60, ("VV",)))


def test_contradictions_are_usage_errors(tmp_path: Path) -> None:
    numbers, metadata = sea_images(50, 60, ("VV",))["VV"]
    with pytest.raises(UsageError, match="its metadata says"):
        write_safe(tmp_path, None, {"VV": (numbers[:, 1:], metadata)})
    with pytest.raises(UsageError, match="metadata of VV"):
        write_safe(tmp_path, None, {"VH": (numbers, metadata)})
    with pytest.raises(UsageError, match="give uint16"):
        write_safe(tmp_path, None, {"VV": (numbers.astype(np.float32), metadata)})
    with pytest.raises(UsageError, match="not the polarisations of a product"):
        write_safe(tmp_path, None, {"VV": (numbers, metadata), "HH": (numbers, metadata)})
    with pytest.raises(UsageError, match="do not fit the vector schema"):
        write_safe(tmp_path, None, {"VV": (numbers, metadata)}, noise_schema="vector")
    with pytest.raises(UsageError, match="unknown noise schema"):
        write_safe(tmp_path, None, {"VV": (numbers, metadata)}, noise_schema="range")
    assert list(tmp_path.iterdir()) == []


# Helpers


def open_elsewhere(safe: Path, group: str) -> Any:
    """A group of the product as xarray-sentinel sees it."""
    with third_party():
        import xarray_sentinel

        return xarray_sentinel.open_sentinel1_dataset(str(safe), group=group).load()


def unpack_real(folder: Path, beginning: str) -> Path:
    archives = sorted(REAL.glob(f"{beginning}*.SAFE.tar.gz"))
    if not archives:
        pytest.skip("real products are not here (../shared/data/s1/safe)")
    with tarfile.open(archives[0]) as pack:
        pack.extractall(folder, filter="data")
    return next(folder.glob(f"{beginning}*.SAFE"))


def read_back(metadata: ImageMetadata, schema: str) -> ImageMetadata:
    annotation = read_annotation(
        Document.parse(
            annotation_document(metadata.annotation, (1.0, 1.0), metadata.noise.azimuth_blocks, "003.71"), "annotation"
        )
    )
    return ImageMetadata(
        annotation,
        read_calibration(Document.parse(calibration_document(metadata), "calibration")),
        read_noise(Document.parse(noise_document(metadata, schema), "noise"), annotation),
    )


def assert_same(found: ImageMetadata, expected: ImageMetadata) -> None:
    assert_same_record(with_mode(found.annotation), with_mode(expected.annotation))
    for one, other in zip(found.calibration, expected.calibration, strict=True):
        assert_same_record(one, other)
    for one, other in zip(found.noise.range_vectors, expected.noise.range_vectors, strict=True):
        assert_same_record(one, other)
    for one, other in zip(found.noise.azimuth_blocks, expected.noise.azimuth_blocks, strict=True):
        assert_same_record(one, other)


def with_mode(annotation: Annotation) -> Annotation:
    """ESA's schema knows StripMap by its beam only, so a document cannot say SM."""
    return dataclasses.replace(annotation, mode="SM") if annotation.mode == "S3" else annotation


def assert_same_record(found: Any, expected: Any) -> None:
    """Field by field: tables to the seven digits that products tell, all else exactly."""
    for field in dataclasses.fields(expected):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if dataclasses.is_dataclass(other):
            assert_same_record(one, other)
        elif isinstance(other, np.ndarray):
            exact = type(expected).__name__ == "GeolocationGrid" or other.dtype.kind in "iuM"
            tolerance = 1e-15 if exact else SEVEN_DIGITS
            assert one.shape == other.shape, field.name
            if other.dtype.kind == "f":
                np.testing.assert_allclose(one, other, rtol=tolerance, atol=0, err_msg=field.name)
            else:
                np.testing.assert_array_equal(one, other, err_msg=field.name)
        else:
            assert one == other, field.name


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def schemas() -> st.SearchStrategy[str]:
    return st.sampled_from(["azimuth", "vector"])


@st.composite
def odd_metadata(draw: st.DrawFn) -> ImageMetadata:
    size = draw(st.tuples(st.integers(20, 300), st.integers(20, 300)))
    base = grd_metadata(draw(st.sampled_from(["VV", "VH", "HH", "HV"])), *size, heading_deg=draw(st.floats(-170, 170)))
    calibration = tuple(
        CalibrationVector(time, line, pixel, *(draw(values(len(pixel))) for _ in range(4)))
        for time, line, pixel in draw(vectors(size))
    )
    noise = tuple(
        NoiseRangeVector(time, line, pixel, draw(values(len(pixel)))) for time, line, pixel in draw(vectors(size))
    )
    blocks = tuple(draw(st.lists(azimuth_blocks(size), max_size=4)))
    return ImageMetadata(base.annotation, calibration, ThermalNoise(noise, blocks))


@st.composite
def vectors(draw: st.DrawFn, size: tuple[int, int]) -> list[tuple[datetime, int, np.ndarray]]:
    lines = draw(st.lists(st.integers(-2000, 2 * size[0]), min_size=1, max_size=4, unique=True).map(sorted))
    return [
        (
            START + timedelta(microseconds=draw(st.integers(0, 10**8))),
            line,
            np.array(draw(st.lists(st.integers(0, 2 * size[1]), min_size=1, max_size=6, unique=True).map(sorted))),
        )
        for line in lines
    ]


@st.composite
def azimuth_blocks(draw: st.DrawFn, size: tuple[int, int]) -> NoiseAzimuthBlock:
    first_line, last_line = sorted(draw(st.tuples(st.integers(0, size[0]), st.integers(0, size[0]))))
    first_pixel, last_pixel = sorted(draw(st.tuples(st.integers(0, size[1]), st.integers(0, size[1]))))
    line = np.unique([first_line, last_line])
    swath = draw(st.sampled_from(["IW1", "IW2", "IW3"]))
    return NoiseAzimuthBlock(swath, first_line, last_line, first_pixel, last_pixel, line, draw(values(len(line))))


def values(count: int) -> st.SearchStrategy[np.ndarray]:
    return st.lists(st.floats(1e-6, 1e6), min_size=count, max_size=count).map(np.array)
