"""Time and memory of fetching a large scene over loopback, beside curl: docs/results/0005-fetching.md.

python -m benchmarks.download_speed [--megabytes 1000] [--repeats 3]

Each repeat runs, in turn: curl; curl with what `fetch` does beyond it (md5sum, sync); `fetch` with an MD5; with a
BLAKE3. One row of JSON for each, and one with the medians and their ratios to curl.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import blake3

from ingest.download import FetchOptions, fetch
from ingest.scene import Scene, scene_from_name
from tests.support.http_scenes import HttpScenes, SceneServer, scene_names, serving

NAME = scene_names(1)[0]


def main() -> None:
    """Serve one large file from a process of its own, and fetch it time and again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--fetch", nargs=3, metavar=("ADDRESS", "CHECKSUM", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
    elif arguments.fetch:
        fetch_once(*arguments.fetch)
    else:
        with tempfile.TemporaryDirectory() as folder:
            compare(Path(folder), arguments.megabytes, arguments.repeats)


def serve(archive: Path) -> None:
    """Answer by sendfile until standard input ends."""
    with serving(SceneServer({NAME: archive})) as server:
        print(server.address, flush=True)
        sys.stdin.read()


def fetch_once(address: str, checksum: str, folder: str) -> None:
    """Fetch in this process and tell its seconds, its CPU seconds and its memory before and at the peak."""
    source, scene = HttpScenes(address), the_scene(checksum)
    before, began, cpu = peak_memory(), time.perf_counter(), time.process_time()
    path = fetch(source, scene, folder, FetchOptions(margin=0))
    figures = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
    print(json.dumps(figures | {"peak_mb": peak_memory(), "peak_before_mb": before, "bytes": path.stat().st_size}))
    source.close()


def peak_memory() -> float:
    """Largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def the_scene(checksum: str) -> Scene:
    return replace(scene_from_name(NAME), source="http", checksum=checksum, key=NAME)


def compare(folder: Path, megabytes: int, repeats: int) -> None:
    """Run all ways in turn, so that a change of the machine's load meets them alike."""
    archive, checksums = large_file(folder / "archive", megabytes)
    command = [sys.executable, "-m", "benchmarks.download_speed", "--serve", str(archive)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        out = folder / "out"
        ways: dict[str, Callable[[], dict[str, float]]] = {
            "curl": lambda: curl(address, out, ""),
            "curl, md5sum, sync": lambda: curl(address, out, "&& md5sum {0} && sync {0}"),
            "fetch, md5": lambda: fetch_apart(address, checksums["md5"], out),
            "fetch, blake3": lambda: fetch_apart(address, checksums["blake3"], out),
        }
        rows = run_all(ways, out, repeats)
        server.communicate()
    print(json.dumps({"megabytes": megabytes, "medians": medians(rows)}))


def run_all(
    ways: dict[str, Callable[[], dict[str, float]]], out: Path, repeats: int
) -> dict[str, list[dict[str, float]]]:
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for number in range(repeats):
        for way, measure in ways.items():
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            os.sync()  # what the last one left to write is not this one's
            rows[way].append(measure())
            load = round(os.getloadavg()[0], 1)
            figures = {key: round(value, 2) for key, value in rows[way][-1].items()}
            print(json.dumps({"way": way, "repeat": number, "load": load} | figures), flush=True)
    return rows


def curl(address: str, out: Path, then: str) -> dict[str, float]:
    """Download with curl, and what comes after it in the shell."""
    target = shlex.quote(str(out / "curl"))
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = f"curl --silent --fail --output {target} {address}/{NAME} {then.format(target)}"
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu_seconds": cpu}


def fetch_apart(address: str, checksum: str, out: Path) -> dict[str, float]:
    """`fetch_once` in a fresh process, whose start is not counted."""
    command = [sys.executable, "-m", "benchmarks.download_speed", "--fetch", address, checksum, str(out)]
    answer: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return answer


def medians(rows: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Of each way and figure, with the ratios of times to curl's; of memory, the largest."""
    result = {}
    for way, some in rows.items():
        result[way] = {key: round(median(row[key] for row in some), 2) for key in ("seconds", "cpu_seconds")}
        for key in ("seconds", "cpu_seconds"):
            ratio = median(row[key] for row in some) / median(row[key] for row in rows["curl"])
            result[way][f"{key} over curl"] = round(ratio, 2)
        if "peak_mb" in some[0]:
            result[way]["peak_mb"] = round(max(row["peak_mb"] for row in some), 1)
    return result


def large_file(path: Path, megabytes: int) -> tuple[Path, dict[str, str]]:
    """Random bytes, and their checksums."""
    md5, other = hashlib.md5(), blake3.blake3()
    with open(path, "wb") as file:
        for _ in range(megabytes):
            block = os.urandom(1_000_000)
            file.write(block)
            md5.update(block)
            other.update(block)
    return path, {"md5": f"md5:{md5.hexdigest()}", "blake3": f"blake3:{other.hexdigest()}"}


if __name__ == "__main__":
    main()
