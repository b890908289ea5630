"""The settings: read from one file and the environment, validated, with defaults for the rest."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from flows.settings import sections, validation
from flows.settings.environment import CONFIG_VARIABLE, DEFAULT_FILE, LEDGER_VARIABLE, as_tables, read_overrides
from flows.settings.field_types import relative_to
from flows.settings.provenance import Provenance, Shown, leaves
from flows.settings.secret_values import redacted
from ingest.credentials import SERVICES, Credentials, find_credentials
from ingest.errors import UsageError
from ingest.hashes import json_sha256

SourceName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$")]


class Settings(BaseModel):
    """All settings; made by `Settings.read`. `Settings()` has the defaults, whatever file and environment say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scenes: sections.Scenes = Field(default_factory=sections.Scenes)
    sources: dict[SourceName, dict[str, object]] = Field(default_factory=dict)
    watch: tuple[sections.Watch, ...] = ()
    watching: sections.Watching = Field(default_factory=sections.Watching)
    detection: sections.Detection = Field(default_factory=sections.Detection)
    monitor: sections.Monitor = Field(default_factory=sections.Monitor)
    models: sections.Models = Field(default_factory=sections.Models)
    alerts: sections.Alerts = Field(default_factory=sections.Alerts)
    service: sections.Service = Field(default_factory=sections.Service)
    retraining: sections.Retraining = Field(default_factory=sections.Retraining)
    prefect: sections.Prefect = Field(default_factory=sections.Prefect)

    _provenance: Provenance = PrivateAttr(default_factory=Provenance)
    _environ: Mapping[str, str] = PrivateAttr(default_factory=lambda: os.environ)

    @classmethod
    def read(cls, path: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the file at `path`, else at $SLICKWATCH_CONFIG, else ./slickwatch.toml, else none; then the environment.

        Relative paths are resolved in the folder of the file, or in the working folder if there is no file. Raises
        `UsageError` for a missing or unreadable file, and for the first key that is unknown or has an invalid value.
        """
        environ = os.environ if environ is None else environ
        file = settings_file(path, environ)
        content = {} if file is None else _read_toml(file)
        overrides = read_overrides(cls, environ)
        tables = as_tables(overrides)
        provenance = Provenance(
            file,
            tuple(keys for keys, _ in leaves(content)),
            {override.keys: override.variable for override in overrides},
        )
        validation.check_variables(cls, overrides)
        validation.check_secrets(content, tables, provenance)
        with relative_to(Path() if file is None else file.parent):
            try:
                settings = cls.model_validate(_merged(content, tables))
            except ValidationError as error:
                raise validation.first_error(cls, error, provenance) from None
            checked = {
                name: validation.checked_source(name, options, provenance) for name, options in settings.sources.items()
            }
        validation.check_watches(settings.watch, checked, provenance)
        settings = settings.model_copy(update={"sources": checked})
        settings._provenance, settings._environ = provenance, environ
        return settings

    @property
    def file(self) -> Path | None:
        """The file that the settings were read from; None if there is none."""
        return self._provenance.file

    def ledger_url(self) -> str:
        """The ledger's location; $SLICKWATCH_LEDGER, which may contain a password, overrides `scenes.ledger`."""
        return self._environ.get(LEDGER_VARIABLE) or self.scenes.ledger

    def mail_credentials(self) -> Credentials | None:
        """User name and password for the mail server; None if neither settings nor environment ask for a login.

        Raises `SourceError` if they are missing, or in a file that others can read.
        """
        mail = self.alerts.mail
        login = mail.login or any(self._environ.get(name) for name in SERVICES["smtp"].variables)
        if mail.host is None or not login:
            return None
        return find_credentials("smtp", machine=mail.host, environ=self._environ)

    def digests(self) -> dict[str, str]:
        """A hash of every effective value by key, of each watch by its name; what may be secret stays so."""
        content = self.model_dump(mode="json", exclude={"watch"})
        values = {".".join(keys): value for keys, value in leaves(content)} | {"scenes.ledger": self.ledger_url()}
        watches = {f"watch {one.name}": one.model_dump(mode="json") for one in self.watch}
        return {name: json_sha256(value)[:16] for name, value in (values | watches).items()}

    def from_variables(self) -> tuple[str, ...]:
        """The keys that environment variables set."""
        ledger = ("scenes.ledger",) if self._environ.get(LEDGER_VARIABLE) else ()
        return (*ledger, *(".".join(keys) for keys in self._provenance.variables))

    def shown(self) -> list[Shown]:
        """Every effective value, secrets redacted, and where it comes from: default, file or variable."""
        values = dict(leaves(self.model_dump(mode="json")))
        origins = {keys: self._provenance.of(keys) for keys in values}
        if url := self._environ.get(LEDGER_VARIABLE):
            values["scenes", "ledger"], origins["scenes", "ledger"] = url, LEDGER_VARIABLE
        return [Shown(".".join(keys), redacted(keys, value), origins[keys]) for keys, value in values.items()]


def settings_file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """`path`, else $SLICKWATCH_CONFIG, else ./slickwatch.toml if it exists; `UsageError` if a given file does not."""
    given = path or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    if given is None and not DEFAULT_FILE.exists():
        return None
    file = given or DEFAULT_FILE
    if not file.is_file():
        raise UsageError(file, "no such settings file", f"create one: slickwatch settings example > {file}")
    return file


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(file, f"not a readable TOML file ({reason})", "see slickwatch settings example") from error


def _merged(lower: dict[str, Any], upper: dict[str, Any]) -> dict[str, Any]:
    """Nested tables with the values of both; those of `upper` override those of `lower`."""
    merged = dict(lower)
    for key, value in upper.items():
        below = lower.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
