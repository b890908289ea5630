"""The options that select slicks of the catalogue, the same for every command that takes a selection."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.options import box_option, time_option
from ingest.errors import UsageError

if TYPE_CHECKING:
    from outputs.catalogue import Selection

Bbox = Annotated[  # not a tuple to Typer, which would take four words
    Any, typer.Option(metavar="W,S,E,N", parser=box_option, help="Slicks that intersect this box, in degrees.")
]
WatchName = Annotated[
    str | None,
    typer.Option("--watch", metavar="NAME", help="Slicks that intersect the area of this [[watch]] of the settings."),
]
Since = Annotated[
    datetime | None,
    typer.Option(metavar="TIME", parser=time_option, help="Acquired since: 2026-01-31, 12h, 7d (UTC)."),
]
Until = Annotated[datetime | None, typer.Option(metavar="TIME", parser=time_option, help="Acquired until.")]
Status = Annotated[
    list[str] | None,
    typer.Option(metavar="STATUS", parser=str.lower, help="unreviewed, confirmed or rejected; repeatable."),
]
Class = Annotated[
    list[str] | None,
    typer.Option("--class", metavar="CLASS", parser=str.lower, help="oil or look-alike; repeatable."),
]
MinimumArea = Annotated[float | None, typer.Option(metavar="KM2", min=0, help="Slicks of at least this area.")]
MaximumArea = Annotated[float | None, typer.Option(metavar="KM2", min=0, help="Slicks of at most this area.")]
MinimumConfidence = Annotated[
    float | None,
    typer.Option("--minimum-confidence", metavar="P", min=0, max=1, help="Slicks of at least this mean confidence."),
]
FoundBy = Annotated[
    str | None, typer.Option("--model", metavar="MODEL", help="Detected by this model: its id or SHA-256.")
]
Superseded = Annotated[bool, typer.Option("--superseded", help="Include slicks of superseded results.")]


def with_filters(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes the options of a `Selection` in the place of its argument `selection`."""
    unknown_yet = {"Selection": Any}  # imported only where it is used, as it takes long
    own = inspect.signature(command, locals=unknown_yet, eval_str=True).parameters
    filters = inspect.signature(_selection, locals=unknown_yet, eval_str=True).parameters
    options = [
        option.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for one in own.values()
        for option in (filters.values() if one.name == "selection" else [one])
    ]

    def run(**given: Any) -> None:
        selection = _selection(**{name: given.pop(name) for name in filters})
        command(selection=selection, **given)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in options}
    return run


def _selection(
    bbox: Bbox = None,
    watch: WatchName = None,
    since: Since = None,
    until: Until = None,
    status: Status = None,
    class_: Class = None,
    minimum_area: MinimumArea = None,
    maximum_area: MaximumArea = None,
    minimum_confidence: MinimumConfidence = None,
    model: FoundBy = None,
    superseded: Superseded = False,
) -> Selection:
    from outputs.catalogue import Selection

    return Selection(
        bbox,
        since,
        until,
        status,
        model,
        current=not superseded,
        within=None if watch is None else _watched_area(watch),
        classes=tuple(class_ or ()),
        minimum_area_km2=minimum_area,
        maximum_area_km2=maximum_area,
        minimum_confidence=minimum_confidence,
    )


def watched_areas() -> dict[str, Any]:
    """The areas of the watches of the settings as given there, by name; None where one is worldwide."""
    from flows.settings import Settings

    return {watch.name: watch.area for watch in Settings.read().watch}


def _watched_area(name: str) -> Any:
    """The area of a watch; None where it is worldwide. Raises `UsageError` for an unknown one."""
    from ingest.areas import read_areas, together

    watches = watched_areas()
    if name in watches:
        area = watches[name]
        return None if area is None else together(read_areas(area))
    known = ", ".join(watches)
    raise UsageError("--watch", f"no watch {name!r} in the settings", f"choose from {known}" if known else "add one")
