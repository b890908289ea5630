"""The sections of the settings file, key by key: what each says, in which unit, within which bounds."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from flows.settings.kinds import (
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

Polarisation = Literal["VV", "VH", "HH", "HV"]
DAY_MINUTES = 24 * 60
YEAR_HOURS = 366 * 24


class Scenes(Section):
    """Where scenes are kept, and which are wanted at all."""

    folder: Place = setting(Path("scenes"), "Folder that scenes are fetched to.")
    ledger: LedgerAddress = setting(
        "ledger.sqlite", "The ledger: a file, or postgresql://USER@HOST/DATABASE; $SLICKWATCH_LEDGER goes before it."
    )
    budget_gb: float | None = setting(
        None, "Beyond it, processed scenes go, the longest unused first.", "GB", example=500.0, gt=0, le=1e6
    )
    since: Time | None = setting(
        None, "Publication time that a new watch begins with; without it, all there is.", "UTC",
        example=datetime(2026, 11, 1, tzinfo=UTC),
    )  # fmt: skip


class Watch(Section):
    """One `[[watch]]`: what is wanted of a source. Its name is that of its watermark in the ledger."""

    name: str = setting(..., "Its name, which no other watch bears.", example="gulf", min_length=1, max_length=100)
    source: str = setting(..., "Which [sources.NAME] it is of.", example="cdse")
    area: Area | None = setting(
        None, "A box west,south,east,north, WKT, or a GeoJSON or WKT file; without it, the whole world.", "deg",
        example="47,23.5,57,30.5",
    )  # fmt: skip
    mode: str | None = setting("IW", "Acquisition mode: IW, EW or SM.")
    product_type: str = setting("GRD", "Product type.")
    polarisation: Polarisation | None = setting(None, "One that a scene must have: VV, VH, HH or HV.", example="VV")
    relative_orbit: int | None = setting(None, "Track.", example=166, ge=1, le=175)
    orbit_direction: Literal["ascending", "descending"] | None = setting(
        None, "ascending or descending.", example="descending"
    )
    timeliness: str | None = setting(None, "In the source's own word.", example="NRT-3h")
    cron: Cron | None = setting(None, "A schedule of its own, in place of monitor.cron.", example="5 * * * *")
    silence_hours: float | None = setting(
        None, "In place of alerts.silence_hours; 0: never.", "hours", example=72.0, ge=0, le=YEAR_HOURS
    )


class Watching(Section):
    """How `slickwatch watch` and the scheduled monitoring look for scenes."""

    interval_minutes: float = setting(
        15.0, "From one round of `slickwatch watch` to the next.", "minutes", gt=0, le=7 * DAY_MINUTES
    )
    overlap_hours: float = setting(
        24.0, "How far before its watermark a catalogue is asked, for what it lists late.", "hours", ge=0, le=YEAR_HOURS
    )


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
    """The scheduled monitoring: new scenes to published slicks."""

    cron: Cron = setting("*/15 * * * *", "When it runs: minute hour day month weekday, in prefect.timezone.")
    results: Place = setting(Path("results"), "Folder of the results, one folder a scene in it.")
    catalogue: Place = setting(Path("catalogue.gpkg"), "GeoPackage of all scenes' slicks.")
    parallel: int = setting(1, "Scenes processed at once.", "scenes", ge=1, le=64)
    scene_timeout_minutes: float = setting(
        120.0, "After which the processing of a scene counts as failed.", "minutes", gt=0, le=7 * DAY_MINUTES
    )
    lease_minutes: float = setting(
        5.0, "How long a dead worker's scene waits; a live one renews it.", "minutes", ge=0.5, le=DAY_MINUTES
    )
    polarisation: Polarisation | None = setting(
        None, "VV, VH, HH or HV; without it, what the model wants.", example="VV"
    )
    coastline: Place | None = setting(
        None, "Land polygons in WGS 84; without it, OpenStreetMap's, generalised.", example="coastline.gpkg"
    )
    model: NameOrFolder = setting("champion", "champion, the id of a model, or a folder (with a / in it).")


class Models(Section):
    """The registry of models."""

    registry: Place = setting(Path("models-registry"), "Folder of immutable model versions.")
    keep: int = setting(10, "Versions kept; the champion and the one before it always are.", "versions", ge=2, le=1000)


class Mail(Section):
    """Alerts by e-mail; the password is in $SLICKWATCH_SMTP_PASSWORD, never here."""

    host: str | None = setting(None, "Mail server; without it, no e-mail.", example="smtp.example.org", min_length=1)
    port: int = setting(587, "Its port.", ge=1, le=65535)
    starttls: bool = setting(True, "Encrypt before anything is said.")
    login: bool = setting(False, "Whether user name and password must be there: docs/operator/settings.md.")
    sender: Mailbox | None = setting(None, "From whom.", example="slickwatch@example.org")
    recipients: Several[Mailbox] = setting((), "To whom.")

    @model_validator(mode="after")
    def _whole(self) -> Mail:
        if self.host is not None and (self.sender is None or not self.recipients):
            raise ValueError("host is given, and so sender and recipients must be")
        return self


class Alerts(Section):
    """What is told at once, and to whom."""

    webhooks: Several[WebAddress] = setting(
        (), "Addresses that get each alert as JSON; one that is a secret belongs into $SLICKWATCH_ALERTS__WEBHOOKS.",
        repr=False,
    )  # fmt: skip
    minimum_confidence: float = setting(0.7, "Slicks below it cause no alert: their mean probability.", ge=0, le=1)
    minimum_area_km2: float = setting(0.1, "Nor do smaller ones.", "km2", ge=0, le=1e6)
    areas: Several[Area] = setting((), "Nor do those outside these areas, given as for a watch; none: everywhere.")
    silence_hours: float = setting(
        72.0, "Without a new scene in a watched area; 0: never.", "hours", ge=0, le=YEAR_HOURS
    )
    idle_hours: float = setting(
        6.0, "Without a finished run of the monitoring; 0: never.", "hours", ge=0, le=YEAR_HOURS
    )
    repeat_hours: float = setting(
        24.0, "Between two alerts on the same silence, or on the same failure.", "hours", gt=0, le=YEAR_HOURS
    )
    all_clear: bool = setting(True, "Whether the end of a silence is told.")
    rate_count: int = setting(
        6, "At most so many messages in rate_minutes; the rest becomes one.", "messages", ge=1, le=1000
    )
    rate_minutes: float = setting(60.0, "The time that rate_count is for.", "minutes", gt=0, le=7 * DAY_MINUTES)
    link_template: Link | None = setting(
        None, "Link to a slick; may hold {scene_id} and {slick_id}.", example="https://example.org/slicks/{slick_id}"
    )
    timeout_s: float = setting(10.0, "For a webhook or the mail server to answer.", "s", gt=0, le=600)
    mail: Mail = setting(Mail(), "")


class Start(Section):
    """What each training of a retraining is told."""

    jointnet_config: Place | None = setting(
        None, "Options of SAR-JointNet; without it, its own.", example="configs/jointnet.toml"
    )
    student_config: Place | None = setting(
        None, "Options of SAROSS-Net; without it, its own.", example="configs/saross-nano.toml"
    )


class Budget(Section):
    """What a retraining may use up, all its steps together."""

    hours: float = setting(24.0, "Time.", "hours", gt=0, le=YEAR_HOURS)
    steps: int | None = setting(
        None, "Optimiser steps of each training; without it, those of its options.", "steps", example=20000,
        ge=1, le=100_000_000,
    )  # fmt: skip
    memory_gb: float | None = setting(
        None, "Memory of the device that trains; without it, all there is.", "GB", example=16.0, gt=0, le=10_000
    )


class Margins(Section):
    """By how much a challenger may be worse than the champion in each score and still take its place."""

    miou: float = setting(0.01, "Mean intersection over union may be lower by.", ge=0, le=1)
    object_f1: float = setting(0.02, "F1 of whole slicks may be lower by.", ge=0, le=1)
    false_alarms: float = setting(0.1, "False alarms may be more by.", "per image", ge=0, le=1000)


class Retraining(Section):
    """`prefect deployment run retrain-dakd`: new pairs, a new SAR-JointNet, new synthetic pairs, a new SAROSS-Net."""

    cron: Cron = setting("0 3 1 * *", "When it runs, in prefect.timezone.")
    folder: Place = setting(Path("retraining"), "Folder that it works in, and goes on in after a failure.")
    datasets: Several[NameOrFolder] = setting(
        ("simulated",), "Data sets that it trains on: names, or folders (with a / in them).", min_length=1
    )
    heldout: Several[NameOrFolder] = setting(
        ("simulated",), "Data sets whose test halves decide between champion and challenger.", min_length=1
    )
    synthetic_multiple: float = setting(1.0, "Synthetic pairs for each real one.", gt=0, le=100)
    solver: Literal["ddim", "dpm++"] = setting("dpm++", "Solver that draws them.")
    solver_steps: int = setting(
        20, "Its steps, a number that divides 1000; the paper's are 200 of ddim.", ge=1, le=1000
    )
    start: Start = setting(Start(), "")
    budget: Budget = setting(Budget(), "")
    margins: Margins = setting(Margins(), "")


class Prefect(Section):
    """The Prefect server and worker of this machine."""

    host: str = setting("127.0.0.1", "Where the server listens; it asks nobody for a password.", min_length=1)
    port: int = setting(4200, "And at which port.", ge=1, le=65535)
    database: DatabaseAddress | None = setting(
        None, "Its database; without it, SQLite. The password is in $PGPASSWORD or ~/.pgpass.",
        example="postgresql+asyncpg://prefect@db.example.org/prefect",
    )  # fmt: skip
    work_pool: str = setting("slickwatch", "Name of the work pool.", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    worker_limit: int = setting(2, "Runs at once.", "runs", ge=1, le=64)
    home: Place = setting(Path(".slickwatch"), "Folder of the server's files, logs and process numbers.")
    timezone: TimeZone = setting("UTC", "Time zone of all schedules.")
