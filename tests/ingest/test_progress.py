"""Progress of steps: lines where there is no terminal, a bar where there is one, and results left alone."""

import os
import pty
import re
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from ingest import progress
from ingest.progress import downloads, duration, lines_to, step

WORK = """
from ingest.progress import step
with step("predict") as advance:
    for done in range(1, 5):
        print("result", done)
        advance(done, 4)
"""


class Log:
    """Lines that are written to it; the next one can be waited for."""

    def __init__(self):
        self.lines = []
        self._came = threading.Condition()

    def write(self, line):
        with self._came:
            self.lines.append(line)
            self._came.notify_all()

    def wait_for(self, pattern):
        with self._came:
            came = self._came.wait_for(lambda: any(re.fullmatch(pattern, line) for line in self.lines), timeout=120)
            assert came, self.lines


@pytest.fixture
def log(monkeypatch):
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    monkeypatch.setattr(progress, "PATIENCE_S", 0.01)
    log = Log()
    with lines_to(log.write):
        yield log


def test_a_step_tells_that_it_begins_how_far_it_is_and_that_it_is_done(log):
    with step("predict") as advance:
        log.wait_for("predict: started")
        log.wait_for(r"predict: [\d.]+ s so far")
        advance(1, 4)
        log.wait_for("predict: 25 %")
        advance(2, 4)
        log.wait_for(r"predict: 50 %, about \d+ \w+ left")
    assert re.fullmatch(r"predict: done in [\d.]+ s", log.lines[-1])


def test_the_time_left_is_that_of_the_rest_at_the_speed_of_what_this_run_has_done(log, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("rich.console.monotonic", lambda: now[0])
    with step("train") as advance:
        advance(900, 1000)  # resumed: most of it was done before
        now[0] = 60.0
        advance(910, 1000)
        log.wait_for("train: 91 %, about 9 min left")
        now[0] = 100.0
        advance(990, 1000)
        log.wait_for("train: 99 %, about 12 s left")


def test_a_step_that_fails_is_not_called_done(log):
    with suppress(ValueError), step("predict") as advance:
        advance(1, 2)
        log.wait_for("predict: started")
        raise ValueError
    assert not [line for line in log.lines if "done" in line]
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_downloads_are_told_apart_and_a_failed_one_falls_silent(log):
    with downloads() as begin:
        with suppress(ValueError), begin("fetch a") as advance:
            advance(5, 10)
            log.wait_for("fetch a: 50 %")
            raise ValueError
        with begin("fetch b") as advance:
            advance(3, 0)  # of unknown length
            log.wait_for(r"fetch b: [\d.]+ s so far")
        assert re.fullmatch(r"fetch b: done in [\d.]+ s", log.lines[-1])
        begun = log.lines.index("fetch b: started")
        assert all(line.startswith("fetch b: ") for line in log.lines[begun:])


def test_without_a_terminal_lines_go_to_stderr_and_results_to_stdout():
    done = subprocess.run([sys.executable, "-c", WORK], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["result", "1", "result", "2", "result", "3", "result", "4"]
    assert re.fullmatch(r"predict: done in [\d.]+ s", done.stderr.splitlines()[-1])


def test_a_step_that_fails_at_once_leaves_stderr_to_the_failure():
    work = "from ingest.progress import step\nwith step('predict'):\n    raise SystemExit('slickwatch: no space')"
    done = subprocess.run([sys.executable, "-c", work], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "slickwatch: no space\n")


def test_on_a_terminal_a_bar_is_drawn_and_results_in_a_pipe_stay_there():
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    running = subprocess.Popen(
        [sys.executable, "-c", WORK], stdout=subprocess.PIPE, stderr=theirs, env=environment, text=True
    )
    os.close(theirs)
    drawn = b""
    with suppress(OSError):  # at the end of a terminal
        while more := os.read(ours, 4096):
            drawn += more
    os.close(ours)
    out, _ = running.communicate()
    assert running.returncode == 0
    assert out.split() == ["result", "1", "result", "2", "result", "3", "result", "4"]
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", drawn.decode())
    assert re.search(r"predict .*4/4.*100%", text)
    assert "started" not in text


WORDS = {
    0.04: "0.0 s", 59.94: "59.9 s", 59.96: "1 min 0 s", 200: "3 min 20 s", 3599.6: "1 h 0 min", 7500: "2 h 5 min",
}  # fmt: skip


@pytest.mark.parametrize("seconds", WORDS)
def test_durations_in_words(seconds):
    assert duration(seconds) == WORDS[seconds]
