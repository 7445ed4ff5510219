"""A digest of the code that decides a job's result, so that Snakemake notices when it changes.

Snakemake sees a script's modification time, but not what it imports. The digest covers the syntax trees of a script and
of every module of this package that it imports, directly or indirectly, except BYSTANDERS, without comments, docstrings
and other bare strings: an edit that cannot change a result does not change the digest. Nor does another version of
Python.
"""

import ast
import hashlib
import threading
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
SCRIPTS = PACKAGE.parent / "workflow_scripts"
# Modules that decide no result: they fetch, lock, keep and write files, word errors and watch runs.
BYSTANDERS = {
    "artifacts", "downloads", "environment", "errors", "file_kinds", "jobs", "layout", "monitoring", "progress",
}  # fmt: skip
# Snakemake's jobs start in threads. While two parse at once, Python 3.11 raises SystemError now and then, and what one
# has just read of an earlier version would be in the other's cache.
LOCK = threading.Lock()


def code_digest(script: str | Path) -> str:
    """Return the digest (16 hex digits) of `script` and the modules of this package that it imports."""
    digests = hashlib.sha256(_digest(Path(script)).encode())
    for module in sorted(_behind(Path(script), set())):
        digests.update(f"{module.relative_to(PACKAGE)} {_digest(module)}\n".encode())
    return digests.hexdigest()[:16]


def current_code_digest(script: str | Path) -> str:
    """Return `code_digest` of the files as they are now, whatever they were when this process read them first."""
    with LOCK:
        for cached in (_tree, _digest, _imported):
            cached.cache_clear()
        return code_digest(script)


def _behind(source: Path, seen: set[Path]) -> set[Path]:
    for module in _imported(source) - seen:
        seen.add(module)
        _behind(module, seen)
    return seen


def _blocks(tree: ast.AST) -> Iterator[list[ast.stmt]]:
    """Yield every list of statements below `tree`, outer ones first."""
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        block = getattr(tree, name, ())
        if block:
            yield block
        for statement in block:
            yield from _blocks(statement)


@cache
def _tree(source: Path) -> ast.Module:
    """Return the syntax tree of `source` without docstrings and the strings that describe constants."""
    tree = ast.parse(source.read_text(encoding="utf-8"), source)
    for block in _blocks(tree):
        block[:] = [each for each in block if not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))]
    return tree


@cache
def _digest(source: Path) -> str:
    return hashlib.sha256(_text(_tree(source)).encode()).hexdigest()


def _text(tree: object) -> str:
    """Return a syntax tree as `ast.dump` of Python 3.11 does; later versions omit or add empty fields."""
    if isinstance(tree, list):
        return f"[{', '.join([_text(part) for part in tree])}]"
    if not isinstance(tree, ast.AST):
        return repr(tree)
    if isinstance(tree, ast.JoinedStr):  # 3.12 ends f"{x:{width}}" with an empty text
        tree = ast.JoinedStr([part for part in tree.values if getattr(part, "value", None) != ""])
    kind, fields = type(tree), []
    for name in kind._fields:
        value = getattr(tree, name)
        is_default = value is None and getattr(kind, name, ...) is None
        if not is_default and (name != "type_params" or value):  # new in 3.12
            fields.append(f"{name}={_text(value)}")
    return f"{kind.__name__}({', '.join(fields)})"


@cache
def _imported(source: Path) -> frozenset[Path]:
    """Return the files of this package that `source` imports, `__init__` files and bystanders left out."""
    names: set[str] = set()
    for node in chain.from_iterable(_blocks(_tree(source))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    found = {_file_of(name) for name in names if name.split(".")[0] == PACKAGE.name}
    return frozenset(file for file in found if file is not None)


def _file_of(module: str) -> Path | None:
    parts = module.split(".")[1:]
    file = PACKAGE.joinpath(*parts).with_suffix(".py") if parts and parts[0] not in BYSTANDERS else None
    return file if file is not None and file.is_file() else None
