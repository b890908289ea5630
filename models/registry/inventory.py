"""The models at hand, shipped and registered: find, list, describe, verify and promote them by name."""

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

from ingest.errors import ModelError
from models.checkpoint import (
    SHIPPED,
    Checkpoint,
    default_model_id,
    load_model,
    model_folder,
    read_checkpoint,
    shipped_models,
)
from models.objects.judge import check_with_object_stage
from models.registry.records import Promotion, Provenance, Version, content_of
from models.registry.registry import ChampionModel, Registry, file_hashes

CHAMPION = "champion"


@dataclass(frozen=True)
class Listed:
    """One model of the inventory."""

    id: str
    kind: str  # shipped or version
    champion: bool
    added_at: datetime | None = None  # to the registry; None for a model that is only shipped
    run: str | None = None
    problem: str | None = None  # damage to its record


def find_model(model: str | None, registry: Path) -> Path:
    """The folder of a model, to be found once at the start of a scene and kept until its end.

    None and ``champion`` stand for the champion; else the id of a version, that of a shipped model, or a folder.
    Versions are verified. Callers that send alerts use `Registry.champion` for its `refused`. Raises `ModelError`.
    """
    if model is None or model == CHAMPION:
        return Registry(registry).champion().folder
    if model in Registry(registry).ids():
        return Registry(registry).verify(model).folder
    return _unregistered(model, registry).absolute()


def list_models(registry: Path) -> tuple[list[Listed], ChampionModel]:
    """The shipped models, then the other versions of the registry, oldest first; and the champion."""
    versions_of, champion = Registry(registry), Registry(registry).champion(warn=False)
    versions = versions_of.versions()
    also_shipped = {version.id: version for version in versions if _is_shipped(version)}
    listed = [_listed_shipped(id, also_shipped.get(id), champion) for id in shipped_models()]
    for version in versions:
        if version.id not in also_shipped:
            listed.append(_listed(version, "version", champion))
    for id in sorted({*versions_of.ids()} - {version.id for version in versions}):
        listed.append(Listed(id, "version", False, problem=_problem(versions_of, id)))
    return listed, champion


def _listed_shipped(id: str, version: Version | None, champion: ChampionModel) -> Listed:
    """A shipped model, and whether it is in the registry too."""
    if version is not None:
        return _listed(version, "shipped", champion)
    return Listed(id, "shipped", champion.version is None and id == champion.id)


def _listed(version: Version, kind: str, champion: ChampionModel) -> Listed:
    return Listed(version.id, kind, version == champion.version, version.added_at, version.provenance.run)


def _is_shipped(version: Version) -> bool:
    """Whether a version is a copy of a shipped model, by its content."""
    if version.id not in shipped_models():
        return False
    return content_of(file_hashes(SHIPPED / version.id)) == version.pin.content


def inventory_json(listed: list[Listed], champion: ChampionModel, registry: Path) -> dict[str, Any]:
    """The inventory as plain JSON."""
    return {
        "default": default_model_id(),
        "models": [one.id for one in listed if one.kind == "shipped"],
        "champion": champion.id,
        "registry": str(registry),
        "versions": [_plain(one) for one in listed if one.kind == "version" or one.added_at is not None],
        "refused": list(champion.refused),
    }


def inventory_line(listed: Listed, width: int) -> str:
    """A model as a line of text, the champion with an asterisk; `width` of the ids."""
    notes = ["shipped"] if listed.kind == "shipped" else []
    if listed.problem is not None:
        notes.append(f"damaged: {listed.problem}")
    elif listed.added_at is not None:
        notes.append(f"added {listed.added_at:%Y-%m-%d %H:%M}Z{f' by run {listed.run}' if listed.run else ''}")
    return f"{'*' if listed.champion else ' '} {listed.id:<{width}}  {', '.join(notes)}"


def describe_model(folder: Path, registry: Path) -> dict[str, Any]:
    """The checkpoint of a model as plain JSON.

    A version also has `registry`: its record, its promotions, and how it compared with the champion of its time.
    Raises `ModelError`.
    """
    described = dataclasses.asdict(load_model(str(folder))[1])
    versions = Registry(registry)
    if folder.parent.parent == versions.folder:
        version, champion = versions.version(folder.name), versions.champion(warn=False)
        described["registry"] = {
            **_plain(version),
            "is_champion": champion.version == version,
            "comparison": compare_metrics(version.provenance.metrics, version.provenance.champion_metrics),
            "promotions": [_plain(entry) for entry in versions.promotions() if entry.champion == version.pin],
        }
    return described


def compare_metrics(challenger: Mapping[str, Any], champion: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that both have, nested as they are: challenger, champion, and challenger minus champion."""
    both: dict[str, Any] = {}
    for name in challenger.keys() & champion.keys():
        one, other = challenger[name], champion[name]
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            both[name] = compare_metrics(one, other)
        elif _is_figure(one) and _is_figure(other):
            both[name] = {"challenger": one, "champion": other, "difference": one - other}
    return dict(sorted(both.items()))


def verify_models(model: str | None, registry: Path, report: Callable[[str, str], None]) -> list[str]:
    """Verify one model, or all shipped and registered ones; `report` takes id and hash of the weights of good ones.

    A shipped model that is in the registry too is two copies, and both are reported.

    Returns the problems, those of the journal of promotions included, one line each.
    """
    versions, champion = Registry(registry), Registry(registry).champion(warn=False)
    checks: list[tuple[str, Callable[[], Checkpoint]]] = []
    if model is None:
        checks.extend((id, partial(check_with_object_stage, str(SHIPPED / id))) for id in shipped_models())
    for name in versions.ids() if model is None else [model]:
        wanted = champion.folder.name if name == CHAMPION else name
        shown = f"{name}, in the registry" if model is None and name in shipped_models() else name
        checks.append((shown, partial(_verified, wanted, registry)))
    problems: list[str] = []
    for name, check in checks:
        try:
            report(name, check().weights_sha256)
        except ModelError as error:
            problems.append(str(error))
    if model in (None, CHAMPION):
        problems.extend(champion.refused)
    return list(dict.fromkeys(problems))


def promote_model(model: str, registry: Path, reason: str, by: str, code_version: str | None) -> Promotion:
    """Make a version the champion; a shipped model or a folder is added first, as of `code_version`.

    Raises as `Registry.promote` and `Registry.add`.
    """
    versions = Registry(registry)
    if model not in versions.ids():
        folder = _unregistered(model, registry)
        model = versions.add(folder, provenance_of(folder, code_version)).id
    return versions.promote(model, reason, by)


def provenance_of(folder: Path, code_version: str | None) -> Provenance:
    """The provenance of a model folder that is added by hand, from its checkpoint."""
    checkpoint = read_checkpoint(str(folder))
    return Provenance(parent=_parent(checkpoint.training), code_version=code_version, metrics=checkpoint.metrics)


def user_and_host() -> str:
    """USER@HOST, for the journal of promotions."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user without a name, as in containers
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def _problem(registry: Registry, id: str) -> str | None:
    try:
        registry.version(id)
    except ModelError as error:
        return str(error)
    return None


def _unregistered(model: str, registry: Path) -> Path:
    """The folder of a model that is not a version."""
    try:
        return model_folder(model)
    except ModelError as error:
        known = ", ".join([*shipped_models(), *Registry(registry).ids()])
        raise ModelError(model, "no such model", f"give a model folder or one of: {known}") from error


def _verified(model: str, registry: Path) -> Checkpoint:
    versions = Registry(registry)
    if model in versions.ids():
        return read_checkpoint(str(versions.verify(model).folder))
    return check_with_object_stage(str(_unregistered(model, registry)))


def _parent(training: Mapping[str, Any]) -> str | None:
    options = training.get("options")
    start = options.get("start") if isinstance(options, Mapping) else None
    return Path(start).name if isinstance(start, str) else None


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(record: Version | Promotion | Listed) -> dict[str, Any]:
    """A record as plain JSON: times in ISO 8601, folders as text."""
    return {name: _plain_value(value) for name, value in dataclasses.asdict(record).items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Path) else value
