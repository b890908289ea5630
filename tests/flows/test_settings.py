"""The settings file: defaults, environment variables, error messages, the example, the check."""

import json
import os
import random
import re
import subprocess
import sys
import textwrap
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.cli import app
from flows.settings import Settings
from flows.settings.environment import is_key
from flows.settings.example import example
from flows.settings.sections import Monitor
from flows.settings.validation import known_keys
from ingest.errors import SourceError, UsageError
from ingest.watch import WatchOptions
from outputs.slicks import SlickOptions

SECRET = "hunter2hunter2"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("SLICKWATCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def file(here):
    return lambda text, name="slickwatch.toml": (here / name).write_text(text)


@pytest.fixture
def run(capfd):
    """Run `slickwatch settings ...` as the command line does; returns exit code, stdout and stderr."""

    def call(*arguments):
        code = 0
        try:
            app(["settings", *(str(a) for a in arguments)])
        except UsageError as error:
            code = error.exit_code
            print(error)
        except SystemExit as exit_:
            code = exit_.code or 0
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return call


def error_of(text, file, **environ):
    file(text)
    with pytest.raises(UsageError) as caught:
        Settings.read(environ=environ)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_a_file_the_defaults_apply_in_the_working_folder(here):
    read = Settings.read()
    assert read.file is None
    assert (read.scenes.folder, read.scenes.ledger) == (here / "scenes", str(here / "ledger.sqlite"))
    assert read.monitor.results == here / "results"
    assert read.monitor.cron == "*/15 * * * *"
    assert read.retraining.cron == "0 3 1 * *"
    assert (read.prefect.host, read.prefect.port, read.prefect.work_pool) == ("127.0.0.1", 4200, "slickwatch")
    assert (read.sources, read.watch) == ({}, ())


def test_the_example_is_equivalent_to_the_defaults(here, file):
    defaults = Settings.read()
    file(example())
    read = Settings.read()
    assert read.file == Path("slickwatch.toml")
    assert read.model_dump() == defaults.model_dump()
    documented = {keys for keys in known_keys(Settings) if is_key(Settings, keys)}
    table = tomllib.loads(example())
    unset = {keys for keys in documented if not _has(table, keys)}
    assert all(_at(defaults, keys) is None for keys in unset), "only keys without a default may be commented out"


def test_each_commented_line_of_the_example_is_valid(here, file):
    everything = re.sub(r"(?m)^#(?=[a-z\[])", "", example())
    everything = everything.replace("recipients = []", 'recipients = ["Duty <duty@example.org>"]')
    file(everything)
    read = Settings.read()
    table = tomllib.loads(everything)
    assert all(_has(table, keys) for keys in known_keys(Settings) if is_key(Settings, keys)), "no key is left out"
    assert set(read.sources) == {"inbox", "cdse"}
    assert [(watch.name, watch.source) for watch in read.watch] == [("gulf", "cdse")]
    assert set(table["watch"][0]) == set(type(read.watch[0]).model_fields)
    assert read.scenes.since == datetime(2026, 11, 1, tzinfo=UTC)


def _has(table, keys):
    for key in keys:
        if key not in table:
            return False
        table = table[key]
    return True


def _at(value, keys):
    for key in keys:
        value = getattr(value, key)
    return value


def test_the_environment_overrides_the_file_and_the_file_the_defaults(file):
    file('[monitor]\nparallel = 3\nresults = "r"\n[sources.inbox]\nfolder = "in"\nsettle = 5\n')
    read = Settings.read(
        environ={
            "SLICKWATCH_MONITOR__PARALLEL": "7",
            "SLICKWATCH_MONITOR__POLARISATION": "VH",
            "SLICKWATCH_RETRAINING__MARGINS__MIOU": "0.25",
            "SLICKWATCH_ALERTS__MAIL__STARTTLS": "false",
            "SLICKWATCH_ALERTS__WEBHOOKS": '["https://hook.example/a", "https://hook.example/b"]',
            "SLICKWATCH_SOURCES__INBOX__SETTLE": "0",
            "SLICKWATCH_SCENES__SINCE": "2026-01-02T03:04:05+01:00",
            "SLICKWATCH_MODELS__KEEP": "",  # as not set
            "SLICKWATCH_DATA": "/elsewhere",
            "SLICKWATCH_MODELS": "not a section at all",
            "SLICKWATCH_SMTP_PASSWORD": SECRET,
        }
    )
    assert (read.monitor.parallel, read.monitor.polarisation, read.monitor.cron) == (7, "VH", "*/15 * * * *")
    assert read.retraining.margins.miou == 0.25
    assert read.retraining.margins.object_f1 == 0.02
    assert read.alerts.mail.starttls is False
    assert read.alerts.webhooks == ("https://hook.example/a", "https://hook.example/b")
    assert (read.sources["inbox"]["settle"], Path(read.sources["inbox"]["folder"]).name) == ("0", "in")
    assert read.scenes.since == datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC)
    assert read.models.keep == 10


def test_the_file_is_found_by_argument_then_variable_then_name(here, file):
    for name in ("slickwatch.toml", "second.toml", "third.toml"):
        file(f'[prefect]\nwork_pool = "{name}"\n', name)
    assert Settings.read().prefect.work_pool == "slickwatch.toml"
    environ = {"SLICKWATCH_CONFIG": "second.toml"}
    assert Settings.read(environ=environ).prefect.work_pool == "second.toml"
    assert Settings.read(Path("third.toml"), environ).prefect.work_pool == "third.toml"
    with pytest.raises(
        UsageError, match=r"^none\.toml: no such settings file; create one: slickwatch settings example"
    ):
        Settings.read(environ={"SLICKWATCH_CONFIG": "none.toml"})
    with pytest.raises(UsageError, match="no such settings file"):
        Settings.read(here)


def test_relative_paths_are_resolved_in_the_folder_of_the_file(here, monkeypatch):
    (here / "site").mkdir()
    (here / "site" / "s.toml").write_text(
        """
        [scenes]
        folder = "data/scenes"
        ledger = "data/l.sqlite"
        [sources.inbox]
        folder = "inbox"
        [sources.nrt]
        kind = "inbox"
        name = "nrt"
        folder = "/mnt/nrt"
        [[watch]]
        name = "a"
        source = "inbox"
        area = "areas/gulf.geojson"
        [[watch]]
        name = "b"
        source = "nrt"
        area = "47,23.5,57,30.5"
        [[watch]]
        name = "c"
        source = "nrt"
        area = "POLYGON((0 0,1 0,1 1,0 0))"
        [monitor]
        coastline = "~/coast.gpkg"
        model = "models/mine"
        [alerts]
        areas = ["areas/one.wkt", "0,0,1,1"]
        [retraining]
        datasets = ["sos-clean@4", "./pairs"]
        """
    )
    read = Settings.read(Path("site/s.toml"))
    monkeypatch.chdir("/")
    site = here / "site"
    assert read.scenes.folder == site / "data/scenes"
    assert read.ledger_url() == str(site / "data/l.sqlite")
    assert read.sources["inbox"]["folder"] == str(site / "inbox")
    assert read.sources["nrt"]["folder"] == "/mnt/nrt"
    areas = [str(site / "areas/gulf.geojson"), "47,23.5,57,30.5", "POLYGON((0 0,1 0,1 1,0 0))"]
    assert [watch.area for watch in read.watch] == areas
    assert read.monitor.coastline == Path.home() / "coast.gpkg"
    assert read.monitor.model == str(site / "models/mine")
    assert read.monitor.catalogue == site / "catalogue.gpkg"
    assert read.alerts.areas == (str(site / "areas/one.wkt"), "0,0,1,1")
    assert read.retraining.datasets == ("sos-clean@4", str(site / "pairs"))
    # A variable means the same folder, whoever set it where.
    monkeypatch.chdir(here)
    environ = {"SLICKWATCH_MONITOR__RESULTS": "r"}
    assert Settings.read(Path("site/s.toml"), environ).monitor.results == site / "r"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[monitor]\npolarization = 'VV'\n", "monitor.polarization: unknown; did you mean monitor.polarisation?"),
        ("[processing]\npolarization = 'VV'\n", "processing.polarization: unknown; did you mean monitor.polarisation?"),
        ("[monitr]\ncron = '* * * * *'\n", "monitr.cron: unknown; did you mean monitor.cron?"),
        ("[monitr]\n", "monitr: unknown; did you mean monitor?"),
        ("[alerts.male]\nport = 25\n", "alerts.male.port: unknown; did you mean alerts.mail.port?"),
        ("folder = 'x'\n[[watch]]\n", "folder: unknown; did you mean scenes.folder?"),
        ("interval_minutes = 5\n", "interval_minutes: unknown; did you mean watching.interval_minutes?"),
        (
            "[retraining]\nbudgt = {hours = 3}\n",
            "retraining.budgt.hours: unknown; did you mean retraining.budget.hours?",
        ),
        ("[prefect]\nxyzzy = 1\n", "prefect.xyzzy: unknown; see slickwatch settings example"),
        ("[sources.inbox]\nfoldr = 'x'\n", "sources.inbox.foldr: unknown; did you mean sources.inbox.folder?"),
        ("[sources.inbox]\n", "sources.inbox.folder: is missing; add it; docs/operator/sources.md"),
        ("[sources.ftp]\n", "sources.ftp.kind: unknown kind 'ftp'; use one of inbox, cdse"),
        (
            "[sources.inbox]\nfolder = 'x'\n[[watch]]\nname = 'a'\nsource = 'inbox'\n[[watch]]\nnam = 'b'\n",
            "watch.1.nam: unknown; did you mean watch.1.name?",
        ),
        ("[sources.cdse]\n[[watch]]\nname = 'a'\n", "watch.0.source: is missing; add it"),
        ("[[watch]]\nname = 'a'\nsource = 'cdse'\n", "watch.0.source: no source named 'cdse'; add [sources.cdse]"),
        (
            "[sources.cdse]\n" + "[[watch]]\nname = 'a'\nsource = 'cdse'\n" * 2,
            "watch.1.name: duplicate watch name 'a'; give each watch its own name",
        ),
        ("[watch]\nname = 'a'\n", "watch: should be a list: [[watch]], in double brackets"),
        ("monitor = 3\n", "monitor: should be a section: [monitor]"),
        ("[monitor]\nparallel = 'two'\n", "monitor.parallel: should be a valid integer"),
        ("[monitor]\nparallel = true\n", "monitor.parallel: should be a valid integer"),
        ("[monitor]\nparallel = 0\n", "monitor.parallel: should be greater than or equal to 1"),
        ("[monitor]\nparallel = 65\n", "monitor.parallel: should be less than or equal to 64"),
        ("[monitor]\nlease_minutes = nan\n", "monitor.lease_minutes: should be a finite number"),
        ("[monitor]\nresults = 3\n", "monitor.results: "),
        ("[monitor]\npolarisation = 'XX'\n", "monitor.polarisation: should be 'VV', 'VH', 'HH' or 'HV'"),
        ("[detection]\nkeep = 0.4\n", "detection: should have grow <= outline <= keep"),
        ("[detection]\nminimum_area_km2 = -1\n", "detection.minimum_area_km2: should be greater than or equal to 0"),
        ("[monitor]\ncron = '61 * * * *'\n", "monitor.cron: should be a cron schedule"),
        ("[alerts]\nareas = 'x'\n", "alerts.areas: should be a list"),
        ("[alerts]\nminimum_confidence = 1.5\n", "alerts.minimum_confidence: should be less than or equal to 1"),
        ("[alerts]\nwebhooks = ['ftp://a/b']\n", "alerts.webhooks.0: should be a URL that starts with https://"),
        (
            "[alerts]\nlink_template = 'https://a/{ident}'\n",
            "alerts.link_template: should contain no fields except {scene_id}",
        ),
        (
            "[alerts]\nlink_template = 'https://a/{slick_id.__class__}'\n",
            "alerts.link_template: should contain no fields",
        ),
        ("[alerts.mail]\nhost = 'h'\n", "alerts.mail: host requires sender and recipients"),
        (
            "[alerts]\nwebhooks = ['https://a:99999/b']\n",
            "alerts.webhooks.0: should be a URL that starts with https://",
        ),
        ("[alerts.mail]\nsender = 'nobody'\n", "alerts.mail.sender: should be an e-mail address"),
        ("[alerts.mail]\nrecipients = ['a@b.example, c@d.example']\n", "recipients.0: should be an e-mail address"),
        ("[scenes]\nsince = 5\n", "scenes.since: should be a time such as"),
        ("[scenes]\nledger = 'mysql://h/d'\n", "scenes.ledger: should be a file, sqlite:///FILE or postgresql://"),
        ("[prefect]\ndatabase = 'postgresql://h/d'\n", "prefect.database: should be postgresql+asyncpg://"),
        ("[prefect]\ntimezone = 'Mars/Olympus'\n", "prefect.timezone: should be a time zone"),
        ("[retraining]\nheldout = []\n", "retraining.heldout: "),
        ("[monitor\n", "not a readable TOML file"),
    ],
)
def test_an_error_in_the_file_is_one_line_with_its_key(file, text, message):
    assert error_of(text, file).startswith("slickwatch.toml: ")
    assert message in error_of(text, file)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MONITOR__POLARIZATION", "VV", "unknown; did you mean SLICKWATCH_MONITOR__POLARISATION?"),
        ("MONITR__CRON", "0 0 * * *", "unknown; did you mean SLICKWATCH_MONITOR__CRON?"),
        ("ALERTS__MAIL", "{}", "unknown; "),
        ("MONITOR__PARALLEL__MORE", "2", "unknown; did you mean SLICKWATCH_MONITOR__PARALLEL?"),
        ("MONITOR__PARALLEL", "two", "should be a valid integer; see slickwatch settings example"),
        ("MONITOR__PARALLEL", "2.5", "should be a valid integer; see slickwatch settings example"),
        ("MONITOR__PARALLEL", "0", "should be greater than or equal to 1; see slickwatch settings example"),
        ("ALERTS__WEBHOOKS", "https://a/b", "should be a list; see slickwatch settings example"),
        ("ALERTS__WEBHOOKS", '["gopher://a/b"]', "should be a URL that starts with https:// or http://"),
        ("WATCH__0__MODE", "EW", "unknown; use [[watch]] in the settings file instead"),
        ("SOURCES__INBOX__FOLDR", "x", "unknown; did you mean SLICKWATCH_SOURCES__INBOX__FOLDER?"),
    ],
)
def test_an_error_in_the_environment_is_one_line_with_the_variable(file, name, value, message):
    error = error_of("[sources.inbox]\nfolder = 'x'\n", file, **{f"SLICKWATCH_{name}": value})
    assert error.startswith(f"SLICKWATCH_{name}: ")
    assert message in error


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        (f"[alerts.mail]\npassword = '{SECRET}'\n", "set SLICKWATCH_SMTP_PASSWORD"),
        (f"[alerts]\nsmtp_password = '{SECRET}'\n", "set SLICKWATCH_SMTP_PASSWORD"),
        (f"[sources.cdse]\npassword = '{SECRET}'\n", "set SLICKWATCH_CDSE_PASSWORD"),
        (f"[sources.eodata]\nsecret_key = '{SECRET}'\n", "set SLICKWATCH_EODATA_SECRET_KEY"),
        (f"api_key = '{SECRET}'\n", "docs/operator/settings.md"),
        (f"[scenes]\nledger = 'postgresql://u:{SECRET}@h/d'\n", "set PGPASSWORD"),
        (f"[prefect]\ndatabase = 'postgresql+asyncpg://u:{SECRET}@h/d'\n", "set PGPASSWORD"),
        (f"[prefect]\ndatabase = 'postgresql+asyncpg://u@h/d?password={SECRET}'\n", "set PGPASSWORD"),
        (f"[alerts]\nwebhooks = ['https://a/b?token={SECRET}']\n", "set SLICKWATCH_ALERTS__WEBHOOKS"),
        (f"[sources.dhus]\napi_url = 'https://u:{SECRET}@h/'\n", "set SLICKWATCH_DHUS_PASSWORD"),
        (f"[sources.stac]\nurl='https://h'\ncollection='c'\ntoken_variable='ey.{SECRET}'\n", "not a token"),
    ],
)
def test_secrets_in_the_file_are_rejected_and_never_quoted(file, text, pointer):
    error = error_of(text, file)
    assert pointer in error
    assert SECRET not in error


def test_secrets_in_settings_variables_are_rejected(file):
    error = error_of("", file, SLICKWATCH_ALERTS__MAIL__PASSWORD=SECRET)
    assert error.startswith("SLICKWATCH_ALERTS__MAIL__PASSWORD: is a secret")
    assert "SLICKWATCH_SMTP_PASSWORD" in error
    error = error_of("", file, SLICKWATCH_SCENES__LEDGER=f"postgresql://u:{SECRET}@h/d")
    assert "PGPASSWORD" in error
    assert SECRET not in error


def test_options_named_like_secrets_are_accepted(file):
    file(
        "[sources.stac]\nurl='https://h/'\ncollection='c'\ntoken_variable='MY_TOKEN'\n[sources.cdse]\ntoken_url='https://h/t'\n"
    )
    assert Settings.read().sources["stac"]["token_variable"] == "MY_TOKEN"


def test_show_prints_origins_and_no_secrets(here, file, run, monkeypatch):
    file("[monitor]\nparallel = 3\nlease_minutes = 9\n[sources.inbox]\nfolder = 'in'\n")
    monkeypatch.setenv("SLICKWATCH_MONITOR__PARALLEL", "5")
    monkeypatch.setenv("SLICKWATCH_ALERTS__WEBHOOKS", f'["https://hook.example/{SECRET}"]')
    monkeypatch.setenv("SLICKWATCH_LEDGER", f"postgresql://u:{SECRET}@db.example/scenes")
    code, out, _ = run("show", "--json")
    shown = json.loads(out)
    assert code == 0
    assert shown["monitor.parallel"] == {"value": 5, "from": "SLICKWATCH_MONITOR__PARALLEL"}
    assert shown["monitor.lease_minutes"] == {"value": 9.0, "from": "slickwatch.toml"}
    assert shown["monitor.cron"] == {"value": "*/15 * * * *", "from": "default"}
    assert shown["sources.inbox.folder"] == {"value": str(here / "in"), "from": "slickwatch.toml"}
    assert shown["scenes.ledger"] == {"value": "postgresql://db.example/***", "from": "SLICKWATCH_LEDGER"}
    assert shown["alerts.webhooks"]["value"] == ["https://hook.example/***"]
    code, plain, _ = run("show")
    assert (code, "monitor.parallel = 5  # SLICKWATCH_MONITOR__PARALLEL" in plain.splitlines()) == (0, True)
    assert "# monitor.coastline is not set" in plain.splitlines()
    assert tomllib.loads(plain)["monitor"]["parallel"] == 5
    assert SECRET not in out + plain + repr(Settings.read())


def test_the_ledger_variable_overrides_the_file(here, file, monkeypatch):
    file("[scenes]\nledger = 'a.sqlite'\n")
    assert Settings.read().ledger_url() == str(here / "a.sqlite")
    monkeypatch.setenv("SLICKWATCH_LEDGER", "postgresql://u@db/scenes")
    assert Settings.read().ledger_url() == "postgresql://u@db/scenes"
    assert Settings.read().scenes.ledger == str(here / "a.sqlite")


def test_reading_settings_imports_neither_prefect_nor_torch():
    """Prefect's first import fixes its settings, which are for `up` and the flows to make; PyTorch takes a second."""
    code = "import sys; from flows.settings import Settings; Settings.read(); "
    code += "sys.exit(bool({'prefect', 'torch'} & set(sys.modules)))"
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "SLICKWATCH_MONITOR__CRON": "1 * * * *"}
    assert subprocess.run([sys.executable, "-c", code], env=environ).returncode == 0


def test_settings_cannot_be_changed_after_reading():
    read = Settings.read()
    with pytest.raises(ValueError, match="frozen"):
        read.monitor.parallel = 2
    with pytest.raises(ValueError, match="frozen"):
        read.monitor = None


def test_prefect_accepts_every_schedule_that_settings_accept():
    fields = ["*", "*/5", "0", "1-3", "1,5", "2-8/2", "L", "7", "12", "31", "59", "MON", "JAN", "5L", "MON#2", "?", "H"]
    chance = random.Random(6)
    drawn = [" ".join(chance.choices(fields, k=5)) for _ in range(10000)]
    taken = [expression for expression in [*PLAIN, *drawn] if _is_taken(expression)]
    assert set(PLAIN) < set(taken)
    assert 100 < len(taken) < len(drawn)
    # In a process of its own: the first import of Prefect fixes its settings for all tests after it.
    code = "import json, sys, prefect.schedules\nfor cron in json.load(sys.stdin): prefect.schedules.Cron(cron)"
    done = subprocess.run([sys.executable, "-c", code], input=json.dumps(taken), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


PLAIN = ["*/15 * * * *", "0 3 1 * *", "5 * * * *", "0 6 * * MON-FRI", "30 2,14 * JAN *"]


def _is_taken(expression):
    try:
        return Monitor(cron=expression).cron == expression
    except ValueError:
        return False


@pytest.mark.parametrize(
    "cron", ["", "@daily", "* * * *", "* * * * * *", "60 * * * *", "0 0 31 2 *", "0 0 * * 5L", "x"]
)
def test_invalid_schedules_are_rejected(cron):
    assert not _is_taken(cron)


def test_check_reports_all_problems_a_line_each(here, file, run, monkeypatch):
    monkeypatch.setenv("NETRC", str(here / "none"))
    (here / "occupied").write_text("a file where a folder should be")
    (here / "no.geojson").write_text("{}")
    file(
        """
        [scenes]
        folder = "occupied/scenes"
        ledger = "occupied/ledger.sqlite"
        [sources.inbox]
        folder = "inbox"
        [sources.twin]
        kind = "inbox"
        folder = "other"
        [sources.cdse]
        [[watch]]
        name = "a"
        source = "inbox"
        area = "no.geojson"
        [monitor]
        coastline = "nowhere.gpkg"
        [alerts]
        areas = ["0,0,1,1", "1,1,1,1"]
        """
    )
    code, out, err = run("check")
    assert (code, out) == (2, "")
    begins = [
        "watch.0.area: ", "alerts.areas.1: ",
        "sources.twin: duplicate source name 'inbox', also used by sources.inbox",
        "sources.cdse: ", "scenes.folder: ", "scenes.ledger: ", "monitor.coastline: ",
    ]  # fmt: skip
    lines = err.splitlines()
    assert len(lines) == len(begins), err
    for line, begin in zip(lines, begins, strict=True):
        assert line.startswith(f"slickwatch: slickwatch.toml: {begin}")
    assert "SLICKWATCH_CDSE_USERNAME" in err
    assert not (here / "scenes").exists(), "a check creates nothing"


def test_check_accepts_the_defaults_and_a_valid_file(here, file, run):
    assert run("check") == (0, "defaults, no settings file: no problems found\n", "")
    file("[sources.inbox]\nfolder = 'in'\n[[watch]]\nname = 'a'\nsource = 'inbox'\narea = '0,0,1,1'\n")
    assert run("check") == (0, "slickwatch.toml: no problems found\n", "")
    assert sorted(path.name for path in here.iterdir()) == ["slickwatch.toml"]
    file("[monitor]\nparalel = 2\n")
    code, out, _ = run("check")
    assert (code, out) == (2, "slickwatch.toml: monitor.paralel: unknown; did you mean monitor.parallel?\n")


def test_the_example_is_printed_by_its_command(run):
    assert run("example") == (0, example(), "")


def test_credentials_come_from_the_environment_that_was_given(here, file, monkeypatch):
    """Not from that of the process beside it."""
    file("[alerts.mail]\nhost = 'smtp.example.org'\nsender = 'a@example.org'\nrecipients = ['b@example.org']\n")
    given = {"SLICKWATCH_SMTP_USERNAME": "u", "SLICKWATCH_SMTP_PASSWORD": SECRET, "NETRC": str(here / "none")}
    monkeypatch.setenv("SLICKWATCH_SMTP_PASSWORD", "that of the process")
    assert Settings.read(environ=given).mail_credentials().secret.get_secret_value() == SECRET
    assert Settings.read(environ={}).mail_credentials() is None


def test_the_mail_password_comes_from_the_environment_or_a_private_file(here, file, monkeypatch):
    monkeypatch.setenv("NETRC", str(here / "none"))
    mail = "[alerts.mail]\nhost = 'smtp.example.org'\nsender = 'a@example.org'\nrecipients = ['b@example.org']\n"
    file(mail)
    assert Settings.read().mail_credentials() is None
    file(f"{mail}login = true\n")
    with pytest.raises(SourceError, match="SLICKWATCH_SMTP_PASSWORD"):
        Settings.read().mail_credentials()
    secrets = here / "secrets.toml"
    secrets.write_text(f"[smtp]\nusername = 'u'\npassword = '{SECRET}'\n")
    monkeypatch.setenv("SLICKWATCH_CREDENTIALS", str(secrets))
    secrets.chmod(0o644)
    with pytest.raises(SourceError, match="chmod 600"):
        Settings.read().mail_credentials()
    secrets.chmod(0o600)
    assert Settings.read().mail_credentials().secret.get_secret_value() == SECRET
    file(mail)
    monkeypatch.setenv("SLICKWATCH_SMTP_USERNAME", "u")
    with pytest.raises(SourceError, match="SLICKWATCH_SMTP_PASSWORD is not"):
        Settings.read().mail_credentials()
    monkeypatch.setenv("SLICKWATCH_SMTP_PASSWORD", "other")
    assert Settings.read().mail_credentials().secret.get_secret_value() == "other"


def test_the_settings_in_the_documents_are_valid(file):
    docs = Path(__file__).parents[2] / "docs" / "operator"
    text = (docs / "fetching.md").read_text().partition("## What is watched")[2]
    block = text[text.index("    [scenes]") : text.index("    slickwatch watch --once")]
    source = (docs / "sources.md").read_text().partition("    [sources.incoming]")
    file(textwrap.dedent(block) + textwrap.dedent("".join(source[1:]).partition("\n## ")[0]))
    read = Settings.read()
    assert [watch.name for watch in read.watch] == ["from-the-inbox", "gulf"]
    assert set(read.sources) == {"inbox", "cdse", "incoming"}
    sections = {keys[0] for keys in known_keys(Settings)}
    documented = (docs / "settings.md").read_text()
    assert all(f"`[{name}" in documented or f"`[[{name}" in documented for name in sections)


def test_defaults_are_those_of_the_options_they_configure():
    """Not imported by the sections: they load numpy, geopandas and SQLAlchemy."""
    defaults, slicks = Settings(), SlickOptions()
    assert defaults.watching.overlap_hours == WatchOptions().overlap / timedelta(hours=1)
    detection = defaults.detection
    assert (detection.keep, detection.outline, detection.grow) == (slicks.keep, slicks.outline, slicks.grow)
    assert detection.minimum_area_km2 * 1e6 == slicks.minimum_area_m2
