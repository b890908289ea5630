"""Which model a flow uses, and what `slickwatch models` does with the registry."""

from __future__ import annotations

import dataclasses
import getpass
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from ingest.errors import ModelError, UsageError
from models.checkpoint import (
    SHIPPED,
    Checkpoint,
    check_model,
    default_model_id,
    load_model,
    model_folder,
    read_checkpoint,
    shipped_models,
)
from models.registry.registry import ChampionModel, Promotion, Provenance, Registry, Version
from outputs.record import git_commit, software_version

CHAMPION = "champion"


@dataclass(frozen=True)
class Listed:
    """One line of `models list`."""

    id: str
    kind: str  # shipped or version
    champion: bool
    added_at: datetime | None = None
    run: str | None = None
    problem: str | None = None  # what is wrong with its record


def resolve_model(model: str | None, registry: Path) -> Path:
    """The folder of the model that is meant, to be asked for once at the start of a scene and kept until its end.

    None and ``champion`` are the champion; else the id of a version, that of a shipped model, or a folder. What comes
    from the registry is verified. Whoever sends alerts asks `Registry.champion` instead, for its `refused`.
    Raises `ModelError`.
    """
    if model is None or model == CHAMPION:
        return Registry(registry).champion().folder
    if model in Registry(registry).ids():
        return Registry(registry).verify(model).folder
    return _outside(model, registry).absolute()


def list_models(registry: Path) -> tuple[list[Listed], ChampionModel]:
    """The shipped models, then the versions of the registry, the oldest first; and the champion, found out quietly."""
    there, chosen = Registry(registry), Registry(registry).champion(warn=False)
    listed = [Listed(id, "shipped", chosen.version is None and id == chosen.id) for id in shipped_models()]
    versions = there.versions()
    for version in versions:
        is_champion = chosen.version is not None and version.id == chosen.id
        listed.append(Listed(version.id, "version", is_champion, version.added_at, version.provenance.run))
    for id in sorted({*there.ids()} - {version.id for version in versions}):
        listed.append(Listed(id, "version", False, problem=_problem(there, id)))
    return listed, chosen


def describe_model(model: str | None, registry: Path) -> dict[str, Any]:
    """All that a checkpoint says of its model, as plain JSON.

    For a version also `registry`: its record, the promotions that concern it, and how it compared with the champion
    of its time. Raises `ModelError`.
    """
    folder = resolve_model(model, registry)
    described = dataclasses.asdict(load_model(str(folder))[1])
    there = Registry(registry)
    if folder.parent.parent == there.folder:
        version, chosen = there.version(folder.name), there.champion(warn=False)
        described["registry"] = {
            **_plain(version),
            "is_champion": chosen.version == version,
            "comparison": compared(version.provenance.metrics, version.provenance.champion_metrics),
            "promotions": [_plain(entry) for entry in there.promotions() if entry.champion == version.pin],
        }
    return described


def compared(challenger: Mapping[str, Any], champion: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that both have, nested as they are: challenger, champion, and what the challenger has more."""
    both: dict[str, Any] = {}
    for name in challenger.keys() & champion.keys():
        one, other = challenger[name], champion[name]
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            both[name] = compared(one, other)
        elif _is_figure(one) and _is_figure(other):
            both[name] = {"challenger": one, "champion": other, "difference": one - other}
    return dict(sorted(both.items()))


def verify_models(model: str | None, registry: Path, report: Callable[[str, str], None]) -> list[str]:
    """Verify one model, or all that are shipped and registered; `report` gets id and hash of the weights of good ones.

    Returns what is wrong, with the journal of promotions too, one line each.
    """
    there, chosen = Registry(registry), Registry(registry).champion(warn=False)
    checks: list[tuple[str, Callable[[], Checkpoint]]] = []
    if model is None:
        checks.extend((id, partial(check_model, str(SHIPPED / id))) for id in shipped_models())
    for name in there.ids() if model is None else [model]:
        checks.append((name, partial(_checked, chosen.folder.name if name == CHAMPION else name, registry)))
    problems: list[str] = []
    for name, check in checks:
        try:
            report(name, check().weights_sha256)
        except ModelError as error:
            problems.append(str(error))
    if model in (None, CHAMPION):
        problems.extend(chosen.refused)
    return list(dict.fromkeys(problems))


def promote_model(model: str, registry: Path, reason: str, by: str | None = None) -> Promotion:
    """Make a version the champion; a shipped model or a folder is added first. Raises as `Registry.promote`, `add`."""
    if not reason.strip():
        raise UsageError("--reason", "is empty", "give one for the journal")
    there = Registry(registry)
    if model not in there.ids():
        folder = _outside(model, registry)
        model = there.add(folder, by_hand(folder)).id
    return there.promote(model, reason, by or who())


def rollback_model(registry: Path, reason: str, by: str | None = None) -> Promotion:
    """Make the champion before this one the champion again. Raises as `Registry.rollback`."""
    return Registry(registry).rollback(reason, by or who())


def by_hand(folder: Path) -> Provenance:
    """The provenance of a model that somebody brings: what its checkpoint says, and the Slickwatch at hand."""
    checkpoint = read_checkpoint(str(folder))
    return Provenance(parent=_parent(checkpoint.training), code_version=code_version(), metrics=checkpoint.metrics)


def code_version() -> str | None:
    """The commit of the source tree, else the installed version."""
    return git_commit() or software_version()


def who() -> str:
    """Who runs this, for the journal."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user without a name, as in containers
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def default_registry() -> Path:
    """The folder of the registry that the settings name. Raises `UsageError` for what is wrong in them."""
    from flows.settings import Settings  # takes a while, which `--registry` saves

    return Settings.read().models.registry


def as_dict(listed: list[Listed], chosen: ChampionModel, registry: Path) -> dict[str, Any]:
    """What `models list --json` prints."""
    return {
        "default": default_model_id(),
        "models": [one.id for one in listed if one.kind == "shipped"],
        "champion": chosen.id,
        "registry": str(registry),
        "versions": [_plain(one) for one in listed if one.kind == "version"],
        "refused": list(chosen.refused),
    }


def as_table(listed: list[Listed]) -> str:
    """What `models list` prints: the champion with an asterisk."""
    width = max(len(one.id) for one in listed)
    return "\n".join(f"{'*' if one.champion else ' '} {one.id:<{width}}  {_note(one)}" for one in listed)


def _note(one: Listed) -> str:
    if one.problem is not None:
        return f"damaged: {one.problem}"
    if one.added_at is None:
        return one.kind
    return f"added {one.added_at:%Y-%m-%d %H:%M}Z{f' by run {one.run}' if one.run else ''}"


def _problem(registry: Registry, id: str) -> str | None:
    try:
        registry.version(id)
    except ModelError as error:
        return str(error)
    return None


def _outside(model: str, registry: Path) -> Path:
    """The folder of a model that is no version."""
    try:
        return model_folder(model)
    except ModelError as error:
        known = ", ".join([*shipped_models(), *Registry(registry).ids()])
        raise ModelError(model, "no such model", f"give a model folder or one of: {known}") from error


def _checked(model: str, registry: Path) -> Checkpoint:
    there = Registry(registry)
    if model in there.ids():
        return read_checkpoint(str(there.verify(model).folder))
    return check_model(str(_outside(model, registry)))


def _parent(training: Mapping[str, Any]) -> str | None:
    options = training.get("options")
    start = options.get("start") if isinstance(options, Mapping) else None
    return Path(start).name if isinstance(start, str) else None


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(record: Version | Promotion | Listed) -> dict[str, Any]:
    """A record as JSON says it: times in ISO 8601, folders as text."""
    return {name: _plain_value(value) for name, value in dataclasses.asdict(record).items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Path) else value
