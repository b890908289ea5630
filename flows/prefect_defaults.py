"""Our defaults for Prefect's settings. Import this before Prefect, which reads them on import; the user's own win."""

import os
from pathlib import Path

from ingest.proxies import without_proxy

os.environ.update(without_proxy())
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
# Without PREFECT_API_URL a server starts with each run; a busy machine takes longer than Prefect's own default.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
os.environ.setdefault("PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT", "60")
os.environ.setdefault("PREFECT_SERVER_DATABASE_TIMEOUT", "60")
if "?" in (_home := os.path.expanduser(os.environ.get("PREFECT_HOME") or "~/.prefect")):
    # Prefect would paste the path into an address.
    _database = f"sqlite+aiosqlite:///{Path(_home, 'prefect.db').absolute().as_uri()}?uri=true"
    os.environ.setdefault("PREFECT_SERVER_DATABASE_CONNECTION_URL", _database)
