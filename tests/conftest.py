"""What the tests share: one Prefect server for the whole run, and the command line."""

import os

# Threads of torch and of other libraries beside it only wait for each other on small machines.
os.environ.setdefault("OMP_NUM_THREADS", "2")

import pytest


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory):
    """Run a real Prefect server with a database of its own; starting it takes some 15 s, so once is enough."""
    import flows.detect  # noqa: F401 - settings that Prefect reads when it is imported

    os.environ["PREFECT_LOGGING_LEVEL"] = "CRITICAL"
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=300):
        yield


@pytest.fixture
def cli(capfd):
    """Run the command line; returns exit code, stdout and stderr."""
    from flows.cli import main

    def run(*arguments):
        code = 0
        try:
            main([str(a) for a in arguments])
        except SystemExit as exit_:
            code = exit_.code or 0
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return run
