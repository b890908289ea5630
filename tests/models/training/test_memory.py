"""What a step takes of memory, and the parts that fit a budget."""

import pytest
import torch
from torch import nn

from ingest.errors import UsageError
from models.checkpoint import load_model
from models.training.memory import _resident, as_it_was, bytes_of_moments_to_come, fitted_accumulation, peak_estimate
from models.training.options import changed
from models.training.segmentation import train
from models.training.segmentation_options import TrainOptions

CPU = torch.device("cpu")
MB = 1e6
TINY = changed(
    TrainOptions(), steps=2, batch_size=4, crop=64, warm_up=1, validate_every=2, validation_chips=1, workers=0,
    half_precision=False,
)  # fmt: skip


def squares(megabytes, tried=None):
    """A step that keeps one tensor of so many megabytes for each item: x**2 needs x.

    Allocations above 32 MB go back to the system when they are freed, so that tests do not see each other's.
    """

    def step(items):
        if tried is not None:
            tried.append(items)
        x = torch.zeros(items, int(megabytes * MB / 4), requires_grad=True)
        (x**2).sum().backward()

    return step


def test_the_peak_grows_by_what_an_item_keeps():
    peak_of = peak_estimate(squares(8), 16, CPU, fixed_bytes=0)
    # What is saved, and twice the largest of it: here the same tensor.
    assert peak_of(11) - peak_of(1) == pytest.approx(3 * 8 * MB * 10, rel=0.01)
    assert peak_estimate(squares(8), 16, CPU, fixed_bytes=10**9)(1) - peak_of(1) == pytest.approx(1e9, rel=0.1)


def test_a_batch_is_divided_until_it_fits():
    peak_of = peak_estimate(squares(40), 12, CPU)
    tried = []
    parts, peak = fitted_accumulation(squares(40, tried), 12, peak_of(4) + 60 * MB, CPU)
    assert parts == 3
    assert peak <= peak_of(4) + 60 * MB
    assert max(tried) == 2  # it never tries what may not fit
    assert fitted_accumulation(squares(40), 12, 1e12, CPU)[0] == 1
    assert fitted_accumulation(squares(40), 12, 1e12, CPU, least=4)[0] == 4


def test_parts_are_equal():
    peak_of = peak_estimate(squares(40), 12, CPU)
    assert fitted_accumulation(squares(40), 12, peak_of(5) + 60 * MB, CPU)[0] == 3  # of four, not five


def test_one_item_too_many_is_said():
    with pytest.raises(UsageError, match=r"one item at a time takes about .* of a budget of 0\.01 GB; raise memory_gb"):
        fitted_accumulation(squares(40), 4, 0.01e9, CPU)


def test_a_trial_leaves_no_trace():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    with as_it_was(network):
        network.train()
        network(torch.randn(2, 1, 8, 8)).sum().backward()
        assert not torch.equal(network[1].running_mean, before["1.running_mean"])
    assert torch.equal(torch.rand(4), expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    assert not network.training


def test_moments_are_two_times_the_trained_weights_until_they_are_there():
    network = nn.Linear(10, 5)
    network.bias.requires_grad_(False)
    optimiser = torch.optim.AdamW(network.parameters())
    assert bytes_of_moments_to_come(optimiser) == 2 * 50 * 4
    network(torch.ones(1, 10)).sum().backward()
    optimiser.step()
    assert bytes_of_moments_to_come(optimiser) == 0


def test_gradients_count_once():
    """Of 40 MB of weights a step takes 40 MB more for the gradients and 80 MB for the moments, which resuming loads."""
    network = nn.Linear(10_000, 1000, bias=False)
    optimiser = torch.optim.AdamW(network.parameters(), foreach=False)
    seen = torch.ones(1, 10_000)

    def step(items):
        network(seen).sum().backward()

    def more():
        with as_it_was(network):
            before = _resident()
            return peak_estimate(step, 1, CPU, bytes_of_moments_to_come(optimiser))(1) - before

    assert more() == pytest.approx(120 * MB, abs=20 * MB)
    step(1)
    optimiser.step()
    network.zero_grad(set_to_none=True)
    assert more() == pytest.approx(40 * MB, abs=20 * MB)


def test_a_training_says_its_memory_first_and_divides_its_batches_to_fit(tmp_path):
    said = []
    train(TINY, tmp_path / "whole", report=said.append)
    line = said[0].split()
    assert line[0] == "about"
    assert said[0].endswith("GB for parts of 4")
    with pytest.raises(UsageError, match="one item at a time takes about"):
        train(changed(TINY, memory_gb=0.01), tmp_path / "small", report=quiet)
    assert not (tmp_path / "small").exists()
    train(changed(TINY, memory_gb=100.0, accumulate=2), tmp_path / "parts", report=said.append)
    assert any(line.endswith("GB for parts of 2") for line in said)
    assert load_model(str(tmp_path / "parts"))[1].training["options"]["accumulate"] == 2


def quiet(line):
    return None
