"""One catalogue of all scenes: a GeoPackage that runs publish into; docs/analyst/catalogue.md."""

from outputs.catalogue.catalogue import Catalogue
from outputs.catalogue.records import STATUSES, Published, Review, Run

__all__ = ["STATUSES", "Catalogue", "Published", "Review", "Run"]
