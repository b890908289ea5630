"""Training learns, stops and goes on exactly, and says what it was given wrongly."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ingest.errors import UsageError
from models.checkpoint import load_model
from models.metrics import confusion_matrix, intersection_over_union, precision, recall
from models.train import TrainOptions, learning_rate, read_options, train

TINY = TrainOptions(steps=4, batch_size=2, crop=64, warm_up=1, validate_every=2, validation_chips=2, workers=0)


def quiet(line):
    return None


def weights(folder):
    return load_model(str(folder))[0].state_dict()


def test_an_interrupted_training_goes_on_to_what_an_uninterrupted_one_gives(tmp_path):
    train(TINY, tmp_path / "whole", report=quiet)

    def stop(line):
        if line.startswith("step 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(TINY, tmp_path / "parts", report=stop)
    said = []
    train(TINY, tmp_path / "parts", resume=True, report=said.append)
    assert said[0].startswith("resuming at step 2")
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, weights(tmp_path / "parts")[name]), name


def test_a_training_may_start_from_another_models_weights(tmp_path):
    train(TINY, tmp_path / "first", report=quiet)
    still = replace(TINY, steps=1, learning_rate=0.0, weight_decay=0.0, start=str(tmp_path / "first"))
    train(still, tmp_path / "second", report=quiet)
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    learned = [name for name in first if "running" not in name and "num_batches" not in name]
    assert all(torch.equal(first[name], second[name]) for name in learned)


def test_another_schedule_is_not_resumed(tmp_path):
    train(replace(TINY, steps=2), tmp_path, report=quiet)
    with pytest.raises(UsageError, match="another steps"):
        train(TINY, tmp_path, resume=True, report=quiet)


def test_the_checkpoint_tells_what_it_was_trained_on_and_the_log_is_kept(tmp_path):
    checkpoint = train(TINY, tmp_path / "model", report=quiet)
    assert checkpoint.training["options"]["steps"] == 4
    assert set(checkpoint.metrics["simulated_validation"]) >= {"oil_iou", "miou", "oil_precision", "oil_recall"}
    rows = (tmp_path / "model" / "log.csv").read_text().splitlines()
    assert rows[0].startswith("step,loss,")
    assert [row.split(",")[0] for row in rows[1:]] == ["2", "4"]
    assert json.loads((tmp_path / "model" / "checkpoint.json").read_text())["id"] == "model"


def test_a_few_steps_on_one_chip_lower_the_loss(tmp_path):
    options = replace(TINY, steps=30, validate_every=10, learning_rate=3e-3, validation_chips=1)
    train(options, tmp_path, report=quiet)
    losses = [float(row.split(",")[1]) for row in (tmp_path / "log.csv").read_text().splitlines()[1:]]
    assert losses[-1] < losses[0]


def test_the_learning_rate_rises_then_falls():
    options = TrainOptions(steps=100, warm_up=10, learning_rate=1.0)
    rates = [learning_rate(step, options) for step in range(100)]
    assert rates[9] == pytest.approx(1.0)
    assert np.all(np.diff(rates[:10]) > 0)
    assert np.all(np.diff(rates[10:]) < 0)
    assert rates[-1] == pytest.approx(0.01, abs=0.01)


def test_options_come_from_toml_and_unknown_ones_are_refused(tmp_path):
    config = tmp_path / "c.toml"
    config.write_text("steps = 7\nseed = 3\n")
    assert read_options(config) == TrainOptions(steps=7, seed=3)
    config.write_text("stepps = 7\n")
    with pytest.raises(UsageError, match="stepps"):
        read_options(config)
    config.write_text("steps = \n")
    with pytest.raises(UsageError, match="TOML"):
        read_options(config)


def test_the_shipped_configuration_is_valid():
    assert read_options(Path(__file__).parents[1] / "configs" / "saross-nano.toml").encoder == "nano"


def test_scores_by_hand():
    truth = np.array([0, 0, 0, 1, 1, 2, 255])
    predicted = np.array([0, 0, 1, 1, 0, 2, 1])
    confusion = confusion_matrix(truth, predicted, 4)
    assert confusion.sum() == 6
    iou = intersection_over_union(confusion)
    assert iou[:3].tolist() == pytest.approx([2 / 4, 1 / 3, 1])
    assert np.isnan(iou[3])
    assert precision(confusion, 1) == pytest.approx(1 / 2)
    assert recall(confusion, 0) == pytest.approx(2 / 3)
    assert np.isnan(precision(confusion, 3))
