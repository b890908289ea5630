"""The layers of the catalogue that are published, as tables for queries: their columns, keys and spatial indexes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from sqlalchemy import Column, Float, Integer, LargeBinary, MetaData, Table, Text

from outputs.attributes import ATTRIBUTES, SLICK_EXTRAS, Attribute, Kind
from outputs.catalogue.rows import CANDIDATE_EXTRAS, SCENE_COLUMNS

_TYPES: dict[Kind, type[Text] | type[Integer] | type[Float[float]]] = {
    "text": Text, "integer": Integer, "real": Float, "flag": Integer, "time": Text,
}  # fmt: skip
_REVIEW = ("status", "reviewed_at", "reviewer", "notes")
# Paths of this machine, and what is null in every current row.
_HIDDEN = ("result_folder", "superseded_by", "superseded_at")


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer of current rows; `attributes` are those to publish, `key` the one that identifies a row."""

    name: str
    key: str
    attributes: tuple[Attribute, ...]

    @cached_property
    def table(self) -> Table:
        """The table, with the columns `fid` and `geom` beside the attributes."""
        columns = [Column(one.name, _TYPES[one.kind]) for one in self.attributes]
        return Table(self.name, MetaData(), Column("fid", Integer), Column("geom", LargeBinary), *columns)

    @cached_property
    def index(self) -> Table:
        """The spatial index: bounds in degrees by `fid`."""
        ends = (Column(name, Float) for name in ("minx", "maxx", "miny", "maxy"))
        return Table(f"rtree_{self.name}_geom", MetaData(), Column("id", Integer), *ends)

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """The kind of each attribute by its name."""
        return {one.name: one.kind for one in self.attributes}


def _published(*attributes: Attribute, without: tuple[str, ...] = ()) -> tuple[Attribute, ...]:
    return tuple(one for one in attributes if one.name not in (*_HIDDEN, *without))


SLICKS = Layer("slicks", "id", _published(*ATTRIBUTES, *SLICK_EXTRAS))
CANDIDATES = Layer(
    "candidates", "id",
    _published(*ATTRIBUTES, *SLICK_EXTRAS, *CANDIDATE_EXTRAS, without=(*_REVIEW, "former_status")),
)  # fmt: skip
SCENES = Layer("scenes", "scene_id", _published(*SCENE_COLUMNS))
