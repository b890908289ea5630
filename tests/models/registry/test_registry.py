"""The registry of models: versions that never change, and a champion that is whole whatever happens to its writers."""

from __future__ import annotations

import itertools
import json
import logging
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from ingest.errors import ModelError, StorageError, UsageError
from models import checkpoint
from models.checkpoint import save_model
from models.classes import OIL_CLASSES
from models.networks.architecture import Architecture
from models.networks.build import NETWORKS
from models.registry.records import Pin, Provenance
from models.registry.registry import Registry
from preprocess.options import PreprocessOptions
from tests.support.full_disk import full_after

# Writers are processes of their own; a server that has loaded torch once makes them in milliseconds.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])
FILES = ["README.md", "checkpoint.json", "version.json", "weights.safetensors"]
CHANGES = {"os.rename", "os.remove", "os.rmdir"}  # and opening to write, before which lies all else


def tiny(architecture):
    return nn.Conv2d(architecture.in_channels, architecture.classes, 1)


@pytest.fixture(autouse=True)
def _tiny_networks(monkeypatch):
    monkeypatch.setitem(NETWORKS, "tiny", tiny)


def trained(
    folder: Path, seed: int, classes=checkpoint.CLASSES, weight: float | None = None, channels: int = 1
) -> Path:
    """A model as training leaves it: with a card, and with a state that is no part of it."""
    torch.manual_seed(seed)
    architecture = Architecture(network="tiny", encoder="nano", in_channels=channels, classes=len(classes))
    network = tiny(architecture)
    if weight is not None:
        nn.init.constant_(network.weight, weight)
    save_model(folder, network, architecture, PreprocessOptions(), {"oil_iou": seed / 10}, {"seed": seed}, classes)
    (folder / "README.md").write_text(f"# {folder.name}\n")
    (folder / "state.pt").write_bytes(b"pickle")
    return folder


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    folder = trained(tmp_path / "shipped" / "from-the-box", seed=9)
    (tmp_path / "shipped" / "default").write_text("from-the-box\n")
    monkeypatch.setattr(checkpoint, "SHIPPED", tmp_path / "shipped")
    return folder


@pytest.fixture
def models(tmp_path):
    return {id: trained(tmp_path / "runs" / id, seed) for seed, id in enumerate("ABC")}


@pytest.fixture
def registry(tmp_path, models):
    """Three versions, none of them promoted."""
    there = Registry(tmp_path / "registry")
    for folder in models.values():
        there.add(folder)
    return there


def damage(path: Path, how=lambda content: content[:-1] + bytes([content[-1] ^ 1])) -> None:
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(how(content))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_version_is_what_was_trained_and_where_it_comes_from(tmp_path, models):
    provenance = Provenance(
        run="run-7", parent="A", code_version="abc", datasets={"sos-clean": "12ab"},
        metrics={"osd": {"miou": 0.7}}, champion="A", champion_metrics={"osd": {"miou": 0.6}},
    )  # fmt: skip
    added = Registry(tmp_path / "registry").add(models["B"], provenance)
    assert added == Registry(tmp_path / "registry").verify("B")
    assert added.provenance == provenance
    assert names(added.folder) == FILES
    for name in set(FILES) - {"version.json"}:
        assert (added.folder / name).read_bytes() == (models["B"] / name).read_bytes()
    assert {path.stat().st_mode & 0o777 for path in added.folder.iterdir()} == {0o444}
    assert checkpoint.read_checkpoint(str(added.folder)).id == "B"


def test_the_same_model_again_is_the_same_version(registry, models):
    first = registry.version("A")
    (models["A"] / "README.md").write_text("another card")
    assert registry.add(models["A"], Provenance(run="again")) == first
    assert registry.ids() == ("A", "B", "C")


def test_another_model_of_the_same_id_is_refused(registry, tmp_path):
    first = registry.version("A")
    with pytest.raises(UsageError, match="version A is another model"):
        registry.add(trained(tmp_path / "other" / "A", seed=5))
    assert registry.verify("A") == first


@pytest.mark.parametrize("id", ["..", "a/b", "champion", ".hidden", "", "two\nlines", "end.", "a" * 101])
def test_an_id_that_is_no_folder_name_is_refused(tmp_path, models, id):
    record = json.loads((models["A"] / "checkpoint.json").read_text())
    (models["A"] / "checkpoint.json").write_text(json.dumps({**record, "id": id}))
    with pytest.raises(UsageError, match="invalid version id"):
        Registry(tmp_path / "registry").add(models["A"])
    assert names(tmp_path / "registry" / "versions") == []


def test_what_cannot_be_used_is_not_taken_in(tmp_path, models, registry):
    damage(models["B"] / "weights.safetensors")
    with pytest.raises(ModelError, match="not those of this checkpoint"):
        registry.add(models["B"])
    with pytest.raises(ModelError, match="finite"):
        registry.add(trained(tmp_path / "runs" / "nan", 1, weight=float("nan")))
    with pytest.raises(ModelError, match="fails on images of its own shape"):  # of the one polarisation it says
        registry.add(trained(tmp_path / "runs" / "two-channels", 1, channels=2))
    with pytest.raises(ModelError, match="no such model"):
        registry.add(tmp_path / "runs" / "missing")
    with pytest.raises(UsageError, match="plain JSON"):
        registry.add(trained(tmp_path / "runs" / "D", 4), Provenance(metrics={"miou": float("nan")}))
    assert names(registry.folder / "versions") == ["A", "B", "C"]


def test_a_full_disk_leaves_nothing_behind(tmp_path, registry):
    folder = trained(tmp_path / "runs" / "D", 4)
    with full_after(300), pytest.raises(StorageError):
        registry.add(folder)
    assert names(registry.folder / "versions") == ["A", "B", "C"]
    assert registry.add(folder).id == "D"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["flip", "cut", "delete"])
def test_any_damage_to_any_file_is_found(registry, name, how):
    path = registry.version("B").folder / name
    if how == "delete":
        path.unlink()
    else:
        damage(path, **({} if how == "flip" else {"how": lambda content: content[: len(content) // 2]}))
    with pytest.raises(ModelError, match=name.replace(".", r"\.")):
        registry.verify("B")
    assert registry.verify("A").id == "A"


def test_a_record_that_was_edited_is_not_believed(registry):
    damage(registry.version("B").folder / "version.json", lambda text: text.replace(b'"run": null', b'"run": "mine"'))
    with pytest.raises(ModelError, match="changed since it was written"):
        registry.version("B")
    assert [version.id for version in registry.versions()] == ["A", "C"]


def test_without_a_promotion_the_shipped_model_is_used(registry, shipped, tmp_path):
    for there in (registry, Registry(tmp_path / "no-such-folder")):
        chosen = there.champion()
        assert (chosen.id, chosen.folder, chosen.version, chosen.refused) == ("from-the-box", shipped, None, ())
    assert not (tmp_path / "no-such-folder").exists()


def test_a_promotion_names_the_champion_and_who_wanted_it(registry):
    registry.promote("A", "first", "ann")
    entry = registry.promote("B", "better", "bob")
    assert registry.champion().version == registry.version("B")
    assert [(one.action, one.champion.id, one.reason, one.by) for one in registry.promotions()] == [
        ("promote", "A", "first", "ann"), ("promote", "B", "better", "bob"),
    ]  # fmt: skip
    assert entry.before == registry.version("A").pin
    assert registry.promote("B", "once more", "bob") == entry  # nothing happened, nothing is written
    assert names(registry.folder / "promotions") == ["000001.json", "000002.json"]


def test_what_makes_no_sense_is_not_promoted(registry, tmp_path):
    registry.add(trained(tmp_path / "runs" / "oil-alone", 1, classes=OIL_CLASSES))
    damage(registry.version("C").folder / "weights.safetensors")
    for id, problem in (
        ("oil-alone", "alone"),
        ("C", "changed since it was added"),
        ("../A", "no such"),
        ("D", "A, B, C"),
    ):
        with pytest.raises(ModelError, match=problem):
            registry.promote(id, "why not", "ann")
    with pytest.raises(UsageError, match="reason"):
        registry.promote("A", " ", "ann")
    with pytest.raises(UsageError, match="no version has been promoted"):
        registry.rollback("none there", "ann")
    assert registry.promotions() == ()


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_champion_is_refused_aloud_and_the_one_before_used(registry, caplog, name):
    caplog.set_level(logging.WARNING)
    for id in "ABC":
        registry.promote(id, "better", "ann")
    assert registry.champion().id == "C"
    assert caplog.text == ""
    damage(registry.version("C").folder / name)
    chosen = registry.champion()
    assert chosen.id == "B"
    assert chosen.version == registry.version("B")
    assert len(chosen.refused) == 1
    assert name in chosen.refused[0]
    assert chosen.refused[0] in caplog.text
    assert "using B instead" in caplog.text
    shutil.rmtree(registry.folder / "versions" / "B")
    assert [registry.champion().id, len(registry.champion().refused)] == ["A", 2]


def test_where_nothing_is_whole_the_shipped_model_is_used(registry, shipped):
    registry.promote("A", "better", "ann")
    damage(registry.version("A").folder / "weights.safetensors")
    chosen = registry.champion()
    assert (chosen.id, chosen.version, len(chosen.refused)) == ("from-the-box", None, 1)


@pytest.mark.parametrize("content", [b"", b"{", b"5", b"[]", b'{"format": 99}', b'{"format": 1, "champion": 3}'])
def test_a_damaged_entry_of_the_journal_is_passed_over_and_healed_by_the_next(registry, content):
    registry.promote("A", "better", "ann")
    registry.promote("B", "better", "ann")
    damage(registry.folder / "promotions" / "000002.json", lambda _: content)
    chosen = registry.champion()
    assert (chosen.id, len(chosen.refused)) == ("A", 1)
    with pytest.raises(ModelError, match="the newest promotion cannot be read"):
        registry.prune(0)
    assert registry.promote("A", "sure now", "ann").number == 3
    assert registry.champion().refused == ()


def test_another_model_put_in_the_champions_place_is_refused(registry, tmp_path):
    registry.promote("A", "better", "ann")
    registry.promote("B", "better", "ann")
    shutil.rmtree(registry.folder / "versions" / "B")
    other = registry.add(trained(tmp_path / "other" / "B", seed=8))
    assert registry.champion().id == "A"
    registry.promote("B", "this one is meant", "ann")
    assert registry.champion().version == other


def test_a_registry_that_cannot_be_listed_is_an_error(tmp_path):
    (tmp_path / "promotions").write_text("")
    with pytest.raises(ModelError, match="cannot be listed"):
        Registry(tmp_path).champion()


def test_rollbacks_pass_over_what_is_damaged(registry):
    for id in "ABC":
        registry.promote(id, "better", "ann")
    damage(registry.version("B").folder / "checkpoint.json")
    entry = registry.rollback("worse", "bob")
    assert (entry.champion.id, entry.before.id, len(entry.refused)) == ("A", "C", 1)
    assert registry.champion().refused == ()


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A registry to copy, and the shipped model that belongs to it."""
    folder = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "tiny", tiny)
        there = Registry(folder / "registry")
        for seed, id in enumerate("ABC"):
            there.add(trained(folder / "runs" / id, seed))
        for id in "AB":
            there.promote(id, "better", "ann")
    trained(folder / "shipped" / "S", 9)
    (folder / "shipped" / "default").write_text("S")
    trained(folder / "runs" / "D", 4)
    return folder


@settings(max_examples=20, deadline=None)
@example(steps=[*"ABC", *["back"] * 4, "B"])
@example(steps=[*"ABA", *["back"] * 4])
@example(steps=[*"AB", "back", "C", *["back"] * 3])
@given(steps=st.lists(st.sampled_from(["A", "B", "C", "back"]), max_size=9))
def test_rollbacks_undo_promotions_down_to_the_shipped_model(template, steps):
    line = ["S"]
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setitem(NETWORKS, "tiny", tiny)
        patch.setattr(checkpoint, "SHIPPED", template / "shipped")
        there = Registry(Path(folder) / "registry")
        shutil.copytree(template / "registry" / "versions", there.folder / "versions")
        for step in steps:
            if step != "back":
                there.promote(step, "better", "ann")
                line += [step] if line[-1] != step else []
            elif len(line) > 1:
                there.rollback("worse", "bob")
                line.pop()
            else:
                with pytest.raises(UsageError):
                    there.rollback("worse", "bob")
            assert there.champion().id == line[-1]
            assert there.champion().refused == ()


def test_pruning_keeps_what_may_be_needed(registry, tmp_path):
    registry.promote("A", "better", "ann")
    registry.promote("B", "better", "ann")
    registry.rollback("worse", "ann")  # a scene may still be analysed with B
    for seed, id in enumerate("DEF", start=4):
        registry.add(trained(tmp_path / "runs" / id, seed))
    assert registry.prune(2) == ("C", "D")
    assert registry.ids() == ("A", "B", "E", "F")
    assert registry.prune(0) == ("E", "F")
    registry.promote("B", "better after all", "ann")
    assert registry.prune(0) == ()
    assert registry.rollback("no", "ann").champion.id == "A"
    with pytest.raises(UsageError, match="-1"):
        registry.prune(-1)
    assert Registry(tmp_path / "none").prune(0) == ()


def write_until_killed(folder: Path, model: Path, killed_at: int) -> None:
    """All that writes, killed before the so-manieth change of a file."""
    NETWORKS["tiny"] = tiny
    seen = itertools.count(1)

    def kill(event: str, arguments: tuple[object, ...]) -> None:
        writes = event == "open" and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if (writes or event in CHANGES) and next(seen) == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    registry = Registry(folder)
    sys.addaudithook(kill)
    registry.add(model)
    registry.promote("D", "better", "ann")
    registry.rollback("worse", "ann")
    registry.rollback("worse still", "ann")
    registry.prune(0)


def in_a_process(target, *arguments) -> int:
    process = PROCESSES.Process(target=target, args=arguments)
    process.start()
    process.join()
    code = process.exitcode
    process.close()
    return code


def test_a_writer_killed_at_any_point_leaves_one_whole_champion(template, tmp_path):
    champions = []
    for killed_at in itertools.count(1):
        folder = tmp_path / str(killed_at)
        shutil.copytree(template / "registry", folder)
        code = in_a_process(write_until_killed, folder, template / "runs" / "D", killed_at)
        registry = Registry(folder)
        chosen = registry.champion()
        assert chosen.refused == ()
        champions.append(chosen.id)
        for id in registry.ids():
            registry.verify(id)
        assert [entry.number for entry in registry.promotions()] == list(range(1, 1 + len(registry.promotions())))
        # The next writer finds nothing in its way, and removes what was left half done.
        registry.add(template / "runs" / "D")
        registry.promote("D", "again", "bob")
        assert registry.champion().id == "D"
        assert [name for name in names(folder / "versions") + names(folder / "promotions") if name[0] == "."] == []
        if code == 0:
            assert killed_at > 25
            break
        assert code == -signal.SIGKILL
        shutil.rmtree(folder)
    assert [id for id, _ in itertools.groupby(champions)] == ["B", "D", "B", "A"]


def promote_for_ever(folder: Path, ids: str) -> None:
    NETWORKS["tiny"] = tiny
    registry = Registry(folder)
    for id in itertools.cycle(ids):
        registry.promote(id, "better", ids)


def test_killed_at_random_among_others_that_write_and_read(template, tmp_path):
    shutil.copytree(template / "registry", tmp_path / "registry")
    registry = Registry(tmp_path / "registry")
    chance = random.Random(4)
    other = PROCESSES.Process(target=promote_for_ever, args=(registry.folder, "AC"))
    other.start()
    try:
        for _ in range(8):
            process = PROCESSES.Process(target=promote_for_ever, args=(registry.folder, "BC"))
            before = len(registry.promotions())
            process.start()
            while len(registry.promotions()) < before + 3:
                assert registry.champion().refused == ()
            time.sleep(chance.uniform(0, 0.03))
            process.kill()
            process.join()
            process.close()
            assert registry.champion().refused == ()
    finally:
        other.kill()
        other.join()
        other.close()
    registry.promote("A", "the last word", "ann")
    assert registry.champion().id == "A"
    _require_unbroken(registry)


def promote_by_turns(folder: Path, ids: str, times: int) -> None:
    NETWORKS["tiny"] = tiny
    for id in itertools.islice(itertools.cycle(ids), times):
        Registry(folder).promote(id, "better", ids)


def test_promotions_at_once_take_turns(template, tmp_path):
    shutil.copytree(template / "registry", tmp_path / "registry")
    registry = Registry(tmp_path / "registry")
    writers = [PROCESSES.Process(target=promote_by_turns, args=(registry.folder, ids, 10)) for ids in ("AB", "CA")]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        chosen = registry.champion()
        assert chosen.refused == ()
        seen.add(chosen.id)
    assert [writer.exitcode for writer in writers] == [0, 0]
    for writer in writers:
        writer.close()
    assert seen <= set("ABC")
    _require_unbroken(registry)


def _require_unbroken(registry: Registry) -> None:
    """Every entry follows the one before: no promotion was lost, none was made of an older state."""
    entries = registry.promotions()
    assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
    champions: list[Pin] = []
    for entry in entries:
        assert entry.before == (champions[-1] if champions else None)
        assert entry.line == tuple(champions)
        champions.append(entry.champion)
