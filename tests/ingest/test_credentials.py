"""Credentials come from the environment, a private file or .netrc, and show nowhere."""

import stat
import traceback
from pathlib import Path

import pytest

from ingest.credentials import SERVICES, find_credentials
from ingest.errors import SourceError

SECRET = "hunter2-und-mehr"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of the test, and an environment without credentials."""
    for service in SERVICES.values():
        for variable in service.variables:
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.delenv("SLICKWATCH_CREDENTIALS", raising=False)
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def told(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize("service", list(SERVICES))
def test_from_the_environment(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in zip(SERVICES[service].variables, ("someone", SECRET), strict=True):
        monkeypatch.setenv(variable, value)
    found = find_credentials(service)
    assert (found.user, found.secret.get_secret_value()) == ("someone", SECRET)
    for text in (repr(found), str(found), f"{found}", repr([found])):
        assert SECRET not in text
        assert "someone" not in text


def test_half_of_them_is_an_error_that_names_the_other_half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLICKWATCH_CDSE_PASSWORD", SECRET)
    with pytest.raises(SourceError, match="SLICKWATCH_CDSE_USERNAME is not") as caught:
        find_credentials("cdse")
    assert SECRET not in told(caught.value)


def test_missing_ones_are_told_in_one_line_with_every_way_to_give_them() -> None:
    with pytest.raises(SourceError) as caught:
        find_credentials("eodata")
    line = str(caught.value)
    assert "\n" not in line
    for way in ("SLICKWATCH_EODATA_ACCESS_KEY", "SLICKWATCH_EODATA_SECRET_KEY", "~/.netrc", "SLICKWATCH_CREDENTIALS"):
        assert way in line


def test_from_a_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(home / "keys.toml", f'[cdse]\nusername = "a"\npassword = "{SECRET}"\n[eodata]\naccess_key = "k"\n')
    monkeypatch.setenv("SLICKWATCH_CREDENTIALS", str(file))
    assert find_credentials("cdse").secret.get_secret_value() == SECRET
    with pytest.raises(SourceError, match=r"keys.toml: \[eodata\] has no secret_key"):
        find_credentials("eodata")
    # A service that the file does not name is looked for further on.
    write(home / ".netrc", f"machine dhus.example.org login b password {SECRET}\n")
    assert find_credentials("dhus", "dhus.example.org").user == "b"


def test_the_environment_comes_before_the_file_and_the_file_before_netrc(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home / ".netrc", "machine dataspace.copernicus.eu login of-netrc password x\n")
    assert find_credentials("cdse").user == "of-netrc"
    file = write(home / "keys.toml", '[cdse]\nusername = "of-file"\npassword = "x"\n')
    monkeypatch.setenv("SLICKWATCH_CREDENTIALS", str(file))
    assert find_credentials("cdse").user == "of-file"
    monkeypatch.setenv("SLICKWATCH_CDSE_USERNAME", "of-environment")
    monkeypatch.setenv("SLICKWATCH_CDSE_PASSWORD", "x")
    assert find_credentials("cdse").user == "of-environment"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
@pytest.mark.parametrize("name", ["keys.toml", ".netrc"])
def test_a_file_that_others_may_read_is_refused(
    name: str, mode: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = f"machine dataspace.copernicus.eu login a password {SECRET}\n"
    file = write(home / name, netrc if name == ".netrc" else f'[cdse]\nusername = "a"\npassword = "{SECRET}"\n', mode)
    if name == "keys.toml":
        monkeypatch.setenv("SLICKWATCH_CREDENTIALS", str(file))
    with pytest.raises(
        SourceError, match=f"{name}: holds credentials and is readable by other users; run: chmod 600"
    ) as caught:
        find_credentials("cdse")
    assert SECRET not in told(caught.value)
    file.chmod(stat.S_IRUSR)
    assert find_credentials("cdse").user == "a"


def test_the_default_of_netrc_is_for_nobody(home: Path) -> None:
    write(home / ".netrc", f"default login anonymous password {SECRET}\n")
    with pytest.raises(SourceError, match="no credentials found"):
        find_credentials("cdse")


@pytest.mark.parametrize(
    "content",
    [f"machine dataspace.copernicus.eu {SECRET} {SECRET}\n", f"{SECRET}\n", f"machine m login \udcff {SECRET}"],
)
def test_a_damaged_netrc_is_refused_without_quoting_it(content: str, home: Path) -> None:
    path = home / ".netrc"
    path.write_bytes(content.encode(errors="surrogateescape"))
    path.chmod(0o600)
    with pytest.raises(SourceError, match=r"invalid \.netrc") as caught:
        find_credentials("cdse")
    assert SECRET not in told(caught.value)


@pytest.mark.parametrize("content", [f"[cdse]\npassword = {SECRET}", f'[cdse\n"{SECRET}"', '[cdse]\nx = "\udcff"'])
def test_a_damaged_file_is_refused_without_quoting_it(
    content: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / "keys.toml"
    path.write_bytes(content.encode(errors="surrogateescape"))
    path.chmod(0o600)
    monkeypatch.setenv("SLICKWATCH_CREDENTIALS", str(path))
    with pytest.raises(SourceError, match="not valid TOML") as caught:
        find_credentials("cdse")
    assert SECRET not in told(caught.value)


def test_a_file_that_is_not_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLICKWATCH_CREDENTIALS", str(home / "none.toml"))
    with pytest.raises(SourceError, match=r"none\.toml: cannot be read"):
        find_credentials("cdse")


def test_a_table_that_is_no_table(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLICKWATCH_CREDENTIALS", str(write(home / "keys.toml", 'cdse = "a:b"\n')))
    with pytest.raises(SourceError, match=r"\[cdse\] has no username"):
        find_credentials("cdse")
