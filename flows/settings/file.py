"""Reading the settings: file, environment above it, defaults below it; what is wrong is told in one line."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from flows.scenes import LEDGER_VARIABLE
from flows.settings import errors, sections
from flows.settings.display import Shown, leaves, shown_value
from flows.settings.environment import CONFIG_VARIABLE, DEFAULT_FILE, Environment
from flows.settings.kinds import relative_to
from flows.settings.origins import Origins
from ingest.credentials import Credentials, find_credentials
from ingest.errors import UsageError

SMTP_VARIABLES = ("SLICKWATCH_SMTP_USERNAME", "SLICKWATCH_SMTP_PASSWORD")
SourceName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$")]


class Settings(BaseSettings):
    """Everything that may be set. Made by `Settings.read`; `Settings()` has the defaults, whatever is around it."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    scenes: sections.Scenes = Field(default_factory=sections.Scenes)
    sources: dict[SourceName, dict[str, object]] = Field(default_factory=dict)
    watch: tuple[sections.Watch, ...] = ()
    watching: sections.Watching = Field(default_factory=sections.Watching)
    detection: sections.Detection = Field(default_factory=sections.Detection)
    monitor: sections.Monitor = Field(default_factory=sections.Monitor)
    models: sections.Models = Field(default_factory=sections.Models)
    alerts: sections.Alerts = Field(default_factory=sections.Alerts)
    retraining: sections.Retraining = Field(default_factory=sections.Retraining)
    prefect: sections.Prefect = Field(default_factory=sections.Prefect)

    _origins: Origins = PrivateAttr(default_factory=Origins)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is given: `read` says which file and which environment there are."""
        return (init_settings,)

    @classmethod
    def read(cls, path: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the file at `path`, else at $SLICKWATCH_CONFIG, else ./slickwatch.toml, else none; then the environment.

        Relative places become absolute ones in the folder of the file, or in the working folder where there is no
        file. Raises `UsageError` for a file that is named and not there or not readable, and for the first key that is
        unknown, of a wrong type or out of bounds.
        """
        environ = os.environ if environ is None else environ
        file = settings_file(path, environ)
        content = _content(cls, file)
        environment = Environment(cls, environ)
        origins = Origins(
            file,
            tuple(keys for keys, _ in leaves(content.toml_data)),
            {override.keys: override.variable for override in environment.overrides},
        )
        errors.refuse_unknown_variables(cls, environment.overrides)
        errors.refuse_secrets(content.toml_data, environment(), origins)
        given: dict[str, Any] = {"_build_sources": ((environment, content), {})}
        with relative_to(Path() if file is None else file.parent):
            try:
                settings = cls(**given)
            except ValidationError as error:
                raise errors.first_refusal(cls, error, origins) from None
            settings = errors.with_sources_checked(settings, origins)
        settings._origins = origins
        return settings

    @property
    def file(self) -> Path | None:
        """The file they were read from; None where there is none."""
        return self._origins.file

    def ledger_url(self) -> str:
        """Where the ledger is; $SLICKWATCH_LEDGER, which may hold a password, goes before `scenes.ledger`."""
        return os.environ.get(LEDGER_VARIABLE) or self.scenes.ledger

    def mail_credentials(self) -> Credentials | None:
        """User name and password of the mail server, None where neither settings nor environment speak of any.

        Raises `SourceError` for want of them, and for a file of them that others may read.
        """
        mail = self.alerts.mail
        wanted = mail.login or any(os.environ.get(name) for name in SMTP_VARIABLES)
        return find_credentials("smtp", machine=mail.host) if mail.host is not None and wanted else None

    def shown(self) -> list[Shown]:
        """Every effective value, without secrets, and where it comes from: default, the file or a variable."""
        shown = [
            Shown(".".join(keys), shown_value(keys, value), self._origins.of(keys))
            for keys, value in leaves(self.model_dump(mode="json"))
        ]
        if given := os.environ.get(LEDGER_VARIABLE):
            ledger = Shown("scenes.ledger", shown_value(("scenes", "ledger"), given), LEDGER_VARIABLE)
            shown = [ledger if one.key == ledger.key else one for one in shown]
        return shown


def settings_file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The settings file by `path`, $SLICKWATCH_CONFIG or its usual name; raises `UsageError` if a named one is not."""
    named = path or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    if named is None and not DEFAULT_FILE.exists():
        return None
    file = named or DEFAULT_FILE
    if not file.is_file():
        raise UsageError(file, "no such settings file", f"write one: slickwatch settings example > {file}")
    return file


def _content(settings: type[BaseSettings], file: Path | None) -> TomlConfigSettingsSource:
    try:
        return TomlConfigSettingsSource(settings, toml_file=file)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else error
        raise UsageError(file or "", f"not a readable TOML file ({told})", "see slickwatch settings example") from error
