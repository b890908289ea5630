"""The sources that a result depends on: a module and all modules of Slickwatch that it imports, at any depth."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

PACKAGES = {"ingest", "preprocess", "models", "outputs", "flows"}
ROOT = Path(__file__).parents[1]  # of the source tree, or site-packages


@cache
def code_hash(module: str, root: Path = ROOT) -> str:
    """Return a SHA-256 of the sources of a module and of all that it imports from `PACKAGES`.

    Imports inside functions count, those for type checking alone do not. Raises `ModuleNotFoundError`.
    """
    digest = hashlib.sha256()
    for name, path in sorted(imported_sources(module, root).items()):
        digest.update(name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def imported_sources(module: str, root: Path = ROOT) -> dict[str, Path]:
    """Return the source file of a module, of its parent packages and of all that these import, by module name."""
    path = _source(module, root)
    if path is None:
        raise ModuleNotFoundError(f"no module {module} below {root}", name=module)
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _source(name, root)
        if path is not None and name not in found:
            found[name] = path
            waiting += [name.rpartition(".")[0], *_imports(name, path)]
    return found


def _source(module: str, root: Path) -> Path | None:
    if not module:
        return None
    path = root.joinpath(*module.split("."))
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


def _imports(module: str, path: Path) -> Iterator[str]:
    """Yield what a module imports from `PACKAGES`; for `from a import b` both `a` and `a.b`, which may be a module."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in _executed(ast.parse(path.read_bytes())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):  # of `import_module`
            names = [node.value] if node.value.replace(".", "").isidentifier() else []
        yield from (name for name in names if name.partition(".")[0] in PACKAGES)


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a syntax tree without the bodies of `if TYPE_CHECKING:`."""
    yield node
    typing_only = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    children = node.orelse if isinstance(node, ast.If) and typing_only else ast.iter_child_nodes(node)
    for child in children:
        yield from _executed(child)
