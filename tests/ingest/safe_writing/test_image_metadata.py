"""The geometry of written products: orbit, tie points and tables agree with each other and with real ones."""

from __future__ import annotations

import tarfile
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod, Transformer

from ingest.errors import UsageError
from ingest.safe.metadata import Annotation, GeolocationGrid
from ingest.safe.product import SafeProduct
from ingest.safe_writing.image_metadata import grd_metadata
from ingest.safe_writing.orbit import SPEED_OF_LIGHT, orbit_of

REAL = Path(__file__).parents[4] / "shared/data/s1/safe"
GEOD = Geod(ellps="WGS84")
PLACES = st.tuples(st.floats(-180, 180), st.floats(-75, 75))
HEADINGS = st.one_of(st.floats(-30, -8), st.floats(-172, -150))


def positions(grid: GeolocationGrid) -> np.ndarray:
    """Tie points, Earth-fixed, (G, R, 3) in m."""
    to_geocentric = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)
    return np.stack(to_geocentric.transform(grid.longitude, grid.latitude, grid.height), axis=-1)


def spacings(grid: GeolocationGrid, axis: int) -> np.ndarray:
    """Distance on the ellipsoid for one line (axis 0) or one pixel (axis 1) between neighbouring tie points, m."""
    first, second = (
        [np.delete(values, index, axis).ravel() for values in (grid.longitude, grid.latitude)] for index in (-1, 0)
    )
    shape = np.delete(grid.longitude, 0, axis).shape
    distance = GEOD.inv(*first, *second)[2].reshape(shape)
    steps = np.diff(grid.line)[:, None] if axis == 0 else np.diff(grid.pixel)[None, :]
    return np.asarray(distance / steps)


@settings(max_examples=30, deadline=None)
@given(PLACES, HEADINGS, st.integers(50, 20_000), st.integers(50, 25_000))
def test_pixels_are_as_large_as_annotated(place: tuple[float, float], heading: float, lines: int, samples: int) -> None:
    grid = grd_metadata("VV", lines, samples, centre_lonlat=place, heading_deg=heading).annotation.geolocation_grid
    middle = len(grid.pixel) // 2
    np.testing.assert_allclose(spacings(grid, 1), 10.0, rtol=0.002)
    np.testing.assert_allclose(spacings(grid, 0)[:, middle], 10.0, rtol=0.001)
    np.testing.assert_allclose(spacings(grid, 0), 10.0, rtol=0.01)  # lines converge across a wide swath
    assert np.abs(grid.height).max() < 1e-3  # m


@settings(max_examples=30, deadline=None)
@given(PLACES, HEADINGS)
def test_the_image_lies_where_it_was_asked_for(place: tuple[float, float], heading: float) -> None:
    annotation = grd_metadata("VV", 101, 101, centre_lonlat=place, heading_deg=heading).annotation
    grid = annotation.geolocation_grid
    middle = len(grid.line) // 2 - 1, len(grid.pixel) // 2
    lon, lat = grid.longitude[middle], grid.latitude[middle]
    assert GEOD.inv(*place, lon, lat)[2] < 200.0  # m; tie points need not hit the centre
    # Right-looking: pixels go 90 degrees to the right of the flight
    look = GEOD.inv(grid.longitude[5, 9], grid.latitude[5, 9], grid.longitude[5, 11], grid.latitude[5, 11])[0]
    assert abs((look - heading - 90 + 180) % 360 - 180) < 0.5
    assert annotation.pass_direction == ("Ascending" if abs(heading) < 90 else "Descending")
    assert (np.diff(grid.latitude[:, 5]) > 0).all() == (annotation.pass_direction == "Ascending")


@settings(max_examples=20, deadline=None)
@given(PLACES, HEADINGS)
def test_the_annotated_orbit_sees_the_tie_points(place: tuple[float, float], heading: float) -> None:
    """Range-Doppler equations hold between tie points and the orbit that is recovered from them alone."""
    annotation = grd_metadata(
        "VV", 16_000, 25_000, centre_lonlat=place, heading_deg=heading, incidence_near_far=(30.5, None)
    ).annotation
    grid = annotation.geolocation_grid
    orbit = orbit_of(annotation)
    epoch = np.datetime64(orbit.epoch.replace(tzinfo=None))
    satellite, velocity = orbit.state(((grid.azimuth_time - epoch) / np.timedelta64(1, "s")).ravel())
    sight = positions(grid).reshape(-1, 3) - satellite
    distance = np.linalg.norm(sight, axis=1)
    np.testing.assert_allclose(distance, grid.slant_range_time.ravel() * SPEED_OF_LIGHT / 2, atol=50.0)  # m
    along = (sight * velocity).sum(axis=1) / np.linalg.norm(velocity, axis=1)
    assert np.abs(along).max() < 100.0  # m


def test_a_narrow_image_may_have_the_whole_swaths_angles() -> None:
    squeezed = grd_metadata("VV", 100, 300).annotation.geolocation_grid
    natural = grd_metadata("VV", 100, 300, incidence_near_far=(30.5, None)).annotation.geolocation_grid
    np.testing.assert_allclose(squeezed.incidence_angle[5, [0, -1]], [30.5, 46.0], atol=0.01)
    assert 0.1 < np.ptp(natural.incidence_angle[5]) < 0.4  # 3 km of 250 km
    np.testing.assert_allclose(spacings(squeezed, 1), 10.0, rtol=0.002)


@pytest.mark.parametrize("mode", ["IW", "EW", "SM"])
def test_tables_tell_the_incidence_angle_of_the_tie_points(mode: str) -> None:
    """Incidence = arccos((A_gamma / A_sigma)^2), and sigma nought = beta nought sin(incidence)."""
    metadata = grd_metadata("VV", 3000, 5000, mode=mode)
    vector, grid = metadata.calibration[0], metadata.annotation.geolocation_grid
    angle = np.arccos((vector.gamma / vector.sigma_nought) ** 2)
    expected = np.interp(vector.pixel, grid.pixel, grid.incidence_angle[len(grid.line) // 2])
    np.testing.assert_allclose(np.degrees(angle), expected, atol=0.05)
    np.testing.assert_allclose((vector.beta_nought / vector.sigma_nought) ** 2, np.sin(angle), rtol=1e-9)
    assert (np.diff(vector.sigma_nought) < 0).all()
    assert 300 < vector.sigma_nought.min() < vector.sigma_nought.max() < 900


def test_noise_is_the_noise_equivalent_times_the_table_squared() -> None:
    equivalent = 10 ** (np.linspace(-31, -24, 1000) / 10)
    metadata = grd_metadata("VH", 400, 1000, noise_equivalent=equivalent)
    vector, noise = metadata.calibration[0], metadata.noise.range_vectors[0]
    np.testing.assert_allclose(noise.noise / vector.sigma_nought**2, equivalent[noise.pixel], rtol=1e-12)


def test_tables_reach_over_the_image_as_real_ones_do() -> None:
    metadata = grd_metadata("VV", 3000, 5001)
    seconds = metadata.annotation.stop.timestamp() - metadata.annotation.start.timestamp()
    assert metadata.calibration[0].line == 0
    assert metadata.calibration[-1].line > 2999 >= metadata.calibration[-2].line
    assert len(metadata.calibration) == int(np.ceil(seconds)) + 1  # one a second
    assert metadata.noise.range_vectors[-1].line == 2999
    assert metadata.calibration[0].pixel[:3].tolist() == [0, 40, 80]
    assert metadata.calibration[0].pixel[-1] == 5000


@pytest.mark.parametrize(("mode", "count"), [("IW", 3), ("EW", 5), ("SM", 0)])
def test_azimuth_blocks_tile_the_image(mode: str, count: int) -> None:
    metadata = grd_metadata("VV", 900, 1001, mode=mode)
    covered = np.zeros((900, 1001), int)
    for block in metadata.noise.azimuth_blocks:
        covered[block.first_line : block.last_line + 1, block.first_pixel : block.last_pixel + 1] += 1
        assert (block.line[0], block.line[-1]) == (0, 899)
        assert block.noise.min() >= 1.0
    assert len(metadata.noise.azimuth_blocks) == count
    assert (covered == (count > 0)).all()


def test_an_image_across_the_antimeridian_has_longitudes_of_both_signs() -> None:
    grid = grd_metadata("VV", 1000, 3000, centre_lonlat=(180.0, -15.0)).annotation.geolocation_grid
    assert np.abs(grid.longitude).max() <= 180
    assert (grid.longitude > 179).any()
    assert (grid.longitude < -179).any()


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(UsageError, match="WV: not a mode with GRD products"):
        grd_metadata("VV", 10, 10, mode="WV")


@pytest.mark.parametrize("beginning", ["S1A_IW_GRDH_1SDV_2015", "S1A_IW_GRDH_1SDV_2021", "S1B_IW_GRDH_1SDV_2021"])
def test_the_recovered_orbit_of_a_real_product_is_the_real_one(tmp_path: Path, beginning: str) -> None:
    """A circle over 25 s against ESA's state vectors: kilometres, metres a second, seconds at the node."""
    annotation, root = real_annotation(tmp_path, beginning)
    orbit = orbit_of(annotation)
    for state in root.iterfind("generalAnnotation/orbitList/orbit"):
        time = datetime.fromisoformat(state.findtext("time", "")).replace(tzinfo=UTC)
        if not annotation.start <= time <= annotation.stop:
            continue
        position, velocity = orbit.state(np.array([(time - orbit.epoch).total_seconds()]))
        assert np.linalg.norm(position[0] - vector_of(state, "position")) < 2000.0
        assert np.linalg.norm(velocity[0] - vector_of(state, "velocity")) < 20.0
    node = root.findtext("imageAnnotation/imageInformation/ascendingNodeTime", "")
    assert abs((orbit.ascending_node - datetime.fromisoformat(node).replace(tzinfo=UTC)).total_seconds()) < 10.0


def real_annotation(folder: Path, beginning: str) -> tuple[Annotation, ElementTree.Element]:
    archives = sorted(REAL.glob(f"{beginning}*.SAFE.tar.gz"))
    if not archives:
        pytest.skip("real products are not here (../shared/data/s1/safe)")
    with tarfile.open(archives[0]) as pack:
        pack.extractall(folder, filter="data")
    product = next(folder.glob(f"{beginning}*.SAFE"))
    root = ElementTree.parse(next((product / "annotation").glob("*-vv-*.xml"))).getroot()
    return SafeProduct.open(product).image("VV").annotation, root


def vector_of(state: ElementTree.Element, name: str) -> np.ndarray:
    return np.array([float(state.findtext(f"{name}/{axis}", "nan")) for axis in "xyz"])
