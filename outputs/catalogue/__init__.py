"""One catalogue over all scenes: a GeoPackage that a GIS opens and that runs publish into; docs/analyst/catalogue.md."""

from outputs.catalogue.catalogue import Catalogue
from outputs.catalogue.records import STATUSES, Published, Review, Run

__all__ = ["STATUSES", "Catalogue", "Published", "Review", "Run"]
