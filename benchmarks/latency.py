"""From a scene in the inbox to polygons in the catalogue, and what of it is orchestration: docs/operator/monitoring.md.

python -m benchmarks.latency [--size 600] [--scenes 3] [--mode deployment] [--mode process] [--json]

The processing itself is timed first: the same steps on the same product, in a process that has everything loaded and
no Prefect around it. `process` calls the flow `monitor` from Python; `deployment` brings up a real server and worker
and starts a run of the deployment `monitor`, as its schedule would, at the moment at which the scene is there. The
time that a scene waits for the schedule is not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from flows.operations.prefect_api import Api
from ingest.errors import SourceError

GOAL_S = 15.0
PATIENCE_S = 600.0
SEED = 7
SETTINGS = """
[sources.inbox]
folder = "inbox"
settle = 0
[[watch]]
name = "all"
source = "inbox"
cron = "0 0 1 1 *"
[prefect]
port = {port}
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=600, help="lines and samples of a scene")
    parser.add_argument("--scenes", type=int, default=3, help="one after the other, in each mode")
    parser.add_argument("--mode", action="append", choices=sorted(MODES), help="by default both")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each scene")
    parser.add_argument("--round", metavar="SETTINGS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.round:
        serve_rounds(arguments.round)
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {arguments.size} x "
          f"{arguments.size} pixels", flush=True)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        products, alone = prepared(Path(folder), arguments)
        for mode in arguments.mode or sorted(MODES):
            site = Path(folder) / mode
            (site / "inbox").mkdir(parents=True)
            (site / "slickwatch.toml").write_text(SETTINGS.format(port=free_port()))
            with MODES[mode](site) as start:
                totals = [one_scene(site, product, start) for product in products]
            tell(mode, totals, alone, arguments.json)


def prepared(folder: Path, arguments: argparse.Namespace) -> tuple[list[Path], float]:
    """Products of as many scenes, and the seconds that the processing of one takes by itself (median)."""
    import flows.detect
    from flows import tasks
    from models.simulator.product import simulate_product

    begin = datetime(2024, 6, 1, 5, 30, tzinfo=UTC)
    size = (arguments.size, arguments.size)
    products = [
        simulate_product(folder / "products", SEED, size, start=begin + timedelta(minutes=i)).safe
        for i in range(arguments.scenes)
    ]
    steps = {name: step.fn for name, step in vars(tasks).items() if isinstance(step, type(tasks.publish))}
    flows.detect.tasks = SimpleNamespace(**steps)
    flows.detect.detect_slicks.fn(products[0], folder / "alone", report=False)  # loads what is loaded once
    seconds = []
    for product in products:
        began = time.perf_counter()
        flows.detect.detect_slicks.fn(product, folder / "alone", report=False)
        seconds.append(time.perf_counter() - began)
    flows.detect.tasks = tasks
    return products, statistics.median(seconds)


def one_scene(site: Path, product: Path, start: Callable[[], object]) -> dict[str, Any]:
    """Put a product into the inbox, start a round, wait for its polygons; seconds by what they went to."""
    from outputs.catalogue import Catalogue

    shutil.copytree(product, site / product.name)
    os.rename(site / product.name, site / "inbox" / product.name)
    began, at = time.perf_counter(), datetime.now(UTC)
    start()
    while time.perf_counter() - began < PATIENCE_S:
        if (site / "catalogue.gpkg").exists():
            runs = Catalogue.open(site / "catalogue.gpkg").runs(product.stem)
            if runs:
                record = runs[0].record
                return {
                    "total": time.perf_counter() - began,
                    "until it begins": (record.started_at - at).total_seconds(),
                    "steps": sum(record.durations_s.values()),
                    "slicks": record.slick_count,
                }
        time.sleep(0.05)
    sys.exit(f"{product.stem} is not in the catalogue after {PATIENCE_S:.0f} s; see {site}")


def tell(mode: str, totals: list[dict[str, Any]], alone: float, as_json: bool) -> None:
    """Print the scenes of one mode; the first also loads what is loaded once."""
    for number, total in enumerate(totals, 1):
        adds = total["total"] - alone
        if as_json:
            print(json.dumps({"mode": mode, "scene": number, "alone": alone, "adds": adds, **total}), flush=True)
        else:
            print(
                f"{mode:<11} scene {number}: {total['total']:6.1f} s from inbox to {total['slicks']} polygon(s), "
                f"processing {alone:.1f} s, orchestration {adds:.1f} s ({'under' if adds < GOAL_S else 'above'} "
                f"{GOAL_S:.0f} s; {total['until it begins']:.1f} s of it before the first step)",
                flush=True,
            )


@contextmanager
def by_process(site: Path) -> Iterator[Callable[[], object]]:
    """A process of Python that calls the flow when it is told to; Prefect has its temporary server."""
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment |= {"PREFECT_HOME": str(site / "prefect"), "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300"}
    command = [sys.executable, "-m", "benchmarks.latency", "--round", str(site / "slickwatch.toml")]
    with (
        (site / "log").open("wb") as log,
        subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as worker,
    ):
        assert worker.stdin is not None
        assert worker.stdout is not None
        expect(worker, "ready")

        def start() -> None:
            worker.stdin.write("round\n")
            worker.stdin.flush()

        yield start
        worker.stdin.close()


def serve_rounds(config: str) -> None:
    """A round of monitoring for each line."""
    from prefect.client.orchestration import get_client

    from flows.monitor import monitor

    with get_client(sync_client=True) as client:
        client.hello()  # the temporary server takes its time, once
        print("ready", flush=True)
        for _ in sys.stdin:
            monitor("all", config)


def expect(worker: subprocess.Popen[str], word: str) -> None:
    """Wait for a line that says so; others are Prefect's."""
    assert worker.stdout is not None
    for line in worker.stdout:
        if line.strip() == word:
            return
    sys.exit("the process ended; see its log")


@contextmanager
def by_deployment(site: Path) -> Iterator[Callable[[], object]]:
    """`slickwatch up` with the two deployments; the schedule never comes, each round is asked for."""
    from flows.operations import start_stop
    from flows.operations.plan import make_plan
    from flows.settings import Settings

    content = yaml.safe_load((Path(__file__).parents[1] / "prefect.yaml").read_text())
    content["deployments"] = [one for one in content["deployments"] if one["name"] in ("monitor", "process-scene")]
    (site / "deployments.yaml").write_text(yaml.safe_dump(content))
    planned = make_plan(Settings.read(site / "slickwatch.toml"), site / "deployments.yaml")
    start_stop.up(planned, lambda line: print(f"  {line}", file=sys.stderr))
    try:
        with Api(planned.api_url) as api:
            deployment = api.get("/deployments/name/monitor/monitor")["id"]
            yield lambda: begin(api, deployment, watch="all", config=str(planned.config))
    finally:
        start_stop.down(planned)


def begin(api: Api, deployment: str, **parameters: str) -> None:
    """Ask for a run, again where the server has no time: its SQLite is busy on a busy machine."""
    key = str(uuid.uuid4())
    for _ in range(10):
        with suppress(SourceError):
            path = f"/deployments/{deployment}/create_flow_run"
            api.post(path, parameters=parameters, idempotency_key=key)
            return
        time.sleep(0.5)
    sys.exit("the server took no run")


def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


MODES = {"deployment": by_deployment, "process": by_process}

if __name__ == "__main__":
    main()
