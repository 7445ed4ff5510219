"""The digest of a script changes with the logic that decides its result, and with nothing else."""

import ast
import gc
import hashlib
import re
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lxmert_tickets.jobs import code_digest as subject
from lxmert_tickets.jobs.code_digest import BYSTANDERS, PACKAGE, code_digest, current_code_digest

PROJECT = Path(__file__).resolve().parents[2]
SCRIPTS = PROJECT / "workflow_scripts"
FILES = {
    "script.py": '''"""A job."""
from typing import TYPE_CHECKING

from package.jobs.job import job
from package.near import double

with job():
    print(double(2))
''',
    "package/__init__.py": "",
    "package/near.py": '''"""Near."""
import package.middle

LIMIT = 3
"""What a constant means."""


def double(x):
    """Return twice x."""
    return package.middle.add(x, x)  # twice
''',
    "package/middle.py": "X = 1\n\n\ndef add(a, b):\n    from package import deep\n    return deep.SIGN * (a + b)\n",
    "package/deep.py": "from package import near\n\nSIGN = 1\n",  # imports may be circular
    "package/jobs/job.py": "from package import unseen\n\nLINE = 1\n",
    "package/unseen.py": "X = 1\n",
}


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that gives the digest of the script, with a text in one of FILES replaced by another."""
    monkeypatch.setattr(subject, "PACKAGE", tmp_path / "package")

    def digest_with(file: str = "script.py", old: str = "", new: str = "") -> str:
        assert old in FILES[file]
        for name, text in FILES.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace(old, new) if name == file and old else text, encoding="utf-8")
        return current_code_digest(tmp_path / "script.py")

    return digest_with


IDLE = {
    "a comment": ("package/near.py", "  # twice", "  # two times"),
    "a docstring of a function": ("package/near.py", "Return twice x.", "Return x + x."),
    "a docstring of a module": ("script.py", "A job.", "One job."),
    "a docstring taken away": ("package/near.py", '    """Return twice x."""\n', ""),
    "the meaning of a constant": ("package/near.py", "What a constant means.", "Its meaning."),
    "white space": ("package/middle.py", "\n\n\ndef", "\n\ndef"),
    "a bystander": ("package/jobs/job.py", "LINE = 1", "LINE = 2"),
    "a module behind a bystander alone": ("package/unseen.py", "X = 1", "X = 2"),
}
LOGIC = {
    "the script": ("script.py", "double(2)", "double(3)"),
    "a constant": ("package/near.py", "LIMIT = 3", "LIMIT = 4"),
    "an imported module": ("package/near.py", "add(x, x)", "add(x, 0)"),
    "a module behind it": ("package/middle.py", "a + b", "a - b"),
    "a module behind that": ("package/deep.py", "SIGN = 1", "SIGN = -1"),
    "a string that is used": ("script.py", "print(double(2))", "print('2')"),
}


@pytest.mark.parametrize(("file", "old", "new"), IDLE.values(), ids=IDLE)
def test_an_edit_that_cannot_change_a_result_keeps_the_digest(
    digest: Callable[..., str], file: str, old: str, new: str
) -> None:
    assert digest(file, old, new) == digest()


@pytest.mark.parametrize(("file", "old", "new"), LOGIC.values(), ids=LOGIC)
def test_an_edit_of_the_logic_changes_the_digest(digest: Callable[..., str], file: str, old: str, new: str) -> None:
    assert digest(file, old, new) != digest()


@pytest.mark.parametrize(
    "statement",
    [
        "if x: {}", "if x: pass\nelse: {}", "for y in x: {}", "for y in x: pass\nelse: {}", "while x: {}",
        "with x: {}", "try: {}\nfinally: pass", "try: pass\nexcept Exception: {}", "try: pass\nexcept* Exception: {}",
        "try: pass\nexcept Exception: pass\nelse: {}", "try: pass\nfinally: {}", "match x:\n    case 1: {}",
        "class A: {}", "def f(): {}", "async def f():\n    async with x: {}",
        "async def f():\n    async for y in x: {}",
    ],
)  # fmt: skip
def test_imports_count_and_words_do_not_within_every_statement(
    digest: Callable[..., str], monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    monkeypatch.setitem(FILES, "script.py", statement.format("from package import unseen"))
    assert digest("package/unseen.py", "X = 1", "X = 2") != digest()
    monkeypatch.setitem(FILES, "script.py", statement.format("'words'; z = 'text'"))
    assert digest("script.py", "words", "other words") == digest() != digest("script.py", "text", "other text")


def test_a_module_that_is_removed_changes_the_digest(digest: Callable[..., str], tmp_path: Path) -> None:
    before = digest()
    (tmp_path / "package/deep.py").unlink()
    assert current_code_digest(tmp_path / "script.py") != before


@pytest.fixture
def switching_threads() -> Iterator[None]:
    """Switch to another thread whenever memory is collected, which happens while a syntax tree is built."""

    def switch(phase: str, about: dict[str, int]) -> None:
        time.sleep(0)

    before = gc.get_threshold()
    gc.set_threshold(200)
    gc.callbacks.append(switch)
    yield
    gc.callbacks.remove(switch)
    gc.set_threshold(*before)


@pytest.mark.usefixtures("switching_threads")
def test_digests_are_computed_for_several_jobs_at_once() -> None:
    scripts = [SCRIPTS / f"{rule}.py" for rule in ("score", "build_answers", "make_table")] * 4
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(current_code_digest, scripts)) == [code_digest(script) for script in scripts]


def test_an_error_of_syntax_is_told_with_its_file(digest: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(SyntaxError) as error:
        digest("package/deep.py", "SIGN = 1", "SIGN = (")
    assert error.value.filename == str(tmp_path / "package/deep.py")


def test_a_string_in_use_is_not_taken_for_a_docstring(digest: Callable[..., str]) -> None:
    one, two = (digest("script.py", "print(double(2))", f"x = '{word}'") for word in ("one", "two"))
    assert one != two


VERSIONED = """
class Kind(Base):
    async def function(self, *, x=None, **others): return f"{x:{self.width}}", {**others}
"""


def test_every_python_writes_a_syntax_tree_as_python_3_11_does() -> None:
    told = hashlib.sha256(subject._text(ast.parse(VERSIONED)).encode()).hexdigest()
    assert told == "30ed2c5dd30108f147789c81f352a230a6c6310433fd67b6a6e173299f5bf597"
    if sys.version_info < (3, 12):
        trees = [ast.parse(file.read_text()) for file in PACKAGE.rglob("*.py")]
        assert [subject._text(tree) for tree in trees] == [ast.dump(tree) for tree in trees]


def test_a_digest_is_sixteen_hex_digits(digest: Callable[..., str]) -> None:
    assert re.fullmatch("[0-9a-f]{16}", digest())


def test_every_script_has_a_digest_of_its_own() -> None:
    digests = [code_digest(script) for script in SCRIPTS.glob("*.py")]
    assert len(set(digests)) == len(digests) > 0


BEFORE_TRAINING = (
    "make_scenes", "draw_images", "extract_features", "train_tokenizer", "build_answers", "split_val_questions",
    "encode_questions", "import_weights", "snapshot_initial_weights", "prune_round", "prune_complement", "prune_random",
)  # fmt: skip


@pytest.mark.parametrize("script", BEFORE_TRAINING)
def test_no_step_before_training_depends_on_the_engine_or_on_how_settings_are_read(script: str) -> None:
    behind = {str(module.relative_to(PACKAGE)) for module in subject._behind(SCRIPTS / f"{script}.py", set())}
    assert behind
    assert not behind & {"model/operators.py", "training/loop.py"}
    assert not any(name.startswith("configuration/") for name in behind)


def test_bystanders_are_modules_that_exist() -> None:
    assert all((PACKAGE / f"{name}.py").is_file() or (PACKAGE / name).is_dir() for name in BYSTANDERS)


def test_no_module_hides_an_import_from_the_digest() -> None:
    for file in [*PACKAGE.rglob("*.py"), *SCRIPTS.glob("*.py")]:
        imports = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
        assert not [node for node in imports if node.level], f"{file} has a relative import, which is not followed"
