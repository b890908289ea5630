"""Write the list of modules in docs/architecture.md from the first lines of their docstrings: `make module-list`."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = ("flows", "service", "outputs", "models", "preprocess", "ingest")
START, END = "<!-- modules: make module-list -->\n", "<!-- end of modules -->\n"


def first_line(module: Path) -> str:
    """Return the first line of a module's docstring, without its final stop."""
    return (ast.get_docstring(ast.parse(module.read_text())) or "").partition("\n")[0].rstrip(".")


def package_lines(package: Path) -> list[str]:
    """Return the lines of one package: a heading, its modules, then the packages inside it."""
    modules = sorted(m for m in package.glob("*.py") if m.name not in {"__init__.py", "__main__.py"})
    inner = sorted(p.parent for p in package.glob("*/__init__.py"))
    heading = "#" * (2 + len(package.relative_to(ROOT).parts))
    lines = [f"{heading} `{package.relative_to(ROOT)}/`", "", first_line(package / "__init__.py") + ".", ""]
    if modules:
        lines += ["| module | subject |", "|---|---|"]
        lines += [f"| `{module.stem}` | {first_line(module).replace('|', chr(92) + '|')} |" for module in modules]
        lines.append("")
    return lines + [line for folder in inner for line in package_lines(folder)]


def with_module_list(page: str) -> str:
    """Return the page with its list of modules as the code has it now."""
    before, _, rest = page.partition(START)
    after = rest.partition(END)[2]
    lines = [line for package in PACKAGES for line in package_lines(ROOT / package)]
    return before + START + "\n" + "\n".join(lines) + END + after


if __name__ == "__main__":
    PAGE.write_text(with_module_list(PAGE.read_text()))
