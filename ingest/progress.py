"""Progress on stderr: a bar on a terminal, one line per step elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Advance = Callable[[int, int], None]  # units done, units in all


@contextmanager
def step(name: str) -> Iterator[Advance]:
    """Show one step of the work; call the value with (done, total) as it progresses."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        began = time.perf_counter()
        yield lambda done, total: None
        console.print(f"{name}: {time.perf_counter() - began:.1f} s", markup=False)
        return
    columns = (
        TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(name, total=1)
        yield lambda done, total: progress.update(bar, completed=done, total=total)
        progress.update(bar, completed=progress.tasks[0].total or 1, total=progress.tasks[0].total or 1)
