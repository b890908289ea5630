import io
import os
import stat
import zipfile
from pathlib import Path

import pytest

from ingest.errors import UnreadableInput
from ingest.safe import container as container_module
from ingest.safe.container import open_container

NAME = "S1A_IW_GRDH_1SDV_20210119T031653_20210119T031718_036201_043ED0_8255.SAFE"
FILES = {
    "manifest.safe": b"<manifest/>",
    "annotation/iw-vv.xml": b"<product/>",
    "measurement/iw-vv.tiff": bytes(range(256)) * 40,
}


def make_folder(parent: Path) -> Path:
    folder = parent / NAME
    for member, content in FILES.items():
        (folder / member).parent.mkdir(parents=True, exist_ok=True)
        (folder / member).write_bytes(content)
    return folder


def make_zip(path: Path, prefix: str = f"{NAME}/", members: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in (FILES if members is None else members).items():
            archive.writestr(prefix + member, content)
    return path


@pytest.mark.parametrize("kind", ["folder", "manifest", "zip", "zip without a folder", "stored zip"])
def test_members_and_content(kind: str, tmp_path: Path) -> None:
    if kind in ("folder", "manifest"):
        path = make_folder(tmp_path) / ("manifest.safe" if kind == "manifest" else "")
    else:
        path = make_zip(tmp_path / "any name", "" if "without" in kind else f"{NAME}/")
    container = open_container(path)
    assert container.members == tuple(sorted(FILES))
    assert {member: container.read(member) for member in container.members} == FILES
    assert container.name == ("any name" if "without" in kind else NAME)
    assert container.size() > 0


def test_folder_named_by_a_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make_folder(tmp_path))
    assert open_container(".").name == NAME


def test_macintosh_rubbish_beside_the_product(tmp_path: Path) -> None:
    members = {f"{NAME}/manifest.safe": b"<manifest/>", f"__MACOSX/{NAME}/._manifest.safe": b"x"}
    container = open_container(make_zip(tmp_path / "a.zip", "", members))
    assert container.name == NAME
    assert container.read("manifest.safe") == b"<manifest/>"


@pytest.mark.parametrize("prefix", [f"wrapped/{NAME}/", f"./{NAME}/", "./"])
def test_a_product_anywhere_in_the_archive(prefix: str, tmp_path: Path) -> None:
    members = {f"{prefix}{member}": content for member, content in FILES.items()}
    container = open_container(make_zip(tmp_path / "a.zip", "", {**members, "read me.txt": b"x"}))
    assert container.members == tuple(sorted(FILES))
    assert {member: container.read(member) for member in container.members} == FILES
    assert container.name == ("a.zip" if prefix == "./" else NAME)
    assert open_container(make_zip(tmp_path / "b.zip", "./", {"a.txt": b"x"})).name == "b.zip"


def test_several_products_in_one_archive_are_refused(tmp_path: Path) -> None:
    members = {f"{name}.SAFE/manifest.safe": b"<manifest/>" for name in "ab"}
    with pytest.raises(UnreadableInput, match="several products"):
        open_container(make_zip(tmp_path / "a.zip", "", members))


@pytest.mark.parametrize("member", ["/etc/passwd", "../outside.xml", f"{NAME}/../../x", "C:/x", f"{NAME}\\..\\x"])
def test_members_outside_are_refused(member: str, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        entry = zipfile.ZipInfo("placeholder")
        entry.filename = member
        archive.writestr(entry, b"x")
    with pytest.raises(UnreadableInput, match="outside"):
        open_container(path)


def test_symbolic_links_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        entry = zipfile.ZipInfo(f"{NAME}/manifest.safe")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(UnreadableInput, match="symbolic link"):
        open_container(path)


def test_encrypted_and_doubled_members_are_refused(tmp_path: Path) -> None:
    content = make_zip(tmp_path / "a.zip").read_bytes()
    encrypted = bytearray(content)
    for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        encrypted[content.index(signature) + offset] |= 1
    (tmp_path / "encrypted.zip").write_bytes(encrypted)
    with pytest.raises(UnreadableInput, match="encrypted"):
        open_container(tmp_path / "encrypted.zip")
    with zipfile.ZipFile(tmp_path / "double.zip", "w") as archive:
        archive.writestr(f"{NAME}/a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr(f"{NAME}/a", b"2")
    with pytest.raises(UnreadableInput, match="duplicate member"):
        open_container(tmp_path / "double.zip")


@pytest.mark.parametrize("keep", [0, 3, 200, -1])
def test_truncated_archives(keep: int, tmp_path: Path) -> None:
    content = make_zip(tmp_path / "a.zip").read_bytes()
    (tmp_path / "b.zip").write_bytes(content[:keep])
    with pytest.raises(UnreadableInput, match="not a zip archive, or a truncated one") as caught:
        open_container(tmp_path / "b.zip")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


def test_damaged_member(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip")
    content = bytearray(path.read_bytes())
    at = content.index(b"annotation/iw-vv.xml") + len("annotation/iw-vv.xml")
    content[at : at + 6] = b"\xff" * 6
    path.write_bytes(content)
    with pytest.raises(UnreadableInput, match=r"annotation/iw-vv\.xml: is damaged"):
        open_container(path).read("annotation/iw-vv.xml")


def test_missing_and_oversized_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for container in (open_container(make_folder(tmp_path)), open_container(make_zip(tmp_path / "a.zip"))):
        with pytest.raises(UnreadableInput, match=r"annotation/iw-vh\.xml: is missing"):
            container.read("annotation/iw-vh.xml")
        monkeypatch.setattr(container_module, "LARGEST_DOCUMENT", 1000)
        with pytest.raises(UnreadableInput, match="larger than"):
            container.read("measurement/iw-vv.tiff")
        monkeypatch.undo()


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match="no such file or folder"):
        open_container(tmp_path / "absent.SAFE")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_unreadable_file(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip")
    path.chmod(0)
    with pytest.raises(UnreadableInput, match="permission"):
        open_container(path)


@pytest.mark.parametrize("name", ["plain.zip", "no suffix", "with {braces.zip"])
def test_gdal_reads_through_the_path(name: str, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    numpy = pytest.importorskip("numpy")
    image = numpy.arange(60, dtype="uint16").reshape(6, 10)
    memory = io.BytesIO()
    gcps = [rasterio.control.GroundControlPoint(row, col, col, row) for row in (0, 6) for col in (0, 10)]
    with rasterio.io.MemoryFile() as file:
        with file.open(driver="GTiff", width=10, height=6, count=1, dtype="uint16", gcps=gcps, crs="EPSG:4326") as out:
            out.write(image, 1)
        memory.write(file.read())
    make_zip(tmp_path / name, f"{NAME}/", {"measurement/iw-vv.tiff": memory.getvalue()})
    with rasterio.open(open_container(tmp_path / name).gdal_path("measurement/iw-vv.tiff")) as dataset:
        assert (dataset.read(1) == image).all()
