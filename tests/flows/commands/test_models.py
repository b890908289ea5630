"""`slickwatch models`: what is at hand, which one is used, and how to change that."""

from __future__ import annotations

import json
import os
import re
import shutil

import pytest
import torch
from torch import nn

from ingest.errors import ModelError
from models import checkpoint
from models.checkpoint import default_model_id, model_folder, save_model, shipped_models
from models.networks.architecture import Architecture
from models.networks.build import NETWORKS
from models.registry.inventory import compare_metrics, find_model, provenance_of
from models.registry.records import Provenance
from models.registry.registry import Registry
from preprocess.options import PreprocessOptions

SHIPPED = default_model_id()
ALL_SHIPPED = shipped_models()


def tiny(architecture):
    return nn.Conv2d(architecture.in_channels, architecture.classes, 1)


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Folders as training leaves them."""
    monkeypatch.setitem(NETWORKS, "tiny", tiny)
    torch.manual_seed(1)
    architecture = Architecture(network="tiny", encoder="nano")
    for id in ("one", "two"):
        training = {"options": {"start": "runs/zero"}}
        save_model(
            tmp_path / "runs" / id, tiny(architecture), architecture, PreprocessOptions(), {"miou": 0.5}, training
        )
    return tmp_path / "runs"


@pytest.fixture
def in_registry(cli, tmp_path):
    """Run `slickwatch models` on a registry of its own."""
    return lambda *arguments: cli("models", *arguments, "--registry", tmp_path / "registry")


def test_the_champion_is_marked_and_shown(in_registry, models, tmp_path):
    shipped = [f"{'*' if id == SHIPPED else ' '} {id}  shipped" for id in ALL_SHIPPED]
    header, *lines = in_registry("list")[1].splitlines()
    assert lines == shipped
    assert header.split() == ["model", "origin"]
    assert header.index("origin") == lines[0].index("shipped")
    assert not (tmp_path / "registry").exists()
    code, out, err = in_registry("promote", models / "one", "--reason", "better")
    assert (code, out, err) == (0, "one is the champion\n", "")
    assert in_registry("promote", models / "two", "--reason", "even better")[1] == "two is the champion, after one\n"
    lines = in_registry("list")[1].splitlines()[1:]
    assert [line[:5] for line in lines[len(ALL_SHIPPED) :]] == ["  one", "* two"]
    assert lines[: len(ALL_SHIPPED)] == [f"  {id}  shipped" for id in ALL_SHIPPED]
    listed = json.loads(in_registry("list", "--json")[1])
    assert (listed["default"], listed["models"], listed["champion"]) == (SHIPPED, ALL_SHIPPED, "two")
    assert [(one["id"], one["champion"]) for one in listed["versions"]] == [("one", False), ("two", True)]
    for champion in (("show",), ("show", "champion")):
        assert json.loads(in_registry(*champion, "--json")[1])["id"] == "two"


def test_a_version_is_shown_with_all_that_is_known_of_it(in_registry, models, tmp_path):
    provenance = Provenance(
        run="run-7", datasets={"osd": "12ab"},
        metrics={"osd": {"miou": 0.75, "n_images": 10}}, champion="zero", champion_metrics={"osd": {"miou": 0.5}},
    )  # fmt: skip
    Registry(tmp_path / "registry").add(models / "one", provenance)
    in_registry("promote", "one", "--reason", "better", "--by", "ann")
    shown = json.loads(in_registry("show", "one", "--json")[1])
    assert shown["architecture"]["network"] == "tiny"
    known = shown["registry"]
    assert known["is_champion"]
    assert known["provenance"]["run"] == "run-7"
    assert known["comparison"] == {"osd": {"miou": {"challenger": 0.75, "champion": 0.5, "difference": 0.25}}}
    assert [(entry["by"], entry["reason"]) for entry in known["promotions"]] == [("ann", "better")]
    assert "registry" not in json.loads(in_registry("show", models / "two", "--json")[1])


def test_a_model_is_shown_as_text_unless_json_is_asked_for(in_registry, models, tmp_path):
    provenance = Provenance(
        run="run-7", datasets={"osd": "12ab"}, metrics={"osd": {"miou": 0.75}}, champion_metrics={"osd": {"miou": 0.5}}
    )
    Registry(tmp_path / "registry").add(models / "one", provenance)
    in_registry("promote", "one", "--reason", "better", "--by", "ann")
    code, text, err = in_registry("show", "one")
    assert (code, err) == (0, "")
    shown = dict(re.split(r" {2,}", line, maxsplit=1) for line in text.splitlines() if not line.startswith(" "))
    assert shown["id"] == "one"
    assert shown["registry comparison osd miou"] == "challenger 0.75, champion 0.5, difference 0.25"
    assert shown["registry provenance"] == "run run-7"
    assert shown["promoted"].endswith("Z by ann: better")
    assert not re.search(r"[{}\[\]'\"]|None|True", text), "nothing of Python's own writing"
    assert "registry" not in in_registry("show", models / "two")[1]


def test_what_a_model_brings_along_is_its_provenance(models):
    provenance = provenance_of(models / "one", "1.0")
    assert (provenance.parent, provenance.metrics) == ("zero", {"miou": 0.5})
    assert provenance.code_version == "1.0"


def test_figures_are_compared_where_both_have_them():
    one = {"a": 3, "b": {"c": 0.5, "d": 1}, "name": "x", "flag": True, "only": 1}
    other = {"a": 1, "b": {"c": 1.0}, "name": "y", "flag": False}
    assert compare_metrics(one, other) == {
        "a": {"challenger": 3, "champion": 1, "difference": 2},
        "b": {"c": {"challenger": 0.5, "champion": 1.0, "difference": -0.5}},
    }


def test_rolling_back_ends_at_the_shipped_model(in_registry, models):
    in_registry("promote", models / "one", "--reason", "better")
    in_registry("promote", models / "two", "--reason", "better")
    assert in_registry("rollback", "--reason", "worse")[1] == "one is the champion, after two\n"
    entry = json.loads(in_registry("rollback", "--reason", "worse still", "--json")[1])
    assert (entry["action"], entry["champion"]["id"], entry["before"]["id"]) == ("rollback", SHIPPED, "one")
    code, out, err = in_registry("rollback", "--reason", "worse than nothing")
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_a_shipped_model_that_was_promoted_is_listed_once(in_registry, models):
    in_registry("promote", models / "one", "--reason", "better")
    assert in_registry("promote", SHIPPED, "--reason", "better still")[1] == f"{SHIPPED} is the champion, after one\n"
    lines = in_registry("list")[1].splitlines()[1:]
    assert [line[2:].split()[0] for line in lines] == [*ALL_SHIPPED, "one"]
    (champion,) = [line for line in lines if line[0] == "*"]
    assert champion.startswith(f"* {SHIPPED}  shipped, added 20")
    listed = json.loads(in_registry("list", "--json")[1])
    assert (listed["champion"], listed["models"]) == (SHIPPED, ALL_SHIPPED)
    assert [(one["id"], one["champion"]) for one in listed["versions"]] == [(SHIPPED, True), ("one", False)]
    assert len({line.split(":")[0] for line in in_registry("verify")[1].splitlines()}) == len(ALL_SHIPPED) + 2


def test_rolling_back_to_a_promoted_shipped_model_and_from_it(in_registry, models):
    in_registry("promote", SHIPPED, "--reason", "to begin with")
    in_registry("promote", models / "one", "--reason", "better")
    assert in_registry("rollback", "--reason", "worse")[1] == f"{SHIPPED} is the champion, after one\n"
    code, out, err = in_registry("rollback", "--reason", "worse than nothing")
    assert (code, out) == (2, "")
    assert err == f"slickwatch: {SHIPPED}: there is no champion before it; promote another model\n"
    assert [line[0] for line in in_registry("list")[1].splitlines()].count("*") == 1


def test_another_model_by_the_name_of_a_shipped_one_is_listed_beside_it(in_registry, models):
    (models / "one" / "checkpoint.json").write_text(
        (models / "one" / "checkpoint.json").read_text().replace('"one"', f'"{SHIPPED}"')
    )
    shutil.move(models / "one", models / SHIPPED)
    in_registry("promote", models / SHIPPED, "--reason", "better")
    lines = [line for line in in_registry("list")[1].splitlines() if SHIPPED in line]
    assert [line[0] for line in lines] == [" ", "*"]


def test_the_settings_name_the_registry(cli, models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli("models", "promote", models / "one", "--reason", "better")[0] == 0
    assert Registry(tmp_path / "models-registry").champion().id == "one"
    monkeypatch.setenv("SLICKWATCH_MODELS__REGISTRY", str(tmp_path / "elsewhere"))
    listed = json.loads(cli("models", "list", "--json")[1])
    assert (listed["registry"], listed["champion"]) == (str(tmp_path / "elsewhere"), SHIPPED)


def test_wrong_usage_changes_nothing(in_registry, models, tmp_path):
    assert in_registry("promote", models / "one")[0] == 2
    for arguments, code in (
        (("promote", models / "one", "--reason", " "), 2),
        (("promote", "no-such-model", "--reason", "x"), 6),
        (("rollback", "--reason", "x"), 2),
        (("show", "no-such-model"), 6),
        (("verify", "no-such-model"), 6),
    ):
        assert in_registry(*arguments)[0] == code
    assert not (tmp_path / "registry").exists()


def test_all_that_is_at_hand_is_verified(in_registry, models, tmp_path):
    for id in ("one", "two"):
        in_registry("promote", models / id, "--reason", "better")
    code, out, err = in_registry("verify")
    assert (code, err) == (0, "")
    assert [line.split(":")[0] for line in out.splitlines()] == [*ALL_SHIPPED, "one", "two"]
    assert in_registry("verify", "one")[1] == f"one: {checkpoint.read_checkpoint(str(models / 'one')).weights_sha256}\n"
    os.truncate(tmp_path / "registry" / "versions" / "two" / "weights.safetensors", 100)
    code, out, err = in_registry("verify")
    assert code == 6
    assert [line.split(":")[0] for line in out.splitlines()] == [*ALL_SHIPPED, "one"]
    assert err.count("\n") == 1
    assert "two" in err
    assert in_registry("verify", "two")[0] == in_registry("verify", "champion")[0] == 6
    assert in_registry("verify", "one")[0] == 0


def test_a_damaged_champion_is_told_of_and_the_one_before_marked(in_registry, models, tmp_path):
    for id in ("one", "two"):
        in_registry("promote", models / id, "--reason", "better")
    os.truncate(tmp_path / "registry" / "versions" / "two" / "version.json", 5)
    code, out, err = in_registry("list")
    assert code == 0
    assert "two" in err
    assert [line[:5] for line in out.splitlines()[1 + len(ALL_SHIPPED) :]] == ["* one", "  two"]
    assert "damaged" in out.splitlines()[-1]
    assert json.loads(in_registry("list", "--json")[1])["refused"]


def test_a_missing_champion_is_found_out_by_verify(in_registry, models, tmp_path):
    in_registry("promote", models / "one", "--reason", "better")
    shutil.rmtree(tmp_path / "registry" / "versions" / "one")
    code, _, err = in_registry("verify")
    assert code == 6
    assert err.startswith("slickwatch: one: no such version")


def test_a_flow_is_given_the_folder_of_the_model_that_is_meant(models, tmp_path):
    registry = tmp_path / "registry"
    assert find_model(None, registry) == find_model("champion", registry) == model_folder(SHIPPED)
    there = Registry(registry)
    version = there.add(models / "one")
    assert find_model(None, registry) == model_folder(SHIPPED)
    there.promote("one", "better", "ann")
    pinned = find_model(None, registry)
    assert pinned == version.folder
    there.add(models / "two")
    there.promote("two", "better", "ann")
    assert checkpoint.read_checkpoint(str(pinned)).id == "one"  # a scene under way keeps its model
    assert find_model("champion", registry).name == "two"
    assert find_model("one", registry) == version.folder
    assert find_model(SHIPPED, registry) == model_folder(SHIPPED)
    assert find_model(str(models / "one"), registry) == models / "one"
    with pytest.raises(ModelError, match=f"{SHIPPED}, one, two"):
        find_model("three", registry)


def test_a_damaged_version_that_is_asked_for_by_name_is_not_replaced_by_another(models, tmp_path):
    there = Registry(tmp_path / "registry")
    for id in ("one", "two"):
        there.add(models / id)
        there.promote(id, "better", "ann")
    os.truncate(there.folder / "versions" / "two" / "weights.safetensors", 100)
    assert find_model("champion", there.folder).name == "one"
    with pytest.raises(ModelError, match="changed since it was added"):
        find_model("two", there.folder)
