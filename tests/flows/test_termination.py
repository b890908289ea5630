"""The end by SIGTERM: of processes that lose the exception of the signal, each in its own way."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows import termination
from flows.detect import _StopWatch

ROOT = Path(__file__).parents[2]
PROGRAM = """
import signal, subprocess, sys, time
from pathlib import Path
from flows.termination import ending_on_sigterm, require_no_sigterm
from ingest.files import unfinished

def exit(*_):
    sys.exit("by the handler")

signal.signal(signal.SIGTERM, exit)
with ending_on_sigterm(grace={grace}), unfinished(Path(sys.argv[1])) as folder:
    folder.mkdir()
    (folder / "half").write_text("a result")
    child = subprocess.Popen(["sleep", "900"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        print(child.pid, flush=True)
        time.sleep(900)
    except BaseException as error:
        caught = error
    {then}
"""


def ended(folder, grace, then):
    """Exit code, stderr, and whether the child of the process still runs."""
    command = [sys.executable, "-c", PROGRAM.format(grace=grace, then=then), str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        child = int(process.stdout.readline())
        process.terminate()
        err = process.communicate(timeout=300)[1]
    finally:
        process.kill()
    state = Path(f"/proc/{child}/stat")
    return process.returncode, err, state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(
    "then",
    [
        "child.kill(); raise caught",
        "child.kill(); raise ValueError('in its place') from caught",
        "child.kill()",  # as if nothing had been
        "child.kill()\n    while True: require_no_sigterm(); time.sleep(0.01)",  # raised again at the next step
    ],
)
def test_whatever_comes_of_the_exception_the_exit_code_is_that_of_the_signal(tmp_path, then):
    code, err, _ = ended(tmp_path / "folder", 900, then)
    assert code == 143, err
    assert "ended by force" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "then",
    [
        "time.sleep(900)",  # the exception is lost
        "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()",
        "import threading; threading.Thread(target=time.sleep, args=[900]).start()",  # waited for at the end
    ],
)
def test_a_process_that_does_not_end_by_itself_is_ended_with_its_children(tmp_path, then):
    code, err, child_runs = ended(tmp_path / "folder", 0.1, then)
    assert code == 143, err
    assert "slickwatch: not ended 0 s after SIGTERM, hence ended by force" in err
    assert not child_runs
    assert list(tmp_path.iterdir()) == []


def test_without_the_signal_nothing_happens():
    program = """
import signal
from flows.termination import ending_on_sigterm, require_no_sigterm
for _ in range(3):
    with ending_on_sigterm():
        require_no_sigterm()
assert signal.set_wakeup_fd(-1) == -1
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_the_exception_of_a_signal_is_raised_again_before_the_next_step_of_a_detection(monkeypatch):
    class Ended(BaseException):
        pass

    def handler(*_):
        raise Ended

    monkeypatch.setattr(termination._asked, "is_set", lambda: True)
    former = signal.signal(signal.SIGTERM, handler)
    try:
        with pytest.raises(Ended):
            _StopWatch()("predict", lambda: pytest.fail("begun"))
    finally:
        signal.signal(signal.SIGTERM, former)
