"""A catalogue of three scenes, and a client of the service over it."""

from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import pytest
from shapely.geometry import MultiPolygon, box

from outputs.catalogue import Catalogue
from outputs.slicks import candidate_table
from service.app import Options, make_app
from tests.support.catalogue_results import FOOTPRINT, SCENE, record, scene_number, squares, table

NOW = datetime(2021, 1, 20, 12, 0, tzinfo=UTC)
PRIVATE = "kept-apart"  # in the path of the catalogue and of the results, and so in no answer


class Client:
    """Asks the application as a browser would, without a network."""

    def __init__(self, app, base="http://127.0.0.1"):
        self._app, self._base = app, base

    def __call__(self, path, headers=None, method="GET", **options):
        return self.stream(path, headers, method, **options)

    def stream(self, path, headers, method, **options):
        import anyio

        async def asked():
            transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=self._base) as client:
                return await client.request(method, path, headers=headers, **options)

        return anyio.run(asked)


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory):
    """120 slicks of one scene at 2 E 57 N, two of the next, one across the antimeridian; two candidates; none clean."""
    home = tmp_path_factory.mktemp(PRIVATE)
    catalogue = Catalogue.open(home / "catalogue.gpkg")
    random = np.random.default_rng(1)
    first = table("run-1", squares(120)).assign(confidence_mean=random.uniform(size=120), area_m2=np.arange(120) * 1e4)
    first["edge_touching"] = first["edge_touching"].where(first.index % 2 == 0, True)
    candidates = candidate_table(
        table("run-1", squares(2, west=3.5, prefix="c")).assign(lookalike_probability=[0.75, 0.875])
    )
    catalogue.publish(
        record("run-1", slick_count=120), SCENE, FOOTPRINT, first, candidates=candidates,
        result_folder=home / "results" / SCENE.id, now=NOW,
    )  # fmt: skip
    later = scene_number(60)
    outlines = {"east": box(20, 57, 20.01, 57.01), "straße": box(21, 57, 21.01, 57.01)}
    outlines["across"] = MultiPolygon([box(179.9, 10, 180, 10.1), box(-180, 10, -179.95, 10.1)])
    catalogue.publish(record("run-2", later, 3), later, None, table("run-2", outlines, later), now=NOW)
    clean = scene_number(120)
    catalogue.publish(record("run-3", clean), clean, FOOTPRINT, table("run-3", {}, clean), now=NOW)
    catalogue.review("s1", "confirmed", "Ada", "<script>alert(1)</script> Öl, 50 %", now=NOW + timedelta(hours=1))
    return catalogue.path


@pytest.fixture(scope="session")
def ask(catalogue):
    return Client(make_app(catalogue, Options(requests_per_minute=10_000_000)))
