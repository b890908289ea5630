"""Counts against the published ones and against sums by hand; the benches run and say what they promise."""

import pytest
import torch
from torch import nn

from ingest.errors import UsageError
from models.networks.benchmark import MODES, bench_predict, bench_scan, bench_skips
from models.networks.cost import Cost, network_cost, table_7
from models.networks.mambavision import SIZES, MambaVision, MambaVisionMixer
from models.networks.resnet import ResNet34

# The authors' table (arXiv 2407.08083), G at 224 x 224, which knows neither scan nor (it seems) attention.
PUBLISHED_G = {"T": 4.4, "T2": 5.1, "S": 7.5, "B": 15.0, "L": 34.9}


@pytest.mark.parametrize("name", ["T", "B"])
def test_macs_without_the_scan_are_close_to_the_published_flops(name):
    cost = network_cost(lambda: MambaVision(SIZES[name]), (1, 3, 224, 224))
    assert (cost.macs - cost.scan_macs) / 1e9 == pytest.approx(PUBLISHED_G[name], rel=0.04)


def test_resnet34_has_torchvisions_macs():
    cost = network_cost(ResNet34, (1, 3, 224, 224))
    assert cost.macs / 1e9 == pytest.approx(3.66, abs=0.005)
    assert cost == Cost(21_797_672 - 513 * 1000, cost.macs, 0)


def test_a_convolution_and_a_scan_are_counted_as_by_hand():
    assert network_cost(lambda: nn.Conv2d(3, 5, 3, padding=1), (2, 3, 8, 9)) == Cost(140, 2 * 8 * 9 * 3 * 5 * 9, 0)

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.mixer = MambaVisionMixer(32, states=8)

        def forward(self, image):
            return self.mixer(image.flatten(2).transpose(1, 2))

    cost = network_cost(Tokens, (2, 32, 4, 5))
    assert cost.scan_macs == 2 * 20 * 16 * (4 * 8 + 1)
    by_hand = 2 * 20 * (32 * 32 + 2 * 16 * 3 + 16 * (2 + 16) + 2 * 16 + 32 * 32)
    assert cost.macs - cost.scan_macs == by_hand


def test_table_7_counts_what_each_skip_module_adds():
    rows = {row["skip"]: row for row in table_7("nano", 64)}
    assert list(rows) == ["none", "conv", "caft"]
    assert rows["none"]["more_params_m"] == rows["none"]["more_gmacs"] == 0
    # Channels 24, 32, 64, 128, 256; nodes with rows (0, 1) three times, (1, 2) twice, (2, 3) once.
    pairs = [(24, 32, 32)] * 3 + [(32, 64, 16)] * 2 + [(64, 128, 8)]
    parameters = sum(9 * (high + low) * high + 2 * high for high, low, _ in pairs)
    macs = sum(9 * (high + low) * high * side**2 for high, low, side in pairs)
    assert rows["conv"]["more_params_m"] == round(parameters / 1e6, 2)
    assert rows["conv"]["more_gmacs"] == round(macs / 1e9, 2)
    assert 0 < rows["caft"]["more_params_m"] < rows["conv"]["more_params_m"]
    assert rows["caft"]["paper_ms"] == 45.28


def test_counting_leaves_the_machine_alone():
    state = torch.random.get_rng_state()
    network_cost(lambda: MambaVision(SIZES["nano"]), (1, 3, 64, 64))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_bench_predict_reports_rows_with_times_memory_and_the_ratio_to_the_loop():
    reported = []
    modes = ("float32, scan as a loop", "bfloat16 autocast, channels last")
    rows = bench_predict(reported.append, 64, ("nano",), (4, 4), repeats=1, modes=modes, parts=("encoder",))
    assert rows == reported
    assert [row["mode"] for row in rows] == list(modes)
    assert all(row["ms"] > 0 and row["cpu_ms"] > 0 and row["windows"] == (4, 4) for row in rows)
    assert rows[0]["times_faster"] == 1
    assert rows[1]["times_faster"] == pytest.approx(rows[0]["cpu_ms"] / rows[1]["cpu_ms"], abs=0.01)


def test_bench_scan_reports_forward_and_backward():
    rows = bench_scan(lambda row: None, shape=(1, 4, 5, 2), repeats=1, scans=("torch",))
    assert rows[0]["scan"] == "torch"
    assert rows[0]["forward_backward_ms"] > 0


def test_bench_skips_puts_time_beside_the_counts(monkeypatch):
    monkeypatch.setattr(
        "models.networks.benchmark.table_7", lambda encoder, size: [{"skip": "none", "paper_ms": 39.52}]
    )
    row = bench_skips(lambda row: None, 32, "nano", repeats=1)[0]
    assert row["skip"] == "none"
    assert row["paper_ms"] == 39.52
    assert row["ms"] > 0
    assert row["cpu_ms"] > 0


@pytest.mark.parametrize("wrong", [{"modes": ("int4",)}, {"parts": ("half",)}])
def test_unknown_names_are_refused(wrong):
    with pytest.raises(UsageError, match="known are"):
        bench_predict(lambda row: None, 64, ("nano",), **wrong)
    assert "float32" in MODES
