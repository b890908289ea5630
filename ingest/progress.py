"""Progress of long steps on stderr: a bar on a terminal, elsewhere lines with percent and time left."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import partial

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

Advance = Callable[[int, int], None]  # units done, units in all; 0 in all: unknown
Begin = Callable[[str], AbstractContextManager[Advance]]  # a step of this name, while inside

EVERY_S = 30.0  # between lines
PATIENCE_S = 1.0  # before the first: a step that fails at once has nothing to tell but the failure
_SPEED_OVER_S = 600.0  # the time left follows from the speed of the last ten minutes
_TO: ContextVar[Callable[[str], None] | None] = ContextVar("progress", default=None)


@contextmanager
def lines_to(write: Callable[[str], None]) -> Iterator[None]:
    """Have the steps inside tell their progress as lines to `write`, such as a log, instead of stderr."""
    token = _TO.set(write)
    try:
        yield
    finally:
        _TO.reset(token)


@contextmanager
def step(name: str) -> Iterator[Advance]:
    """Show one step of the work; call the value with (done, total) as it progresses.

    Elsewhere than on a terminal these are lines: one when it has begun, one every half minute, one when it is done.
    """
    with _shown(TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn()) as begin, begin(name) as shown:
        yield shown


@contextmanager
def downloads() -> Iterator[Begin]:
    """Show several downloads at a time; open the value with the name of each, and call that with its bytes."""
    with _shown(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()) as begin:
        yield begin


def download_name(scene_id: str) -> str:
    """The name of a scene's download: as much of the id as tells it from others and fits beside a bar."""
    return f"fetch {scene_id[:32]}"


@contextmanager
def unseen(name: str) -> Iterator[Advance]:
    """A step that nobody watches."""
    yield lambda done, total: None


@contextmanager
def _shown(*columns: ProgressColumn) -> Iterator[Begin]:
    """Draw steps on a terminal; elsewhere keep Rich's record of them and tell it in lines."""
    write = _TO.get() or (None if _is_terminal() else _print)
    progress = Progress(
        *columns, TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False), disable=write is not None,
        # Results printed meanwhile stay on stdout where that is a file or a pipe.
        redirect_stdout=sys.stdout.isatty(), speed_estimate_period=_SPEED_OVER_S,
    )  # fmt: skip
    with progress, nullcontext() if write is None else _lines(progress, write):
        yield partial(_begun, progress, write or (lambda line: None))


@contextmanager
def _begun(progress: Progress, write: Callable[[str], None], name: str) -> Iterator[Advance]:
    id = progress.add_task(name, total=None)
    task = next(one for one in progress.tasks if one.id == id)
    try:
        yield lambda done, total: progress.update(id, completed=done, total=total or None)
        all_of_it = task.total or 1
        progress.update(id, completed=all_of_it, total=all_of_it)
        write(f"{name}: done in {duration(task.elapsed or 0)}")
    finally:
        progress.stop_task(id)


@contextmanager
def _lines(progress: Progress, write: Callable[[str], None]) -> Iterator[None]:
    """Write a line when a step has begun, and how far it is every `EVERY_S` seconds."""
    ended = threading.Event()
    told: dict[TaskID, float] = {}  # seconds after its beginning, of the last line

    def tell() -> None:
        while not ended.wait(PATIENCE_S):
            for task in progress.tasks:
                seconds = task.elapsed or 0.0
                if task.stop_time is None and seconds - told.get(task.id, -EVERY_S) >= EVERY_S:
                    write(f"{task.description}: {_state(task) if task.id in told else 'started'}")
                    told[task.id] = seconds

    teller = threading.Thread(target=tell, name="progress", daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()


def duration(seconds: float) -> str:
    """Seconds in words, such as ``4.2 s``, ``3 min 20 s`` and ``2 h 5 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _state(task: Task) -> str:
    if not task.total:
        return f"{duration(task.elapsed or 0)} so far"
    left = task.time_remaining
    return f"{int(task.percentage)} %" + ("" if left is None else f", {_left(left)} left")


def _left(seconds: float) -> str:
    """An estimate, no finer than it deserves."""
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def _is_terminal() -> bool:
    return sys.stderr.isatty() and not Console(stderr=True).is_dumb_terminal


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
