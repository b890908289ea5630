"""What the documents say of the code is what the code does."""

import re
from pathlib import Path

from flows.tasks import PUBLISHED
from ingest.markdown import markdown_table
from outputs.attributes import ATTRIBUTES
from outputs.options import SlickOptions
from tools.module_list import PAGE, with_module_list

ROOT = Path(__file__).parents[1]


def test_the_attribute_table_is_that_of_the_code():
    rows = [(f"`{a.name}`", a.kind, a.unit, a.description) for a in ATTRIBUTES]
    table = markdown_table(("attribute", "type", "unit", "meaning"), rows)
    assert table in (ROOT / "docs" / "analyst" / "slicks.md").read_text()


def test_the_layers_and_thresholds_are_those_of_the_code():
    text = (ROOT / "docs" / "analyst" / "slicks.md").read_text()
    assert all(f"`{name}`" in text for name in PUBLISHED)
    options = SlickOptions()
    assert f"at least {options.grow}" in text
    assert f"a cell of {options.keep}" in text
    assert f"cells of {options.outline}" in text
    assert f"under {options.minimum_area_m2 / 1e6} km2" in text


def test_links_between_documents_lead_somewhere():
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("models/shipped/*/README.md")]
    assert documents
    for document in documents:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document}: {target}"


def test_the_list_of_modules_is_that_of_the_code():
    page = PAGE.read_text()
    assert page == with_module_list(page), "run make module-list"


def test_each_place_that_the_architecture_names_is_there():
    paths = re.findall(r"`((?:ingest|preprocess|models|outputs|service|flows)/[\w/.]*)`", PAGE.read_text())
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_decisions_are_numbered_without_gaps():
    numbers = sorted(int(p.name[:4]) for p in (ROOT / "docs" / "decisions").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_each_benchmark_does_something_when_it_is_run():
    for path in (ROOT / "benchmarks").glob("*.py"):
        assert path.read_text(encoding="utf-8").endswith('if __name__ == "__main__":\n    main()\n'), path.name
