"""`kill -9` at random moments during a watch of many small scenes with faults on: docs/results/0005-fetching.md.

python -m benchmarks.kill_watch [--scenes 200] [--faults 0.2] [--seed 1] [--longest 1]

Prints one row of JSON for each run of the watcher and one for the whole; ends with status 1 where a scene is missing,
doubled or damaged, or anything is left over.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from ingest.download import FetchOptions
from ingest.ledger.ledger import Ledger
from ingest.retries import RetryPolicy
from ingest.sources.source import Query
from ingest.store import SceneFolder
from ingest.watch import Watch, WatchOptions, watch_once
from tests.support.http_scenes import PASSING, HttpScenes, SceneServer, faults, serving, small_scenes

LEASE_S = 2.0
OPTIONS = WatchOptions(
    lease_s=LEASE_S, batch=50,
    fetch=FetchOptions(margin=0, retries=RetryPolicy(attempts=6, first_wait=0.05, longest_wait=0.2)),
)  # fmt: skip
RETRIES = RetryPolicy(attempts=20, first_wait=0.1, longest_wait=1.0)


def main() -> None:
    """Serve, kill and restart until all scenes are there; then look at what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--size", type=int, default=200_000, help="bytes of a scene")
    parser.add_argument("--faults", type=float, default=0.2, help="share of requests that fail")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=40, help="kills at most; then the watcher is left alone")
    parser.add_argument("--longest", type=float, default=1.0, help="seconds of a run before its kill, at most")
    parser.add_argument("--watch", nargs=2, metavar=("ADDRESS", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.watch:
        watch(arguments.watch[0], Path(arguments.watch[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        if wrong := run(arguments, Path(folder)):
            sys.exit("\n".join(wrong))


def watch(address: str, folder: Path) -> None:
    """The watcher that is killed: rounds without end, until all scenes of the catalogue are fetched."""
    source = HttpScenes(address)
    with Ledger.open(str(folder / "ledger.sqlite"), retries=RETRIES) as ledger:
        print("ready", flush=True)
        while True:
            watch_once([Watch("kill", source, Query())], ledger, folder / "scenes", OPTIONS)
            counts = ledger.counts()
            if counts["fetched"] and not counts["found"]:
                return
            time.sleep(0.1)


def run(arguments: argparse.Namespace, folder: Path) -> list[str]:
    """One experiment; what is wrong in the end."""
    draw = random.Random(arguments.seed)
    scenes, archives = small_scenes(arguments.scenes, arguments.size)
    server = SceneServer(archives, fault=faults(arguments.faults, arguments.seed), scenes=scenes, retry_after="0")
    began, kills, runs = time.monotonic(), 0, 0
    with serving(server):
        while True:
            runs += 1
            code = one_run(
                server.address, folder, draw.uniform(0.05, arguments.longest) if kills < arguments.kills else None
            )
            there = SceneFolder(folder / "scenes").usage()
            print(
                json.dumps({"run": runs, "exit": code, "scenes": there.scenes, "parts": there.unfinished}), flush=True
            )
            if code == 0:
                break
            kills += 1
    seconds = time.monotonic() - began
    wrong = flaws(folder, archives)
    print(json.dumps(summary(arguments, server, archives) | {
        "kills": kills, "restarts": runs - 1, "seconds": round(seconds, 1),
        "load": round(os.getloadavg()[0], 1), "wrong": wrong,
    }))  # fmt: skip
    return wrong


def one_run(address: str, folder: Path, kill_after: float | None) -> int:
    """Start the watcher and kill it so many seconds after it is ready; its exit status."""
    command = [sys.executable, "-m", "benchmarks.kill_watch", "--watch", address, str(folder)]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet) as watcher:
        assert watcher.stdout is not None
        watcher.stdout.readline()
        try:
            return watcher.wait(kill_after)
        except subprocess.TimeoutExpired:
            watcher.kill()
            return watcher.wait()


def flaws(folder: Path, archives: dict[str, bytes | Path]) -> list[str]:
    """Everything that is not as it should be."""
    scenes = folder / "scenes"
    wrong = [
        f"{name}: {'missing' if not path.is_file() else 'damaged'}"
        for name, archive in archives.items()
        if not (path := SceneFolder(scenes).archive(name)).is_file() or path.read_bytes() != archive
    ]
    with Ledger.open(str(folder / "ledger.sqlite")) as ledger:
        for record in ledger.list():
            promised = hashlib.md5(archives[record.id]).hexdigest() if record.id in archives else None
            if record.state != "fetched" or record.claimed_by or record.checksum != f"md5:{promised}":
                wrong.append(f"{record.id}: {record.state}, {record.reason}, held by {record.claimed_by}")
        wrong += ledger.outdated()
        if (rows := len(ledger.list())) != len(archives):
            wrong.append(f"{rows} rows in the ledger")
    SceneFolder(scenes).tidy(days=7)  # locks of the killed; parts are not touched
    expected = {f"{name}.SAFE.zip" for name in archives} | {f".{name}.json" for name in archives}
    return wrong + [f"left over: {path.name}" for path in scenes.iterdir() if path.name not in expected]


def summary(arguments: argparse.Namespace, server: SceneServer, archives: dict[str, bytes | Path]) -> dict[str, object]:
    """What was served."""
    served = Counter(one.fault for one in server.requests if one.fault)
    whole = sum(len(archive) for archive in archives.values() if isinstance(archive, bytes))
    return {
        "scenes": arguments.scenes,
        "seed": arguments.seed,
        "requests": len(server.requests),
        "faults": sum(served.values()),
        "by kind": {kind: served[kind] for kind in sorted(set(PASSING))},
        "resumed": sum(one.status == 206 for one in server.requests),
        "bytes sent over bytes of the scenes": round(sum(one.sent for one in server.requests) / whole, 2),
    }


if __name__ == "__main__":
    main()
