"""Cached steps: reused, resumed, begun anew, and run again where their files are damaged."""

import json
import multiprocessing
from pathlib import Path

import pytest

from ingest.errors import UsageError
from models.retraining.steps import DONE, RESUME, exclusive, remove_other_steps, run_step, step_key


class Work:
    """A step's body that counts how often it is done, and writes a file by its number."""

    def __init__(self, fails=False):
        self.times, self.fails, self.found = 0, fails, []

    def __call__(self, folder: Path):
        self.times += 1
        self.found = sorted(path.name for path in folder.iterdir())
        (folder / "part").mkdir(exist_ok=True)
        (folder / "part" / "result.txt").write_text("whole")
        (folder / RESUME).write_text("to go on from")
        if self.fails:
            raise RuntimeError("killed")
        return {"times": self.times, "pair": (1, 2)}


def done(tmp_path, work, depends_on=None, **how):
    return run_step(tmp_path, "step", depends_on or {"data": "abc"}, work, **how)


def state(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_a_finished_step_is_found_untouched(tmp_path):
    work = Work()
    first = done(tmp_path, work)
    before = state(first.folder)
    again = done(tmp_path, work)
    assert (work.times, first.reused, again.reused) == (1, False, True)
    assert first.value == again.value == {"times": 1, "pair": [1, 2]}
    assert state(again.folder) == before
    assert sorted(path.name for path in before) == [DONE, "result.txt"]  # nothing to go on from is kept


def test_other_inputs_or_other_code_are_another_step(tmp_path):
    key = step_key("step", {"data": "abc"}, Work.__module__)
    assert key != step_key("step", {"data": "abd"}, Work.__module__)
    assert key != step_key("step", {"data": "abc"}, "models.retraining.budget")
    assert key != step_key("other", {"data": "abc"}, Work.__module__)
    assert done(tmp_path, Work()).folder.name == f"step-{key}"
    assert done(tmp_path, Work(), {"data": "abd"}).folder != done(tmp_path, Work()).folder


@pytest.mark.parametrize(("resumable", "found"), [(True, ["part", RESUME]), (False, [])])
def test_an_interrupted_step_is_gone_on_with_where_it_can_be(tmp_path, resumable, found):
    with pytest.raises(RuntimeError, match="killed"):
        done(tmp_path, Work(fails=True), resumable=resumable)
    work = Work()
    assert not done(tmp_path, work, resumable=resumable).reused
    assert work.found == found


@pytest.mark.parametrize("harm", ["changed", "gone", "torn record"])
@pytest.mark.parametrize("resumable", [True, False])
def test_a_damaged_step_is_done_again_from_nothing(tmp_path, harm, resumable, capsys):
    work = Work()
    folder = done(tmp_path, work, resumable=resumable).folder
    result = folder / "part" / "result.txt"
    if harm == "changed":
        result.write_text("whale")
    elif harm == "gone":
        result.unlink()
    else:
        (folder / DONE).write_text((folder / DONE).read_text()[:40])
    again = done(tmp_path, work, resumable=resumable)
    assert work.times == 2
    assert not again.reused
    assert result.read_text() == "whole"
    assert json.loads((folder / DONE).read_text())["files"].keys() == {"part/result.txt"}
    if harm != "torn record":
        assert work.found == []
        assert "running it again" in capsys.readouterr().out


def _work_in(folder, entered, leave):
    with exclusive(folder):
        entered.set()
        leave.wait(60)


def test_two_retrainings_never_share_a_folder(tmp_path):
    context = multiprocessing.get_context("fork")
    entered, leave = context.Event(), context.Event()
    other = context.Process(target=_work_in, args=(tmp_path, entered, leave))
    other.start()
    try:
        assert entered.wait(60)
        with pytest.raises(UsageError, match="another retraining is running here"), exclusive(tmp_path):
            pass
    finally:
        leave.set()
        other.join(60)
    with exclusive(tmp_path):
        pass


def test_only_steps_of_former_rounds_are_tidied_away(tmp_path):
    kept, former = done(tmp_path, Work()).folder, done(tmp_path, Work(), {"data": "former"}).folder
    (tmp_path / "comparisons" / "some-model").mkdir(parents=True)
    (tmp_path / "pairs").mkdir()
    remove_other_steps(tmp_path, [kept])
    assert kept.is_dir()
    assert not former.exists()
    assert {path.name for path in tmp_path.iterdir()} == {kept.name, "comparisons", "pairs"}
