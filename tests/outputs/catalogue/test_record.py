"""The inputs of a run, by which anyone can tell later what it was made from."""

import blake3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outputs.record import InputFile, input_file, record_of, record_text
from tests.support.catalogue_results import record

NAMES = st.from_regex(r"[a-z]{1,3}(/[a-z]{1,3})?", fullmatch=True)


def written(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_the_checksum_of_a_file_is_that_of_its_bytes(tmp_path):
    content = bytes(range(256)) * 5000  # more than one block
    (tmp_path / "scene.zip").write_bytes(content)
    known = input_file(tmp_path / "scene.zip")
    assert (known.size, known.checksum) == (1_280_000, f"blake3:{blake3.blake3(content).hexdigest()}")


@pytest.mark.parametrize(
    "changed",
    [
        {"manifest.safe": b"x", "measurement/a.tiff": b"y!"},
        {"manifest.safe": b"x", "measurement/b.tiff": b"y"},
        {"manifest.safe": b"y", "measurement/a.tiff": b"x"},
        {"manifest.safe": b"x", "measurement/a.tiff": b"y", "more": b""},
        {"manifest.safe": b"x"},
    ],
)
def test_the_checksum_of_a_folder_tells_another_content_and_another_name(tmp_path, changed):
    files = {"manifest.safe": b"x", "measurement/a.tiff": b"y"}
    first, same, other = (
        written(tmp_path / name, what) for name, what in zip("abc", (files, files, changed), strict=True)
    )
    assert input_file(first).checksum == input_file(same).checksum != input_file(other).checksum
    assert input_file(first).checksum.startswith("blake3-tree:")
    assert input_file(first).size == 2


@given(st.lists(st.tuples(NAMES, st.integers(0, 9), st.none() | st.just("blake3:ab")), max_size=3))
def test_a_record_with_and_without_checksums_comes_back(inputs):
    given_ = record("run-1", inputs=tuple(InputFile(*entry) for entry in inputs))
    assert record_of(record_text(given_)) == given_
    assert ("checksum" in record_text(given_)) == any(checksum for *_, checksum in inputs)
