"""Refresh what the map's page takes from npm, in service/static/vendor: `python tools/vendor.py`, with npm at hand.

Files are compressed as browsers take them; `vendored.json` has the version of each and the SHA-256 of its content.
"""

import gzip
import hashlib
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "service" / "static" / "vendor"
Content = Callable[[bytes], bytes]


def land_as_geojson(topology: bytes) -> bytes:
    """The land of a TopoJSON file as GeoJSON, to 0.01 degrees."""
    document = json.loads(topology)
    (scale_x, scale_y), (west, south) = document["transform"]["scale"], document["transform"]["translate"]
    arcs = []
    for steps in document["arcs"]:
        x = y = 0
        arc = []
        for dx, dy in steps:
            x, y = x + dx, y + dy
            arc.append([round(west + x * scale_x, 2), round(south + y * scale_y, 2)])
        arcs.append(arc)

    def ring(numbers: list[int]) -> list[list[float]]:
        points: list[list[float]] = []
        for number in numbers:
            points += (arcs[number] if number >= 0 else arcs[~number][::-1])[1 if points else 0 :]
        return [point for i, point in enumerate(points) if i == 0 or point != points[i - 1]]

    polygons = [
        [made for made in map(ring, rings) if len(made) > 3]
        for geometry in document["objects"]["land"]["geometries"]
        for rings in geometry["arcs"]
    ]
    land = {"type": "MultiPolygon", "coordinates": [rings for rings in polygons if rings]}
    return json.dumps(land, separators=(",", ":")).encode()


def unchanged(content: bytes) -> bytes:
    """The content as it is."""
    return content


FILES: tuple[tuple[str, str, str, Content], ...] = (
    ("maplibre-gl@6.17.0", "dist/maplibre-gl.mjs", "maplibre-gl.mjs", unchanged),
    ("maplibre-gl@6.17.0", "dist/maplibre-gl-worker.mjs", "maplibre-gl-worker.mjs", unchanged),
    ("maplibre-gl@6.17.0", "dist/maplibre-gl.css", "maplibre-gl.css", unchanged),
    ("maplibre-gl@6.17.0", "LICENSE.txt", "maplibre-gl.LICENSE.txt", unchanged),
    ("world-atlas@2.0.2", "land-50m.json", "land.json", land_as_geojson),
)


def main() -> None:
    """Fetch the packages, write the files and `vendored.json`."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    record = {}
    with tempfile.TemporaryDirectory() as folder:
        for package, member, name, content in FILES:
            archive = Path(folder) / f"{package.replace('@', '-')}.tgz"
            if not archive.exists():
                subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, stdout=subprocess.DEVNULL)
            with tarfile.open(archive) as packed:
                found = packed.extractfile(f"package/{member}")
                assert found is not None
                made = content(found.read())
            if name.endswith(".txt"):
                (FOLDER / name).write_bytes(made)
            else:  # without a time in it, so that the same content makes the same file
                (FOLDER / f"{name}.gz").write_bytes(gzip.compress(made, 9, mtime=0))
            record[name] = {"from": f"{package}/{member}", "sha256": hashlib.sha256(made).hexdigest()}
    (FOLDER / "vendored.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
