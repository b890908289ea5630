"""The log of a training: rows that will be written anew go, and so does one that a kill cut short."""

from models.training.options import changed, flat
from models.training.segmentation_options import TrainOptions
from models.training.state import keep_rows, log_row, with_stored_parts


def test_a_resumed_training_keeps_its_parts_whatever_a_new_measurement_would_say():
    measured = changed(TrainOptions(), batch_size=8, memory_gb=2.0)
    state = {"options": flat(changed(measured, accumulate=4))}
    assert with_stored_parts(measured, state).memory.accumulate == 4
    given = changed(TrainOptions(), batch_size=8, accumulate=2)
    assert with_stored_parts(given, state).memory.accumulate == 2


def test_rows_up_to_the_state_are_kept(tmp_path):
    log = tmp_path / "log.csv"
    for step in (10, 20, 30):
        log_row(log, {"step": step, "loss": 0.5})
    keep_rows(log, 20)
    assert log.read_text() == "step,loss\n10,0.5\n20,0.5\n"
    log_row(log, {"step": 30, "loss": 0.4})
    assert log.read_text().splitlines()[-1] == "30,0.4"
    keep_rows(log, 5)
    assert not log.exists()


def test_a_log_cut_short_loses_its_last_row_alone(tmp_path):
    log = tmp_path / "log.csv"
    for rest in ("30", "30,", "30,0.", ""):
        log.write_text(f"step,loss\n10,0.5\n20,0.5\n{rest}")
        keep_rows(log, 30)
        assert log.read_text() == "step,loss\n10,0.5\n20,0.5\n"
    log.write_text("")
    keep_rows(log, 30)
    assert not log.exists()
    keep_rows(log, 30)
