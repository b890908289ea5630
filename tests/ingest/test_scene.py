from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import UnreadableInput
from ingest.scene import parse_utc, scene_from_name

NAME = "S1A_IW_GRDH_1SDV_20210119T031653_20210119T031718_036201_043ED0_8255"


@pytest.mark.parametrize("suffix", ["", ".SAFE", ".zip", ".SAFE.zip"])
def test_a_real_name(suffix: str) -> None:
    scene = scene_from_name(NAME + suffix)
    assert (scene.id, scene.platform, scene.mode, scene.product_type) == (NAME, "S1A", "IW", "GRD")
    assert scene.polarisations == ("VV", "VH")
    assert scene.acquired_start == datetime(2021, 1, 19, 3, 16, 53, tzinfo=UTC)
    assert scene.acquired_end == datetime(2021, 1, 19, 3, 17, 18, tzinfo=UTC)
    assert (scene.absolute_orbit, scene.relative_orbit) == (36201, 79)


@pytest.mark.parametrize(
    ("name", "relative_orbit"),
    [
        # Relative orbits as the products' own manifests state them.
        ("S1A_IW_GRDH_1SDV_20150203T043109_20150203T043134_004454_00574F_6D00", 7),
        ("S1B_IW_GRDH_1SDV_20211223T051122_20211223T051147_030148_039993_5371", 22),
        ("S1Z_IW_GRDH_1SDV_20311223T051122_20311223T051147_030148_039993_5371", None),
    ],
)
def test_relative_orbit(name: str, relative_orbit: int | None) -> None:
    assert scene_from_name(name).relative_orbit == relative_orbit


def test_cog_keeps_its_name() -> None:
    scene = scene_from_name(NAME + "_COG.SAFE")
    assert scene.id == NAME + "_COG"


@given(
    letter=st.sampled_from("ABCDEFXYZ"),
    mode=st.sampled_from(["IW", "EW", "WV", "S1", "S6"]),
    kind=st.sampled_from(["GRDH", "GRDM", "GRDF", "SLC_", "OCN_", "RAW_"]),
    polarisation=st.sampled_from(["SH", "SV", "DH", "DV", "HH", "HV", "VV", "VH"]),
    orbit=st.integers(1, 999_999),
)
def test_every_product_name(letter: str, mode: str, kind: str, polarisation: str, orbit: int) -> None:
    name = f"S1{letter}_{mode}_{kind}_1S{polarisation}_20250101T000000_20250101T000025_{orbit:06d}_0ABCDE_12EF"
    scene = scene_from_name(name)
    assert scene.id == name
    assert scene.platform == f"S1{letter}"
    assert scene.mode == ("SM" if mode in ("S1", "S6") else mode)
    assert scene.product_type == kind[:3]
    assert scene.absolute_orbit == orbit
    assert len(scene.polarisations) == (2 if polarisation in ("DH", "DV") else 1)
    assert scene.relative_orbit is None or 1 <= scene.relative_orbit <= 175


@pytest.mark.parametrize(
    "name",
    ["", "holiday.jpg", NAME[:-1], NAME + "x", NAME + "\n", "S2A_" + NAME[4:], NAME.replace("T03", "X03"), NAME + "١"],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UnreadableInput, match="not a Sentinel-1 product name"):
        scene_from_name(name)


@pytest.mark.parametrize("time", ["20211319T031653", "20210119T031660", "99991231T235960"])
def test_a_name_with_an_invalid_time_is_refused(time: str) -> None:
    with pytest.raises(UnreadableInput, match="invalid time in a Sentinel-1 product name"):
        scene_from_name(NAME.replace("20210119T031653", time))


def test_a_leap_second() -> None:
    scene = scene_from_name(NAME.replace("20210119T031718", "20161231T235960"))
    assert scene.acquired_end == datetime(2017, 1, 1, tzinfo=UTC)
    assert parse_utc("2016-12-31T23:59:60.400000") == datetime(2017, 1, 1, 0, 0, 0, 400_000, tzinfo=UTC)
