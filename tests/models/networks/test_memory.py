"""The memory that predicting takes, against sums by hand."""

import torch
from torch import nn

from models.networks.memory import LiveTensors, inference_peak


def test_what_is_alive_at_once_counts_and_what_is_gone_does_not():
    x = torch.zeros(1000)
    with torch.inference_mode(), LiveTensors() as live:
        a = x + 1  # 4000 bytes
        b = a * 2  # 8000
        view = b[:10]  # nothing new
        del a, b  # 4000: the view holds them
        c = view.double().sum()
        assert float(c) == 20
        at_end = live.now
    assert 8000 <= live.peak <= 8100
    assert 4000 <= at_end <= 4100


def test_the_peak_grows_by_item_with_the_largest_pair_of_maps():
    network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))
    peak = inference_peak(lambda n: network(torch.zeros(n, 1, 32, 32)), torch.device("cpu"))
    map_bytes, image_bytes = 8 * 32 * 32 * 4, 32 * 32 * 4
    assert peak(1) >= 2 * map_bytes  # before and behind the ReLU
    assert peak(1) <= 3 * map_bytes + 3 * image_bytes
    assert peak(9) - peak(8) == peak(2) - peak(1) > 0
