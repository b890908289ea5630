"""The local inbox: what is whole is taken once, what is not is left alone, and nothing of it stops the others."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from shapely.geometry import box

from ingest.download import LocalSource, fetch
from ingest.errors import SourceError
from ingest.scene import Scene
from ingest.sources.inbox import Inbox
from ingest.sources.kinds import open_source
from ingest.sources.source import Query
from tests.support.safe_products import sea_product, zip_safe

SLC = "S1A_IW_SLC__1SDV_20210119T031653_20210119T031718_036201_043ED0_8255.zip"


class Clock:
    """Seconds that pass when told to; begins well after whatever the test has written."""

    def __init__(self) -> None:
        self.now = time.time() + 1000

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One small product as folder, zip and COG."""
    folder = sea_product(tmp_path_factory.mktemp("plain"), 48, 64)
    cog = sea_product(tmp_path_factory.mktemp("cog"), 48, 64, ("VV",), cog=True)
    return {"folder": folder, "zip": zip_safe(folder), "cog": cog}


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return Inbox(folder, clock=Clock())


@pytest.fixture
def told(inbox: Inbox) -> list[str]:
    reasons: list[str] = []
    inbox.report = lambda path, reason: reasons.append(reason)
    return reasons


def put(product: Path, into: Path) -> Path:
    into.mkdir(parents=True, exist_ok=True)
    target = into / product.name
    if product.is_dir():
        return Path(shutil.copytree(product, target))
    return Path(shutil.copy2(product, target))


def found(inbox: Inbox, query: Query | None = None, after: datetime | None = None) -> list[Scene]:
    return list(inbox.find(query or Query(), after))


def keys(inbox: Inbox, query: Query | None = None, after: datetime | None = None) -> list[str]:
    return sorted(str(Path(scene.key or "").relative_to(inbox.folder)) for scene in found(inbox, query, after))


# -- what is found ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "zip", "cog"])
@pytest.mark.parametrize("below", ["", "batch 7"])
def test_product_becomes_a_scene_that_lies_in_place(
    inbox: Inbox, products: dict[str, Path], kind: str, below: str
) -> None:
    path = put(products[kind], inbox.folder / below)
    (scene,) = found(inbox)
    assert scene.id == products[kind].name.removesuffix(".SAFE").removesuffix(".zip")
    assert scene.id.endswith("_COG") == (kind == "cog")
    assert (scene.source, scene.key) == ("inbox", str(path))
    assert scene.footprint is not None
    assert scene.size == sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*.*")))
    assert isinstance(inbox, LocalSource)
    assert inbox.local_path(scene) == path


def test_renamed_product_is_known_by_its_content(inbox: Inbox, products: dict[str, Path]) -> None:
    put(products["folder"], inbox.folder).rename(inbox.folder / "monday")
    shutil.copy(products["zip"], inbox.folder / "tuesday.ZIP")
    assert {Path(scene.key or "").name for scene in found(inbox)} == {"monday", "tuesday.ZIP"}
    assert {scene.id for scene in found(inbox)} == {products["folder"].name.removesuffix(".SAFE")}


def test_deeper_folders_and_other_files_are_not_looked_into(
    inbox: Inbox, products: dict[str, Path], told: list[str]
) -> None:
    put(products["zip"], inbox.folder / "a" / "b")
    (inbox.folder / "notes.txt").write_text("x")
    (inbox.folder / SLC).write_bytes(b"of another type, hence never opened")
    for number in range(10_000):
        (inbox.folder / f"{number}.xml").touch()
    assert found(inbox) == []
    assert told == []


def test_oldest_first_and_only_what_came_later(inbox: Inbox, products: dict[str, Path]) -> None:
    late, early = put(products["zip"], inbox.folder), put(products["cog"], inbox.folder)
    for number, path in enumerate((early, late)):
        for each in [path, *path.rglob("*")] if path.is_dir() else [path]:
            os.utime(each, (2e9 + 100 * number,) * 2)
    inbox.clock.now = 2e9 + 1000  # type: ignore[attr-defined]
    scenes = found(inbox)
    assert [Path(scene.key or "") for scene in scenes] == [early, late]
    first = datetime.fromtimestamp(2e9, UTC)
    assert [scene.published for scene in scenes] == [first, first + timedelta(seconds=100)]
    assert [Path(scene.key or "") for scene in found(inbox, after=first)] == [late]
    assert found(inbox, after=first + timedelta(seconds=100)) == []


def test_old_product_counts_from_when_it_came(inbox: Inbox, products: dict[str, Path], tmp_path: Path) -> None:
    """`mv` keeps the time of the content, and moving a folder not even marks what is in it."""
    paths = [put(products[kind], tmp_path / folder) for kind, folder in (("zip", "elsewhere"), ("zip", "."))]
    for path in paths:
        os.utime(path, (1e9, 1e9))
    time.sleep(0.02)
    watermark = datetime.now(UTC)
    time.sleep(0.02)
    (tmp_path / "elsewhere").rename(inbox.folder / "batch")
    paths[1].rename(inbox.folder / path.name)
    assert keys(inbox, after=watermark) == sorted([path.name, f"batch/{path.name}"])
    assert keys(inbox, after=datetime.now(UTC) + timedelta(seconds=1)) == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query(), True),
        (Query(mode=None), True),
        (Query(mode="EW"), False),
        (Query(product_type="SLC"), False),
        (Query(polarisation="VH"), True),
        (Query(polarisation="HH"), False),
        (Query(timeliness="Fast-24h"), True),
        (Query(timeliness="NRT-3h"), False),
    ],
)
@pytest.mark.parametrize("name", [None, "renamed.zip"])
def test_query_by_name_and_content(
    inbox: Inbox, products: dict[str, Path], query: Query, expected: bool, name: str | None
) -> None:
    path = put(products["zip"], inbox.folder)
    path.rename(path.with_name(name or path.name))
    assert bool(found(inbox, query)) == expected


def test_query_by_orbit_and_area(inbox: Inbox, products: dict[str, Path]) -> None:
    put(products["folder"], inbox.folder)
    (scene,) = found(inbox)
    assert scene.footprint is not None
    assert scene.relative_orbit is not None
    west, south, east, north = scene.footprint.bounds
    for area, expected in ((box(west, south, east, north), 1), (box(east + 1, south, east + 2, north), 0)):
        assert len(found(inbox, Query(area=area))) == expected
    assert len(found(inbox, Query(relative_orbit=scene.relative_orbit))) == 1
    assert len(found(inbox, Query(relative_orbit=scene.relative_orbit % 175 + 1))) == 0
    directions = [len(found(inbox, Query(orbit_direction=each))) for each in ("ascending", "DESCENDING")]
    assert sorted(directions) == [0, 1]


def test_footprint_without_a_manifest_is_by_the_annotation(inbox: Inbox, products: dict[str, Path]) -> None:
    path = put(products["folder"], inbox.folder)
    (by_manifest,) = found(inbox)
    (path / "manifest.safe").unlink()
    inbox.clock.now += 100  # type: ignore[attr-defined]
    found(inbox)
    inbox.clock.now += 100  # type: ignore[attr-defined]
    (by_annotation,) = found(inbox)
    assert by_manifest.footprint is not None
    assert by_annotation.footprint is not None
    overlap = by_annotation.footprint.intersection(by_manifest.footprint).area
    assert overlap == pytest.approx(by_manifest.footprint.area, rel=0.02)


# -- what is left alone ----------------------------------------------------------------------------------------------


def test_product_is_taken_when_it_has_been_quiet(inbox: Inbox, products: dict[str, Path]) -> None:
    path = put(products["zip"], inbox.folder)
    changed = max(path.stat().st_mtime, path.stat().st_ctime)
    inbox.clock.now = changed + 1  # type: ignore[attr-defined]
    assert found(inbox) == []
    inbox.clock.now = changed + 11  # type: ignore[attr-defined]
    assert len(found(inbox)) == 1


def test_product_that_changes_between_two_looks_is_left_alone(inbox: Inbox, products: dict[str, Path]) -> None:
    path = put(products["folder"], inbox.folder)
    measurement = next((path / "measurement").iterdir())
    os.utime(measurement, (9e9, 9e9))  # a clock ahead of ours: its times tell nothing
    assert found(inbox) == []
    inbox.clock.now += 9  # type: ignore[attr-defined]
    assert found(inbox) == []
    os.utime(measurement, (9e9, 9e9 + 1))  # the second look sees another time
    inbox.clock.now += 9  # type: ignore[attr-defined]
    assert found(inbox) == []
    inbox.clock.now += 9  # type: ignore[attr-defined]
    assert found(inbox) == []
    inbox.clock.now += 2  # type: ignore[attr-defined]
    assert len(found(inbox)) == 1


@pytest.mark.parametrize("suffix", [".part", ".tmp", ".crdownload", ".filepart", ".PARTIAL"])
def test_unfinished_names_are_passed_over(
    inbox: Inbox, products: dict[str, Path], told: list[str], suffix: str
) -> None:
    for kind in ("zip", "folder"):
        path = put(products[kind], inbox.folder)
        path.rename(path.with_name(path.name + suffix))
    shutil.copy(products["zip"], inbox.folder / f".{products['zip'].name}")
    put(products["zip"], inbox.folder / f"batch{suffix}")
    assert found(inbox) == []
    assert told == []


def test_zip_is_taken_at_no_length_but_its_own(inbox: Inbox, products: dict[str, Path], told: list[str]) -> None:
    whole = products["zip"].read_bytes()
    path = inbox.folder / products["zip"].name
    lengths = [*range(0, len(whole), len(whole) // 7), len(whole) - 1]
    for length in lengths:
        path.write_bytes(whole[:length])
        found(inbox)
        inbox.clock.now += 100  # type: ignore[attr-defined]
        assert found(inbox) == [], f"taken with {length} of {len(whole)} bytes"
    assert len(told) == len(lengths)
    path.write_bytes(whole)
    found(inbox)
    inbox.clock.now += 100  # type: ignore[attr-defined]
    assert len(found(inbox)) == 1


def test_zip_with_its_end_there_before_its_middle_is_left_alone(
    inbox: Inbox, products: dict[str, Path], told: list[str]
) -> None:
    path = put(products["zip"], inbox.folder)
    with zipfile.ZipFile(path) as archive:
        header = max(entry.header_offset for entry in archive.infolist() if "measurement" in entry.filename)
    with open(path, "r+b") as file:
        file.seek(header)
        file.write(bytes(1000))
    assert found(inbox) == []
    assert len(told) == 1
    assert "incomplete archive" in told[0]


@pytest.mark.parametrize("damage", ["missing", "short"])
def test_folder_waits_for_the_files_its_manifest_lists(
    inbox: Inbox, products: dict[str, Path], told: list[str], damage: str
) -> None:
    path = put(products["folder"], inbox.folder)
    noise = next((path / "annotation" / "calibration").glob("noise-*"))
    content = noise.read_bytes()
    noise.unlink() if damage == "missing" else noise.write_bytes(content[:-1])
    assert found(inbox) == []
    assert found(inbox) == []
    (reason,) = told  # once
    assert noise.name in reason
    assert ("is missing" if damage == "missing" else f"has {len(content) - 1} of {len(content)} bytes") in reason
    noise.write_bytes(content)
    found(inbox)
    inbox.clock.now += 100  # type: ignore[attr-defined]
    assert len(found(inbox)) == 1


def test_product_of_renamed_files_is_whole_without_those_its_manifest_lists(
    inbox: Inbox, products: dict[str, Path]
) -> None:
    """As AWS keeps them: measurement/iw-vv.tiff beside a manifest that says s1a-iw-grd-vv-....tiff."""
    path = put(products["folder"], inbox.folder)
    for kind in ("measurement", "annotation", "annotation/calibration"):
        for file in [each for each in (path / kind).iterdir() if each.is_file()]:
            prefix = next((each for each in ("calibration-", "noise-") if file.name.startswith(each)), "")
            polarisation = "vv" if "-vv-" in file.name else "vh"
            file.rename(file.with_name(f"{prefix}iw-{polarisation}{file.suffix}"))
    (path / "productInfo.json").write_text(f'{{"id": "{path.stem}"}}')
    assert keys(inbox) == [path.name]


# -- what goes wrong -------------------------------------------------------------------------------------------------


def test_unreadable_products_are_told_once_and_do_not_stop_the_others(
    inbox: Inbox, products: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    good = put(products["zip"], inbox.folder)
    (inbox.folder / "a.zip").write_bytes(b"no zip")
    (inbox.folder / "empty.SAFE").mkdir()
    hostile = inbox.folder / "hostile.SAFE"
    hostile.mkdir()
    (hostile / "manifest.safe").write_text("<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>")
    with caplog.at_level(logging.WARNING):
        assert keys(inbox) == keys(inbox) == [good.name]
    assert len(caplog.records) == 3
    assert {name for name in ("a.zip", "empty.SAFE", "hostile.SAFE") if name in caplog.text} == {
        "a.zip", "empty.SAFE", "hostile.SAFE",
    }  # fmt: skip
    shutil.copy(products["zip"], inbox.folder / "a.zip")
    keys(inbox)
    inbox.clock.now += 100  # type: ignore[attr-defined]
    assert keys(inbox) == sorted(["a.zip", good.name])


def test_manifest_cannot_point_outside(inbox: Inbox, products: dict[str, Path], told: list[str]) -> None:
    path = put(products["folder"], inbox.folder)
    manifest = path / "manifest.safe"
    manifest.write_text(manifest.read_text().replace('href="./measurement', 'href="../../measurement'))
    if '"../../' not in manifest.read_text():
        manifest.write_text(manifest.read_text().replace('href="measurement', 'href="../../measurement'))
    assert found(inbox) == []
    assert "outside the product" in told[0]


def test_links_lead_to_each_product_once(inbox: Inbox, products: dict[str, Path], told: list[str]) -> None:
    put(products["zip"], inbox.folder)
    (inbox.folder / "all").symlink_to(inbox.folder)
    (inbox.folder / "loop.SAFE").symlink_to("loop.SAFE")
    (inbox.folder / "dangling.zip").symlink_to("nowhere")
    os.link(inbox.folder / products["zip"].name, inbox.folder / "again.zip")
    os.mkfifo(inbox.folder / "pipe.zip")
    assert len(found(inbox)) == 1
    assert told == []


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder that an account without rights may enter, and that account in place of root."""
    if os.geteuid() != 0:
        yield Path(tempfile.mkdtemp())
        return
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        os.seteuid(0)
        shutil.rmtree(folder)


def test_permission_errors_are_told_and_do_not_stop_the_others(as_nobody: Path, products: dict[str, Path]) -> None:
    good, secret = put(products["zip"], as_nobody), put(products["folder"], as_nobody / "closed")
    copy = as_nobody / "unreadable.zip"
    shutil.copy(products["zip"], copy)
    copy.chmod(0)
    secret.parent.chmod(0)
    reasons: list[str] = []
    inbox = Inbox(as_nobody, clock=Clock(), report=lambda path, reason: reasons.append(reason))
    if os.geteuid() == 0:
        os.seteuid(65534)
    assert keys(inbox) == keys(inbox) == [good.name]
    assert sorted(reason.split(":")[0] for reason in reasons) == [str(secret.parent), str(copy)]
    assert all("Permission denied" in reason for reason in reasons)


def test_no_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere: the inbox cannot be read \(No such file or directory\)"):
        found(Inbox(tmp_path / "nowhere"))


def test_name_that_is_no_text_is_told(inbox: Inbox, products: dict[str, Path], told: list[str]) -> None:
    shutil.copy(products["zip"], os.path.join(os.fsencode(inbox.folder), b"\xff.zip"))
    assert found(inbox) == []
    assert "its name is not UTF-8" in told[0]


# -- taking it -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0, 1, 5000])
def test_zip_streams_from_any_byte(inbox: Inbox, products: dict[str, Path], offset: int) -> None:
    put(products["zip"], inbox.folder)
    (scene,) = found(inbox)
    whole = products["zip"].read_bytes()
    with inbox.open(scene, offset) as stream:
        assert (stream.offset, stream.total) == (offset, len(whole))
        assert b"".join(stream) == whole[offset:]
    with inbox.open(scene, len(whole)) as stream:
        assert b"".join(stream) == b""
    with inbox.open(scene, len(whole) + 1) as stream:
        assert stream.offset == 0


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_fetching_from_the_inbox_copies_nothing(products: dict[str, Path], tmp_path: Path, kind: str) -> None:
    path = put(products[kind], tmp_path / "inbox")
    opened = open_source("inbox", {"folder": str(tmp_path / "inbox"), "settle": "0", "name": "ship"})
    (scene,) = opened.find(Query(), None)
    assert scene.source == opened.name == "ship"
    assert fetch(opened, scene, tmp_path / "scenes") == path
    assert not (tmp_path / "scenes").exists()


def test_folder_is_used_in_place_and_a_scene_that_went_is_told(inbox: Inbox, products: dict[str, Path]) -> None:
    path = put(products["folder"], inbox.folder)
    (scene,) = found(inbox)
    with pytest.raises(SourceError, match="unpacked"):
        inbox.open(scene, 0)
    shutil.rmtree(path)
    with pytest.raises(SourceError, match="no longer in the inbox"):
        inbox.local_path(scene)
    assert found(inbox) == []
