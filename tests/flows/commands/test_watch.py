"""Watching and fetching by the command line: from an inbox, and from a data space on loopback."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from flows.settings import Settings
from flows.settings.example import example
from flows.watches import open_watches
from ingest.errors import UsageError
from tests.support.cdse_server import CdseServer, Fault, product
from tests.support.safe_products import sea_product


@pytest.fixture(scope="module")
def safe(tmp_path_factory):
    return sea_product(tmp_path_factory.mktemp("product"), 60, 90)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("SLICKWATCH_")]:
        monkeypatch.delenv(name)
    return tmp_path


INBOX = '[sources.inbox]\nfolder = "inbox"\nsettle = 0\n[[watch]]\nname = "all"\nsource = "inbox"\nmode = "IW"\n'


def test_the_example_is_that_of_the_settings(cli):
    assert cli("watch", "--example") == (0, example(), "")


def test_an_inbox_is_watched_and_each_scene_is_taken_once(cli, here, safe):
    shutil.copytree(safe, here / "inbox" / safe.name)
    (here / "slickwatch.toml").write_text(INBOX)
    code, out, err = cli("watch", "--once", "--json")
    first = json.loads(out)
    assert (code, first["found"], len(first["fetched"])) == (0, 1, 1), err
    again = json.loads(cli("watch", "--once", "--json")[1])
    assert (again["found"], again["fetched"]) == (0, [])
    code, out, _ = cli("scenes", "list", "--json")
    (scene,) = json.loads(out)
    assert (scene["id"], scene["state"]) == (safe.name.removesuffix(".SAFE"), "fetched")
    assert scene["path"] == str((here / "inbox" / safe.name).resolve())


def test_a_product_outside_the_area_is_told_of_once(cli, here, safe, caplog):
    shutil.copytree(safe, here / "inbox" / safe.name)
    area = '[[watch]]\nname = "arabian-sea"\nsource = "inbox"\narea = "60,10,70,20"\n'
    (here / "slickwatch.toml").write_text(INBOX.partition("[[watch]]")[0] + area)
    id = safe.name.removesuffix(".SAFE")
    told = f"1 product in the inbox, 0 in area arabian-sea; outside: {id}"
    code, out, err = cli("watch", "--once")
    assert (code, out.splitlines()[1]) == (0, f"  passed over  {told}"), err
    assert told in caplog.text
    assert "passed over" not in cli("watch", "--once")[1]
    shown = [line for line in cli("status")[1].splitlines() if line.startswith("passed over")]
    assert shown == [f"passed over {id}: outside area arabian-sea"]
    shutil.rmtree(here / "inbox" / safe.name)
    cli("watch", "--once")
    assert json.loads(cli("status", "--json")[1])["passed_over"] == []


def test_a_watch_from_another_folder_means_the_same_places(cli, here, safe, monkeypatch):
    shutil.copytree(safe, here / "site" / "inbox" / safe.name)
    (here / "site" / "slickwatch.toml").write_text(INBOX)
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    monkeypatch.setenv("SLICKWATCH_CONFIG", "../site/slickwatch.toml")
    code, out, err = cli("watch", "--once", "--json")
    assert (code, json.loads(out)["found"]) == (0, 1), err
    assert {path.name for path in (here / "site").iterdir()} >= {"ledger.sqlite", "scenes"}
    assert not list((here / "elsewhere").iterdir())
    monkeypatch.setenv("SLICKWATCH_LEDGER", str(here / "other.sqlite"))
    assert json.loads(cli("watch", "--once", "--json")[1])["found"] == 1, "another ledger knows no scene yet"
    assert (here / "other.sqlite").exists()


def test_only_the_watches_asked_for_are_open_watches(here):
    (here / "slickwatch.toml").write_text(
        INBOX
        + '[sources.cdse]\n[[watch]]\nname = "gulf"\nsource = "cdse"\narea = "47,23.5,57,30.5"\ncron = "5 * * * *"\n'
    )
    settings = Settings.read()
    with open_watches(settings, only=["all"]) as watching:  # the other one would ask for credentials
        assert [(watch.name, watch.source.name, watch.query.mode) for watch in watching.watches] == [
            ("all", "inbox", "IW")
        ]
        assert (watching.folder, watching.interval_s) == (here / "scenes", 900)
    with (
        pytest.raises(UsageError, match=r"^slickwatch\.toml: no watch 'north'; choose from all, gulf$"),
        open_watches(settings, ["north"]),
    ):
        pass


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


def test_a_source_of_the_settings_is_fetched_from_by_its_name(cli, here, safe):
    shutil.copytree(safe, here / "archive" / safe.name)
    (here / "slickwatch.toml").write_text('[sources.mine]\nkind = "inbox"\nfolder = "archive"\nsettle = 0\n')
    code, out, err = cli("fetch", safe.name, "--source", "mine")
    assert (code, out.strip()) == (0, str(here / "archive" / safe.name)), err
    code, out, err = cli("fetch", safe.name, "--source", "mine", "--option", "folder=elsewhere")
    assert (code, out) == (4, ""), "an option given overrides that of the settings"


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
        ("", r"nothing to watch; add \[sources.NAME\] and \[\[watch\]\]"),
        ("[sources.inbox]\n[[watch]]\nname = 'a'\nsource = 'cdse'\n", "folder"),
        ("[sources.inbox]\nfolder = '.'\n[[watch]]\nname = 'a'\nsource = 'cdse'\n", r"\[sources.cdse\]"),
        (
            "[sources.inbox]\nfolder = '.'\n[[watch]]\nname = 'a'\nsource = 'inbox'\nmod = 'IW'\n",
            r"watch.0.mod: unknown; did you mean watch.0.mode\?",
        ),
        ("[sources.inbox]\nfolder = '.'\n[[watch]]\nname = 'a'\nsource = 'inbox'\narea = 'no'\n", "no such file"),
        ("interval = \n", "TOML"),
    ],
)
def test_wrong_settings_are_one_line(cli, here, text, says):
    (here / "slickwatch.toml").write_text(text)
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


@pytest.mark.parametrize("kind", ["cdse", "stac", "dhus", "eodata"])
@pytest.mark.parametrize(
    ("name", "value"),
    [("ALL_PROXY", "socks5://127.0.0.1:9"), ("NO_PROXY", "localhost,[::1]"), ("SSL_CERT_FILE", "/no/such.pem")],
)
def test_a_network_environment_that_cannot_be_used_is_one_line(cli, here, safe, monkeypatch, kind, name, value):
    options = {"stac": ["url=http://127.0.0.1:9/", "collection=c"], "dhus": ["api_url=http://127.0.0.1:9/"]}
    monkeypatch.setenv(f"SLICKWATCH_{kind.upper()}_USERNAME", "u")
    monkeypatch.setenv(f"SLICKWATCH_{kind.upper()}_PASSWORD", "p")
    monkeypatch.setenv("SLICKWATCH_EODATA_ACCESS_KEY", "u")
    monkeypatch.setenv("SLICKWATCH_EODATA_SECRET_KEY", "p")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv(name, value)
    if name == "NO_PROXY":
        monkeypatch.delenv("no_proxy")
    given = [part for option in options.get(kind, []) for part in ("--option", option)]
    code, _, err = cli("fetch", safe.name, "--source", kind, *given)
    assert code == 2, err
    assert err.startswith(f"slickwatch: {name}: ")
    assert err.count("\n") == 1


@pytest.fixture
def cdse(monkeypatch):
    """The options of a source on loopback for a server, and no waits between attempts."""
    monkeypatch.setattr("random.uniform", lambda low, high: 0.0)

    def options(server):
        monkeypatch.setenv("SLICKWATCH_CDSE_USERNAME", server.credentials.user)
        monkeypatch.setenv("SLICKWATCH_CDSE_PASSWORD", server.credentials.secret.get_secret_value())
        return {**server.addresses}

    return options


def as_arguments(options):
    return [part for name, value in options.items() for part in ("--option", f"{name}={value}")]


@pytest.mark.parametrize("status", ["429", "502", "503"])
def test_a_catalogue_that_is_busy_is_asked_again_for_a_scene(cli, here, safe, cdse, status):
    with CdseServer([], faults=[Fault(status, "catalogue", times=2, retry_after="0")]) as server:
        code, out, err = cli("fetch", safe.name, *as_arguments(cdse(server)))
    assert (code, out) == (4, "")
    assert err.endswith("cdse does not list it; check the name, or try another --source\n")
    assert len(server.requests) == 3


def test_a_catalogue_that_stays_busy_or_absent_is_code_4(cli, here, safe, cdse):
    with CdseServer([], faults=[Fault("503", "catalogue", times=None)]) as server:
        options = cdse(server)
        code, out, err = cli("fetch", safe.name, *as_arguments(options))
        assert (code, out, err.count("\n")) == (4, "", 1)
        assert "HTTP 503" in err
        assert len(server.requests) == 8
    absent = options | {"catalogue_url": "http://127.0.0.1:9/odata/v1"}
    code, out, err = cli("fetch", safe.name, *as_arguments(absent))
    assert (code, out, err.count("\n")) == (4, "", 1)
    assert "the connection failed" in err


def test_a_round_whose_source_is_down_is_code_4(cli, here, cdse):
    with CdseServer([], faults=[Fault("503", "catalogue", times=8)]) as server:
        keys = "\n".join(f'{name} = "{value}"' for name, value in cdse(server).items())
        watch = '[[watch]]\nname = "w"\nsource = "cdse"\narea = "1,1,2,2"\n'
        (here / "slickwatch.toml").write_text(f"[sources.cdse]\n{keys}\n{watch}")
        code, out, err = cli("watch", "--once", "--json")
        assert code == 4, err
        assert "HTTP 503" in json.loads(out)["down"]["cdse"]
        assert cli("watch", "--once")[0] == 0


def test_a_round_that_ends_for_want_of_space_is_code_5(cli, here, safe, cdse):
    archive = shutil.make_archive(str(here / "archive"), "zip", safe.parent, safe.name)
    with CdseServer([product(safe.name, Path(archive).read_bytes())]) as server:
        keys = "\n".join(f'{name} = "{value}"' for name, value in cdse(server).items())
        watch = '[scenes]\nbudget_gb = 0.000001\n[[watch]]\nname = "w"\nsource = "cdse"\narea = "-180,-90,180,90"\n'
        (here / "slickwatch.toml").write_text(f"[sources.cdse]\n{keys}\n{watch}")
        code, out, err = cli("watch", "--once")
    assert code == 5, out + err
    assert "does not fit into the disk budget" in out
