"""The catalogue of all scenes: a GeoPackage of slicks, scenes, runs and reviews; docs/analyst/catalogue.md."""

from outputs.catalogue.catalogue import Catalogue
from outputs.catalogue.records import STATUSES, Published, Review, Run
from outputs.catalogue.selection import Selection

__all__ = ["STATUSES", "Catalogue", "Published", "Review", "Run", "Selection"]
