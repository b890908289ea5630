"""State and log of a training: damage is named, and rows that will be written anew go, as does one cut short."""

from contextlib import suppress

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import ModelError, StorageError
from models.networks.build import NETWORKS
from models.training.options import changed, flat
from models.training.segmentation import train
from models.training.segmentation_options import TrainOptions
from models.training.state import keep_rows, load_state, log_row, save_state, stored_parts


def test_a_resumed_training_keeps_its_parts_whatever_a_new_measurement_would_say():
    measured = changed(TrainOptions(), batch_size=8, memory_gb=2.0)
    state = {"options": flat(changed(measured, accumulate=4))}
    assert stored_parts(measured, state) == 4
    assert stored_parts(changed(measured, accumulate=8), state) == 8
    assert stored_parts(changed(measured, memory_gb=1.0), state) is None
    assert stored_parts(changed(measured, devices=2), state) is None
    given = changed(TrainOptions(), batch_size=8, accumulate=2)
    assert stored_parts(given, state) is None


@pytest.fixture(scope="module")
def state_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("state") / "state.pt"
    save_state(path, {"network": {"a": torch.arange(200.0)}, "step": 3})
    return path, path.read_bytes()


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_damaged_state_is_used(state_file, place, bit):
    """Wherever one bit is turned, the state is refused, or what it holds is what was saved."""
    path, content = state_file
    damaged = bytearray(content)
    damaged[int(place * len(content))] ^= 1 << bit
    path.write_bytes(damaged)
    with suppress(ModelError):
        found = load_state(path, torch.device("cpu"))
        assert found["step"] == 3
        assert torch.equal(found["network"]["a"], torch.arange(200.0))


@pytest.mark.parametrize("other", [[1, 2], "text", None, {1, 2}])
def test_another_file_of_pytorch_is_no_state(tmp_path, other):
    torch.save(other, tmp_path / "state.pt")
    with pytest.raises(ModelError, match="not the state of a training"):
        load_state(tmp_path / "state.pt", torch.device("cpu"))


def test_a_state_that_may_not_be_read_is_not_called_damaged(tmp_path):
    (tmp_path / "state.pt").mkdir()
    with pytest.raises(StorageError, match=r"state\.pt"):
        load_state(tmp_path / "state.pt", torch.device("cpu"))


@pytest.mark.parametrize("missing", ["network", "averaged", "optimiser", "step"])
def test_a_state_without_a_part_is_one_line(tmp_path, missing):
    options = changed(
        TrainOptions(), steps=1, batch_size=2, crop=32, warm_up=1, validate_every=1, validation_chips=1, workers=0,
        half_precision=False, network="convolution",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "convolution", lambda architecture: torch.nn.Conv2d(1, architecture.classes, 1))
        train(options, tmp_path / "m", report=quiet)
        path = tmp_path / "m" / "state.pt"
        state = torch.load(path, weights_only=True)
        torch.save({name: value for name, value in state.items() if name != missing}, path)
        with pytest.raises(ModelError, match=r"state\.pt: damaged or not the state of a training; train in another"):
            train(options, tmp_path / "m", resume=True, report=quiet)


def quiet(line):
    return None


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
