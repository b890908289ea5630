"""The files of the pages; the large ones of others are kept compressed, and sent so to whoever takes it."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).with_name("static")
PACKED = {f"vendor/{path.stem}": path for path in FOLDER.glob("vendor/*.gz")}
_TYPES = {".mjs": "text/javascript", ".css": "text/css", ".json": "application/json"}


class Assets(StaticFiles):
    """The folder `static`; `NAME` is also what `NAME.gz` holds."""

    def __init__(self) -> None:
        super().__init__(directory=FOLDER)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, plain or unpacked. Raises `HTTPException` 404, 405."""
        packed = PACKED.get(path)
        if packed is None or scope["method"] not in ("GET", "HEAD"):
            return await super().get_response(path, scope)
        kind = _TYPES[packed.with_suffix("").suffix]
        if "gzip" not in Headers(scope=scope).get("accept-encoding", ""):
            return Response(_content(packed), media_type=kind)
        answer = self.file_response(packed, packed.stat(), scope)
        answer.headers["Content-Encoding"] = "gzip"
        answer.headers.add_vary_header("Accept-Encoding")
        if answer.status_code == 200:
            answer.headers["Content-Type"] = kind
        return answer


@cache
def _content(packed: Path) -> bytes:
    return gzip.decompress(packed.read_bytes())
