"""The sections of the settings file: each key with its default, description, unit and bounds."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from flows.settings.field_types import (
    Area,
    Cron,
    DatabaseAddress,
    LedgerAddress,
    Link,
    Mailbox,
    NameOrFolder,
    Place,
    Section,
    Several,
    Time,
    TimeZone,
    WebAddress,
    setting,
)
from models.retraining.margins import Margins
from outputs.alerting.options import AlertOptions

Polarisation = Literal["VV", "VH", "HH", "HV"]
DAY_MINUTES = 24 * 60
YEAR_HOURS = 366 * 24
ALERTS = AlertOptions()  # the defaults of [alerts]


class Scenes(Section):
    """Storage of scenes."""

    folder: Place = setting(Path("scenes"), "Folder for fetched scenes.")
    ledger: LedgerAddress = setting(
        "ledger.sqlite", "Scene ledger: a file, or postgresql://USER@HOST/DATABASE; $SLICKWATCH_LEDGER overrides it."
    )
    budget_gb: float | None = setting(
        None, "Above this, processed scenes are deleted, least recently used first.", "GB",
        example=500.0, gt=0, le=1e6,
    )  # fmt: skip
    since: Time | None = setting(
        None, "Publication time from which a new watch fetches scenes; unset: all scenes.", "UTC",
        example=datetime(2026, 11, 1, tzinfo=UTC),
    )  # fmt: skip


class Watch(Section):
    """One `[[watch]]`: which scenes to fetch from a source. The ledger stores its progress under its name."""

    name: str = setting(..., "Unique name.", example="gulf", min_length=1, max_length=100)
    source: str = setting(..., "Name of a [sources.NAME] section.", example="cdse")
    area: Area | None = setting(
        None, "Bounding box west,south,east,north, WKT, or a GeoJSON or WKT file; unset: worldwide.", "deg",
        example="47,23.5,57,30.5",
    )  # fmt: skip
    mode: str | None = setting("IW", "Acquisition mode: IW, EW or SM.")
    product_type: str = setting("GRD", "Product type.")
    polarisation: Polarisation | None = setting(
        None, "Only scenes with this polarisation: VV, VH, HH or HV.", example="VV"
    )
    relative_orbit: int | None = setting(None, "Only this relative orbit (track).", example=166, ge=1, le=175)
    orbit_direction: Literal["ascending", "descending"] | None = setting(
        None, "Only this orbit direction: ascending or descending.", example="descending"
    )
    timeliness: str | None = setting(None, "Only this timeliness, as the source names it.", example="NRT-3h")
    cron: Cron | None = setting(None, "Schedule of this watch; overrides monitor.cron.", example="5 * * * *")
    silence_hours: float | None = setting(
        None, "Overrides alerts.silence_hours; 0: never.", "hours", example=72.0, ge=0, le=YEAR_HOURS
    )


class Watching(Section):
    """How `slickwatch watch` and the scheduled monitoring search for scenes."""

    interval_minutes: float = setting(
        15.0, "Time between two rounds of slickwatch watch.", "minutes", gt=0, le=7 * DAY_MINUTES
    )
    overlap_hours: float = setting(
        24.0, "Searches start this long before the last known publication time, for scenes listed late.", "hours",
        ge=0, le=YEAR_HOURS,
    )  # fmt: skip


class Detection(Section):
    """What counts as a slick, for `slickwatch detect` and the monitoring; docs/analyst/slicks.md."""

    keep: float = setting(0.7, "Oil probability that a slick must reach in at least one cell.", gt=0, le=1)
    outline: float = setting(0.5, "Oil probability of the cells inside the outline.", gt=0, le=1)
    grow: float = setting(0.3, "Oil probability from which touching cells belong to one slick.", gt=0, le=1)
    minimum_area_km2: float = setting(0.1, "Smaller slicks are left out.", "km2", ge=0, le=1e6)

    @model_validator(mode="after")
    def _ordered(self) -> Detection:
        if not self.grow <= self.outline <= self.keep:
            raise ValueError("should have grow <= outline <= keep")
        return self


class Monitor(Section):
    """The scheduled monitoring, from new scenes to published slicks."""

    cron: Cron = setting("*/15 * * * *", "Schedule: minute hour day month weekday, in prefect.timezone.")
    results: Place = setting(Path("results"), "Folder for results, one subfolder per scene.")
    catalogue: Place = setting(Path("catalogue.gpkg"), "GeoPackage with the slicks of all scenes.")
    parallel: int = setting(1, "Scenes processed in parallel.", "scenes", ge=1, le=64)
    scene_timeout_minutes: float = setting(
        120.0, "Maximum processing time of a scene, after which it counts as failed.", "minutes", gt=0,
        le=7 * DAY_MINUTES,
    )  # fmt: skip
    lease_minutes: float = setting(
        1.0, "The scene of a dead worker is released after this time; live workers renew it.", "minutes", ge=0.5,
        le=DAY_MINUTES,
    )  # fmt: skip
    polarisation: Polarisation | None = setting(
        None, "Polarisation to process: VV, VH, HH or HV; unset: the model's.", example="VV"
    )
    coastline: Place | None = setting(
        None, "Land polygons in WGS 84; unset: generalised OpenStreetMap land polygons.", example="coastline.gpkg"
    )
    model: NameOrFolder = setting("champion", "Model: champion, a model id, or a folder (containing a /).")


class Models(Section):
    """The model registry."""

    registry: Place = setting(Path("models-registry"), "Folder of the immutable model versions.")
    keep: int = setting(
        10, "Versions kept; the champion and its predecessor are always kept.", "versions", ge=2, le=1000
    )


class Mail(Section):
    """Alerts by e-mail; the password belongs in $SLICKWATCH_SMTP_PASSWORD."""

    host: str | None = setting(None, "Mail server; unset: no e-mail.", example="smtp.example.org", min_length=1)
    port: int = setting(ALERTS.smtp_port, "Port of the mail server.", ge=1, le=65535)
    starttls: bool = setting(ALERTS.smtp_starttls, "Encrypt the connection with STARTTLS.")
    login: bool = setting(False, "Require a user name and password: docs/operator/settings.md.")
    sender: Mailbox | None = setting(None, "Sender address.", example="slickwatch@example.org")
    recipients: Several[Mailbox] = setting((), "Recipient addresses.")
    attach_mb: float = setting(
        ALERTS.attach_mb, "Attach the report of each scene, up to this size together; 0: no report.", "MB", ge=0, le=100
    )

    @model_validator(mode="after")
    def _complete(self) -> Mail:
        if self.host is not None and (self.sender is None or not self.recipients):
            raise ValueError("host requires sender and recipients")
        return self


class Alerts(Section):
    """Which events cause alerts, and who receives them."""

    webhooks: Several[WebAddress] = setting(
        (), "URLs that receive each alert as JSON; secret URLs belong in $SLICKWATCH_ALERTS__WEBHOOKS.", repr=False
    )
    minimum_confidence: float = setting(
        ALERTS.minimum_confidence, "Only slicks with at least this mean oil probability.", ge=0, le=1
    )
    minimum_area_km2: float = setting(
        ALERTS.minimum_area_km2, "Only slicks of at least this area.", "km2", ge=0, le=1e6
    )
    areas: Several[Area] = setting((), "Only slicks in these areas, given as in [[watch]]; empty: everywhere.")
    silence_hours: float = setting(
        ALERTS.silence_hours, "Alert after this time without a new scene in a watched area; 0: never.", "hours", ge=0,
        le=YEAR_HOURS,
    )  # fmt: skip
    idle_hours: float = setting(
        ALERTS.idle_hours, "Alert after this time without a finished monitoring run; 0: never.", "hours", ge=0,
        le=YEAR_HOURS,
    )  # fmt: skip
    repeat_hours: float = setting(
        ALERTS.repeat_hours, "Minimum time between alerts on the same silence or the same failure.", "hours", gt=0,
        le=YEAR_HOURS,
    )  # fmt: skip
    all_clear: bool = setting(ALERTS.all_clear, "Also send a message when a silence ends.")
    rate_count: int = setting(
        ALERTS.rate_count, "Maximum number of messages in rate_minutes; the rest are combined into one.", "messages",
        ge=1, le=1000,
    )  # fmt: skip
    rate_minutes: float = setting(ALERTS.rate_minutes, "Period for rate_count.", "minutes", gt=0, le=7 * DAY_MINUTES)
    link_template: Link | None = setting(
        None, "Link to a slick; may contain {scene_id} and {slick_id}.",
        example="https://example.org/slicks/{slick_id}",
    )  # fmt: skip
    timeout_s: float = setting(ALERTS.timeout_s, "Timeout of webhooks and the mail server.", "s", gt=0, le=600)
    mail: Mail = setting(Mail(), "")


class Service(Section):
    """The map and OGC API - Features, as `slickwatch serve` and `slickwatch up` run them; docs/analyst/service.md."""

    enabled: bool = setting(False, "Run it in slickwatch up.")
    host: str = setting(
        "127.0.0.1", "Address to listen on; other machines reach it only with tokens, or with open.", min_length=1
    )
    port: int = setting(4280, "Port to listen on.", ge=1, le=65535)
    url: WebAddress | None = setting(
        None, "Its address behind a reverse proxy; unset: that of the requests.", example="https://slicks.example.org"
    )
    tokens: Place = setting(Path("tokens.json"), "File of the tokens' hashes, made by slickwatch tokens add.")
    open: bool = setting(False, "Let everybody who reaches it read without a token.")
    requests_per_minute: int = setting(1200, "Requests that a client may make.", "per minute", ge=1, le=1_000_000)


class Start(Section):
    """Training options of a retraining."""

    jointnet_config: Place | None = setting(
        None, "Options file for SAR-JointNet; unset: its defaults.", example="configs/jointnet/sos.toml"
    )
    student_config: Place | None = setting(
        None, "Options file for SAROSS-Net; unset: its defaults.", example="configs/saross/nano-1.toml"
    )


class Budget(Section):
    """Limits of a retraining, all steps together."""

    hours: float = setting(24.0, "Maximum duration.", "hours", gt=0, le=YEAR_HOURS)
    steps: int | None = setting(
        None, "Optimiser steps of each training; unset: as in its options.", "steps", example=20000,
        ge=1, le=100_000_000,
    )  # fmt: skip
    memory_gb: float | None = setting(
        None, "Memory limit on the training device; unset: all of it.", "GB", example=16.0, gt=0, le=10_000
    )


class RetrainingMargins(Section):
    """How much worse than the champion a challenger may be in each score and still replace it."""

    miou: float = setting(Margins.miou, "Allowed decrease of mean intersection over union.", ge=0, le=1)
    object_f1: float = setting(Margins.object_f1, "Allowed decrease of the F1 score of whole slicks.", ge=0, le=1)
    false_alarms: float = setting(Margins.false_alarms, "Allowed increase of false alarms.", "per image", ge=0, le=1000)


class Retraining(Section):
    """The deployment retrain-dakd: new pairs, a new SAR-JointNet, new synthetic pairs, a new SAROSS-Net."""

    cron: Cron = setting("0 3 1 * *", "Schedule, in prefect.timezone.")
    folder: Place = setting(Path("retraining"), "Working folder; a retraining resumes from it after a failure.")
    datasets: Several[NameOrFolder] = setting(
        ("simulated",), "Training data sets: names, or folders (containing a /).", min_length=1
    )
    heldout: Several[NameOrFolder] = setting(
        ("simulated",), "Data sets whose test splits are used to compare challenger and champion.", min_length=1
    )
    synthetic_multiple: float = setting(1.0, "Synthetic pairs per real pair.", gt=0, le=100)
    solver: Literal["ddim", "dpm++"] = setting("dpm++", "Diffusion solver for synthetic pairs: ddim or dpm++.")
    solver_steps: int = setting(20, "Solver steps, a divisor of 1000; the paper uses 200 with ddim.", ge=1, le=1000)
    start: Start = setting(Start(), "")
    budget: Budget = setting(Budget(), "")
    margins: RetrainingMargins = setting(RetrainingMargins(), "")


class Prefect(Section):
    """The local Prefect server and worker."""

    host: str = setting("127.0.0.1", "Loopback address of the server, which has no password.", min_length=1)
    port: int = setting(4200, "Port of the server.", ge=1, le=65535)
    database: DatabaseAddress | None = setting(
        None, "Database of the server; unset: SQLite. The password belongs in $PGPASSWORD or ~/.pgpass.",
        example="postgresql+asyncpg://prefect@db.example.org/prefect",
    )  # fmt: skip
    work_pool: str = setting("slickwatch", "Name of the work pool.", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    worker_limit: int = setting(2, "Maximum number of concurrent flow runs.", "runs", ge=1, le=64)
    home: Place = setting(Path(".slickwatch"), "Folder for the server's database, logs and process ids.")
    timezone: TimeZone = setting("UTC", "Time zone of all schedules.")
