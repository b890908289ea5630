"""Watching and fetching by the command line: from an inbox, and from a data space on loopback."""

import json
import re
import shutil

import pytest

from flows.watching import EXAMPLE, read_watch_file
from tests.cdse_server import CdseServer, Fault, product
from tests.safe_products import sea_product


@pytest.fixture(scope="module")
def safe(tmp_path_factory):
    return sea_product(tmp_path_factory.mktemp("product"), 60, 90)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLICKWATCH_LEDGER", raising=False)
    return tmp_path


def test_the_example_is_a_valid_watch_file(cli, tmp_path):
    code, out, _ = cli("watch", "--example")
    assert (code, out) == (0, EXAMPLE)
    (tmp_path / "watch.toml").write_text(out)
    assert [entry.name for entry in read_watch_file(tmp_path / "watch.toml").watch] == ["from-the-inbox", "gulf"]


def test_an_inbox_is_watched_and_each_scene_is_taken_once(cli, here, safe):
    shutil.copytree(safe, here / "inbox" / safe.name)
    (here / "watch.toml").write_text(
        '[sources.inbox]\nfolder = "inbox"\nsettle = 0\n[[watch]]\nname = "all"\nsource = "inbox"\nmode = "IW"\n'
    )
    code, out, err = cli("watch", "--once", "--json")
    first = json.loads(out)
    assert (code, first["found"], len(first["fetched"])) == (0, 1, 1), err
    again = json.loads(cli("watch", "--once", "--json")[1])
    assert (again["found"], again["fetched"]) == (0, [])
    code, out, _ = cli("scenes", "list", "--json")
    (scene,) = json.loads(out)
    assert (scene["id"], scene["state"]) == (safe.name.removesuffix(".SAFE"), "fetched")
    assert scene["path"] == str((here / "inbox" / safe.name).resolve())


def test_one_scene_is_fetched_by_its_name_through_faults(cli, here, safe, monkeypatch):
    archive = here / "archive"
    shutil.make_archive(str(archive), "zip", safe.parent, safe.name)
    content = archive.with_suffix(".zip").read_bytes()
    with CdseServer([product(safe.name, content)], faults=[Fault("cut", "zipper", times=1)]) as server:
        monkeypatch.setenv("SLICKWATCH_CDSE_USERNAME", server.credentials.user)
        monkeypatch.setenv("SLICKWATCH_CDSE_PASSWORD", server.credentials.secret.get_secret_value())
        options = [part for name, value in server.addresses.items() for part in ("--option", f"{name}={value}")]
        code, out, err = cli("fetch", safe.name, *options, "--out", here / "scenes")
    assert code == 0, err
    fetched = here / "scenes" / f"{safe.name}.zip"
    assert out.strip() == str(fetched)
    assert fetched.read_bytes() == content
    assert server.credentials.secret.get_secret_value() not in out + err


def test_a_scene_in_an_inbox_is_where_it_is(cli, here, safe):
    shutil.copytree(safe, here / "inbox" / safe.name)
    options = ("--source", "inbox", "--option", "folder=inbox", "--option", "settle=0")
    code, out, err = cli("fetch", safe.name, *options, "--out", here / "scenes")
    assert (code, out.strip()) == (0, f"inbox/{safe.name}"), err
    other = safe.name.replace("S1A", "S1C")
    code, out, err = cli("fetch", other, *options)
    assert (code, out) == (4, "")
    assert "inbox does not list it" in err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "sources"),
        ("[sources.inbox]\n[[watch]]\nname = 'a'\nsource = 'cdse'\n", "folder"),
        ("[sources.inbox]\nfolder = '.'\n[[watch]]\nname = 'a'\nsource = 'cdse'\n", r"\[sources.cdse\]"),
        ("[sources.inbox]\nfolder = '.'\n[[watch]]\nname = 'a'\nsource = 'inbox'\nmod = 'IW'\n", "watch.0.mod"),
        ("interval = \n", "TOML"),
    ],
)
def test_a_wrong_watch_file_is_one_line(cli, here, text, says):
    (here / "watch.toml").write_text(text)
    code, out, err = cli("watch", "--once")
    assert (code, out) == (2, "")
    assert err.strip().count("\n") == 0
    assert re.search(says, err)
    assert not (here / "ledger.sqlite").exists()


def test_missing_credentials_fail_before_any_work(cli, here, safe, monkeypatch):
    for name in ("USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"SLICKWATCH_CDSE_{name}", raising=False)
    monkeypatch.setenv("NETRC", str(here / "none"))
    code, _, err = cli("fetch", safe.name, "--out", here / "scenes")
    assert code == 4
    assert "SLICKWATCH_CDSE_USERNAME" in err
    assert err.strip().count("\n") == 0
    assert not (here / "scenes").exists()
