"""What a cached result depends on: the sources that its module imports, and no others."""

import shutil

import pytest

from models.code import PACKAGES, ROOT, code_hash, imported_sources

STUDENT, DIFFUSION, DATA = (f"models.retraining.{name}" for name in ("student", "diffusion", "training_data"))


@pytest.fixture
def tree(tmp_path):
    """A copy of the sources to edit."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("shipped", "__pycache__"))
    yield tmp_path
    code_hash.cache_clear()


def edited(tree, file):
    """The hashes of the three steps' code after an edit."""
    (tree / file).write_text((tree / file).read_text() + "\n# edited\n")
    code_hash.cache_clear()
    return [code_hash(module, tree) for module in (STUDENT, DIFFUSION, DATA)]


def test_an_edited_network_changes_the_training_and_an_unrelated_module_does_not(tree):
    before = [code_hash(module, tree) for module in (STUDENT, DIFFUSION, DATA)]
    assert before == [code_hash(module) for module in (STUDENT, DIFFUSION, DATA)]
    assert edited(tree, "outputs/alerting/mail.py") == before
    assert edited(tree, "models/retraining/card.py") == before
    student, diffusion, data = edited(tree, "models/networks/saross.py")
    assert student != before[0]
    assert data == before[2]
    assert edited(tree, "models/jointnet/diffusion.py")[1] != diffusion
    assert edited(tree, "preprocess/noise.py")[2] != data


def test_imports_are_followed_inside_functions_by_name_and_through_packages(tmp_path):
    files = {
        "models/__init__.py": "",
        "models/a.py": "from models import b\nfrom typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import models.typing_only\nelse:\n    import models.at_run_time\n",
        "models/b.py": "def f():\n    from ingest.c import g\n    import numpy\n    import_module('models.by_name')\n",
        "models/by_name.py": "from . import relative",
        "ingest/__init__.py": "import ingest.d\n",
        "ingest/c.py": "import models.a\n",
        "ingest/d.py": "words = 'models.a is no import'\n",
        **dict.fromkeys(
            ("models/typing_only.py", "models/at_run_time.py", "models/relative.py", "models/other.py"), ""
        ),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = {path.relative_to(tmp_path).as_posix() for path in imported_sources("models.a", tmp_path).values()}
    assert found == files.keys() - {"models/typing_only.py", "models/other.py"}
    with pytest.raises(ModuleNotFoundError):
        code_hash("models.none", tmp_path)
