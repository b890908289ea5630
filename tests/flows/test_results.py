"""Working folders of claims: only those of the same scene's earlier claims are removed."""

from flows.results import staged, staging


def test_earlier_folders_of_the_same_scene_go_whatever_its_name(tmp_path):
    ids = ["a", "a.b", "a[1]", "*"]
    for scene_id in ids:
        staging(tmp_path, scene_id, 1).mkdir(parents=True)
    (tmp_path / ".processing" / "a.backup").mkdir()
    for scene_id in ids:
        left = {name for name, _ in staged(tmp_path)}
        staging(tmp_path, scene_id, 2)
        assert {name for name, _ in staged(tmp_path)} == left - {scene_id}
    assert (tmp_path / ".processing" / "a.backup").is_dir()
