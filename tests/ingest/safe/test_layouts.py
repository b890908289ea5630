"""Layouts of products as people pack and move them: each gives the same image, or one line that says what to give."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ingest.errors import UnreadableInput
from ingest.safe.product import SafeProduct
from preprocess.pipeline import sigma_nought
from tests.support.safe_products import sea_product


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sea_product(tmp_path_factory.mktemp("plain"), 60, 80, ("VV",))


@pytest.fixture(scope="module")
def image(plain: Path) -> np.ndarray:
    return sigma_nought(SafeProduct.open(plain), "VV").values


def packed(product: Path, path: Path, prefix: str, *, separator: str = "/", **others: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in others.items():
            archive.writestr(name, content)
        for file in sorted(product.rglob("*")):
            if file.is_file():
                archive.write(file, (prefix + file.relative_to(product).as_posix()).replace("/", separator))
    return path


ZIPS: dict[str, Callable[[str], str]] = {
    "a.zip": lambda name: f"{name}/",
    "at the top.ZIP": lambda name: "",
    "dot.zip": lambda name: f"./{name}/",
    "absolute.zip": lambda name: f"/{name}/",
    "deep.zip": lambda name: f"data/2024/Öl & 50%/{name}/",
    "dots.SAFE.zip": lambda name: f"{name}/",
    "ends with a dot.": lambda name: f"{name}/",
    "no suffix": lambda name: f"{name}/",
    f"{'long ' * 46}.zip": lambda name: f"{name}/",
    "'quoted' \"name\".zip": lambda name: f"{name}/",
    "Öl #1 50% 海.zip": lambda name: f"{name}/",
}


@pytest.mark.parametrize("name", ZIPS)
def test_a_zip_is_read_however_it_is_named_and_packed(
    name: str, plain: Path, image: np.ndarray, tmp_path: Path
) -> None:
    path = packed(plain, tmp_path / name, ZIPS[name](plain.name), **{"__MACOSX/._x": b"x", "report.pdf": b"%PDF"})
    np.testing.assert_array_equal(sigma_nought(SafeProduct.open(path), "VV"), image)


@pytest.mark.parametrize(
    "folder", ["a b", "ends with a dot.", "'q' \"q\"", "50%", "Öl 海", "x" * 250, "-x", "~", "$HOME"]
)
def test_a_folder_is_read_wherever_it_lies(folder: str, plain: Path, image: np.ndarray, tmp_path: Path) -> None:
    path = shutil.copytree(plain, tmp_path / folder / plain.name)
    np.testing.assert_array_equal(sigma_nought(SafeProduct.open(path), "VV"), image)


def with_bom(product: Path) -> None:
    for file in product.rglob("annotation/**/*.xml"):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))


def with_side_files(product: Path) -> None:
    for file in list(product.rglob("*.tiff")):
        file.with_name(f"{file.name}.aux.xml").write_text("<PAMDataset/>")
        file.with_name(f"{file.name}.ovr").write_bytes(b"x")
        shutil.copy(file, file.with_name(f"{file.stem} (1).tiff"))


def in_capitals(product: Path) -> None:
    for file in list(product.rglob("*.tiff")):
        file.rename(file.with_suffix(".TIFF"))


def renumbered(product: Path) -> None:
    for file in list(product.rglob("noise-*.xml")):
        file.rename(file.with_name(file.name.replace("-001.xml", "-004.xml")))


@pytest.mark.parametrize("change", [with_bom, with_side_files, in_capitals, renumbered])
def test_a_folder_that_was_handled_is_read(
    change: Callable[[Path], None], plain: Path, image: np.ndarray, tmp_path: Path
) -> None:
    path = shutil.copytree(plain, tmp_path / plain.name)
    change(path)
    np.testing.assert_array_equal(sigma_nought(SafeProduct.open(path), "VV"), image)


def test_every_way_to_name_a_folder(plain: Path, image: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(plain)
    for path in (tmp_path / "link", Path(f"{plain}/"), plain / "manifest.safe"):
        np.testing.assert_array_equal(sigma_nought(SafeProduct.open(path), "VV"), image)


def backslashes(product: Path, folder: Path) -> Path:
    return packed(product, folder / "a.zip", f"{product.name}/", separator="\\")


def two_in_one(product: Path, folder: Path) -> Path:
    twice = product.name.replace("S1A_", "S1B_")
    path = packed(product, folder / "a.zip", f"{product.name}/")
    with zipfile.ZipFile(path, "a") as archive:
        for file in product.rglob("*"):
            if file.is_file():
                archive.write(file, f"{twice}/{file.relative_to(product).as_posix()}")
    return path


def without_images(product: Path, folder: Path) -> Path:
    path = shutil.copytree(product, folder / product.name)
    shutil.rmtree(path / "measurement")
    return path


def empty_image(product: Path, folder: Path) -> Path:
    path = shutil.copytree(product, folder / product.name)
    next(path.glob("measurement/*.tiff")).write_bytes(b"")
    return path


def the_image(product: Path, folder: Path) -> Path:
    return next(product.glob("measurement/*.tiff"))


def zip_in_a_zip(product: Path, folder: Path) -> Path:
    inner = packed(product, folder / "inner.zip", f"{product.name}/")
    with zipfile.ZipFile(folder / "outer.zip", "w") as archive:
        archive.write(inner, inner.name)
    return folder / "outer.zip"


@pytest.mark.parametrize(
    "make", [backslashes, two_in_one, without_images, empty_image, the_image, zip_in_a_zip, lambda p, f: f]
)
def test_what_is_no_product_is_one_line(make: Callable[[Path, Path], Path], plain: Path, tmp_path: Path) -> None:
    path = make(plain, tmp_path)
    with pytest.raises(UnreadableInput) as caught:
        sigma_nought(SafeProduct.open(path), "VV").compute()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
