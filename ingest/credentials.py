"""Credentials for the scene sources, from the environment, a file or ``.netrc``."""

from __future__ import annotations

import netrc
import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from ingest.errors import SourceError

CREDENTIALS_FILE_VARIABLE = "SLICKWATCH_CREDENTIALS"
_OTHERS_MAY_READ = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Credentials:
    """A user name and a password, or an access key and its secret; printing the record shows neither."""

    user: str = field(repr=False)
    secret: SecretStr


@dataclass(frozen=True)
class Service:
    """A service that requires credentials, and where they are looked up."""

    title: str
    variables: tuple[str, str]  # of the environment
    entries: tuple[str, str]  # of the service's table in the credentials file
    machines: tuple[str, ...]  # in .netrc


_CDSE = "dataspace.copernicus.eu"
SERVICES = {
    "cdse": Service(
        "Copernicus Data Space",
        ("SLICKWATCH_CDSE_USERNAME", "SLICKWATCH_CDSE_PASSWORD"),
        ("username", "password"),
        (f"identity.{_CDSE}", f"download.{_CDSE}", f"zipper.{_CDSE}", f"catalogue.{_CDSE}", _CDSE),
    ),
    "eodata": Service(
        "the S3 store of Copernicus Data Space",
        ("SLICKWATCH_EODATA_ACCESS_KEY", "SLICKWATCH_EODATA_SECRET_KEY"),
        ("access_key", "secret_key"),
        (f"eodata.{_CDSE}",),
    ),
    "smtp": Service(
        "the mail server", ("SLICKWATCH_SMTP_USERNAME", "SLICKWATCH_SMTP_PASSWORD"), ("username", "password"), ()
    ),
    "dhus": Service(
        "the DHuS node", ("SLICKWATCH_DHUS_USERNAME", "SLICKWATCH_DHUS_PASSWORD"), ("username", "password"), ()
    ),
}


def find_credentials(service: str, machine: str | None = None, environ: Mapping[str, str] | None = None) -> Credentials:
    """Look up the credentials of a service of `SERVICES`: environment, then the credentials file, then ``.netrc``.

    `machine` is a further host to look for in ``.netrc``, such as a DHuS node; `environ` stands in for the environment
    of the process. Raises `SourceError` if nothing is
    found, if only half is given, or if a file is damaged or readable by anyone but its owner; no message contains
    any part of a file's content.
    """
    known, environ = SERVICES[service], os.environ if environ is None else environ
    machines = known.machines if machine is None else (machine, *known.machines)
    found = _from_environment(known, environ) or _from_file(service, known, environ) or _from_netrc(machines, environ)
    if found is None:
        raise SourceError(known.title, "no credentials found", _how_to_give_them(service, known, machines))
    return found


def _how_to_give_them(service: str, known: Service, machines: tuple[str, ...]) -> str:
    named = f" with the machine {machines[0]}" if machines else ""
    return (
        f"set {known.variables[0]} and {known.variables[1]}, or add them to ~/.netrc{named}, "
        f"or as {known.entries[0]} and {known.entries[1]} under [{service}] to the file that "
        f"{CREDENTIALS_FILE_VARIABLE} names"
    )


def _from_environment(known: Service, environ: Mapping[str, str]) -> Credentials | None:
    user, secret = (environ.get(variable, "") for variable in known.variables)
    if user and secret:
        return Credentials(user, SecretStr(secret))
    if user or secret:
        given, missing = known.variables if user else known.variables[::-1]
        raise SourceError(known.title, f"{given} is set, but {missing} is not", "set both or neither")
    return None


def _from_file(service: str, known: Service, environ: Mapping[str, str]) -> Credentials | None:
    named = environ.get(CREDENTIALS_FILE_VARIABLE)
    if not named:
        return None
    path = Path(os.path.expanduser(named))
    try:
        table = tomllib.loads(_read_private(path).decode()).get(service)
    except ValueError:
        # The parser's message may quote the file, so none of it is kept.
        raise SourceError(path, "not valid TOML", "write it as [cdse] with username and password") from None
    if table is None:
        return None
    user, secret = (_entry(path, service, table, entry) for entry in known.entries)
    return Credentials(user, SecretStr(secret))


def _entry(path: Path, service: str, table: object, entry: str) -> str:
    value = table.get(entry) if isinstance(table, dict) else None
    if not isinstance(value, str) or not value:
        raise SourceError(path, f"[{service}] has no {entry}", "give it as a string")
    return value


def _from_netrc(machines: tuple[str, ...], environ: Mapping[str, str]) -> Credentials | None:
    path = Path(environ.get("NETRC") or os.path.expanduser("~/.netrc"))
    if not machines or not path.is_file():
        return None
    _read_private(path)
    try:
        hosts = netrc.netrc(path).hosts
    except (netrc.NetrcParseError, UnicodeDecodeError) as error:
        # Its message may quote a password found where a keyword was expected.
        line = f" near line {error.lineno}" if isinstance(error, netrc.NetrcParseError) else ""
        raise SourceError(path, f"invalid .netrc file{line}", "write: machine HOST login NAME password WORD") from None
    # The `default` entry belongs to no particular service: sending it would hand a password to a stranger.
    for machine in machines:
        login, _, password = hosts.get(machine, ("", "", ""))
        if login and password:
            return Credentials(login, SecretStr(password))
    return None


def _read_private(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if os.name == "posix" and mode & _OTHERS_MAY_READ:
                raise SourceError(path, "holds credentials and is readable by other users", f"run: chmod 600 {path}")
            return file.read()
    except OSError as error:
        raise SourceError(path, f"cannot be read ({error.strerror})", "check the path and its permissions") from error
