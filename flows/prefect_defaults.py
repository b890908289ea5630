"""Our defaults for Prefect's settings. Import this before Prefect, which reads them on import; the user's own win."""

import os

from ingest.proxies import without_proxy

os.environ.update(without_proxy())
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
# Without PREFECT_API_URL a server starts with each run; a busy machine takes longer than Prefect's own default.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
