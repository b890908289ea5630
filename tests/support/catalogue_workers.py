"""Processes for the tests of the catalogue: ``python -m tests.support.catalogue_workers race|kill CATALOGUE``.

One process imports what is needed, then forks those that matter: a forked one starts in no time, and is as real.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ingest.errors import SlickwatchError
from outputs.catalogue import Catalogue, Selection
from tests.support.catalogue_results import FOOTPRINT, flaws, record, scene_number, squares, table

WRITERS, SCENES = 4, 3


def race(path: Path) -> None:
    """Writers that begin the catalogue together, publish scenes of their own and one that all have, and review it."""
    lines, talk = os.pipe()
    children = [forked(lambda me=me: compete(path, me, talk)) for me in range(WRITERS)]
    os.close(talk)
    codes = [os.waitpid(child, 0)[1] for child in children]
    with os.fdopen(lines) as said:
        print(json.dumps({"codes": codes, "again": [json.loads(line) for line in said]}))


def compete(path: Path, me: int, talk: int) -> None:
    catalogue = Catalogue.open(path, lock_timeout_s=60)
    for number in [0, *range(1 + me * SCENES, 1 + (me + 1) * SCENES)]:
        scene = scene_number(number)
        outlines = squares(20, prefix=f"{number}-")
        run = f"writer-{me}-{number}"
        published = catalogue.publish(record(run, scene, 20), scene, FOOTPRINT, table(run, outlines, scene))
        if number == 0:
            os.write(talk, f"{json.dumps(published.repeated)}\n".encode())
            catalogue.review("0-0", "confirmed", f"writer {me}")
        assert len(catalogue.slicks(Selection(since=scene.acquired_start, until=scene.acquired_start))) == 20


def kill(path: Path, rounds: int = 12) -> None:
    """Kill a writer again and again, most often in mid-transaction; say how often so, and what was broken then."""
    Catalogue.open(path)
    chance, inside, wrong = random.Random(5), 0, []
    for round_ in range(rounds):
        steps, talk = os.pipe()
        child = forked(lambda r=round_, t=talk: publish_for_ever(path, r, t))
        os.close(talk)
        read_steps(steps, b"()(")  # the first one is slow
        began = time.monotonic()
        read_steps(steps, b")(")
        time.sleep(chance.uniform(0.0, time.monotonic() - began))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(steps, "rb") as said:
            inside += said.read()[-1:] != b")"
        wrong += [*flaws(path), *Catalogue.open(path).disagreements(dict)]
    print(json.dumps({"inside": inside, "published": len(Catalogue.open(path).runs()), "wrong": wrong}))


def read_steps(steps: int, expected: bytes) -> None:
    for step in expected:
        assert os.read(steps, 1) == bytes([step])


def publish_for_ever(path: Path, round_: int, talk: int) -> None:
    """One scene over and over: each time with another model, so that much is moved."""
    catalogue, turn = Catalogue.open(path), 0
    while True:
        run, turn = f"run-{round_}-{turn}", turn + 1
        outlines = squares(60, prefix=f"{run}-")
        done, slicks = record(run, slick_count=60, weights_sha256=run), table(run, outlines)
        os.write(talk, b"(")
        catalogue.publish(done, scene_number(0), FOOTPRINT, slicks)
        os.write(talk, b")")


def forked(work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    with suppress(SlickwatchError, BrokenPipeError):
        try:
            work()
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    return 0


if __name__ == "__main__":
    {"race": race, "kill": kill}[sys.argv[1]](Path(sys.argv[2]))
