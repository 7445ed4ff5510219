"""Imports go one way, in the order that the package's docstring gives; what starts often imports nothing slow."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lxmert_tickets

PACKAGE = Path(lxmert_tickets.__file__).parent
PARTS = sorted(
    {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")} - {"__init__"}
)


def order() -> list[list[str]]:
    """Return the modules and folders of the package as its docstring orders them, those of one place together."""
    lines = [line for line in (lxmert_tickets.__doc__ or "").splitlines() if line.startswith("    ")]
    return [[name.strip() for name in place.split(",")] for place in " ".join(lines).split("<-")]


def imported_by(part: str, package: Path = PACKAGE) -> Iterator[tuple[str, str]]:
    """Yield the file and the other part of `package`, for each import in a module or folder."""
    for path in [*(package / part).rglob("*.py"), *package.glob(f"{part}.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path}: a relative import, which this test does not follow"
                names = [f"{node.module}.{name}" for name in names]
            for name in names:
                first, other, *_ = [*name.split("."), ""]
                if first == PACKAGE.name and other != part:
                    yield path.name, other


def test_the_order_names_every_part_once() -> None:
    assert sorted(name for place in order() for name in place) == PARTS


@pytest.mark.parametrize("part", PARTS)
def test_a_part_imports_only_what_comes_before_it(part: str) -> None:
    at = next(position for position, place in enumerate(order()) if part in place)
    before = {name for place in order()[:at] for name in place}
    assert [(file, other) for file, other in imported_by(part) if other not in before] == []


def test_imports_are_found_even_within_functions(tmp_path: Path) -> None:
    assert {other for _, other in imported_by("evaluation")} >= {"artifacts", "data", "errors"}
    (tmp_path / "a.py").write_text("import os, lxmert_tickets.b.c\n\ndef late(): import lxmert_tickets.d as d\n")
    assert list(imported_by("a", tmp_path)) == [("a.py", "b"), ("a.py", "d")]


@pytest.mark.parametrize(
    ("modules", "slow"),
    [
        ("configuration.reading", {"torch"}),
        ("monitoring.status_table, cli", {"pandas"}),
        ("data.encoding, data.features, data.parts, data.questions", {"torch", "pandas", "transformers", "snakemake"}),
        ("evaluation.accuracy", {"torch", "pandas", "pyarrow"}),
    ],
)
def test_what_starts_often_imports_no_slow_package(modules: str, slow: set[str]) -> None:
    imports = ", ".join(f"lxmert_tickets.{name}" for name in modules.split(", "))
    program = f"import sys, {imports}; print({slow} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", program], cwd=PACKAGE.parent, text=True) == "set()\n"
