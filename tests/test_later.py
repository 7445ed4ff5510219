"""A module that is imported later is there for whoever asks for something in it."""

import subprocess
import sys
from pathlib import Path

import pytest

from lxmert_tickets.later import import_later

NAME = "made_up_and_slow"


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there once the module was imported."""
    mark = tmp_path / "imported"
    (tmp_path / f"{NAME}.py").write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\nanswer = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    import_later(NAME)
    return mark


def test_it_is_not_imported_before_something_is_asked_of_it(imported: Path) -> None:
    module = __import__(NAME)
    assert not hasattr(module, "__path__")
    assert not imported.exists()
    assert module.answer == 42
    assert imported.exists()
    assert sys.modules[NAME] is not module
    assert module.answer == sys.modules[NAME].answer


def test_names_can_be_imported_from_it(imported: Path) -> None:
    names: dict[str, object] = {}
    exec(f"from {NAME} import answer", names)  # noqa: S102 (the linter would look for the module)
    assert names["answer"] == 42
    assert imported.exists()


def test_what_it_lacks_is_an_attribute_error(imported: Path) -> None:
    with pytest.raises(AttributeError, match="question"):
        __import__(NAME).question  # noqa: B018
    assert imported.exists()


def test_a_module_that_is_there_stays(imported: Path) -> None:
    assert __import__(NAME).answer == 42
    module = sys.modules[NAME]
    import_later(NAME)
    assert sys.modules[NAME] is module


def test_torch_asks_for_nothing_in_what_a_job_imports_later() -> None:
    """Or a job would gain nothing; and what needs it still works."""
    program = """
import sys
from lxmert_tickets.later import import_later
import_later("torch._meta_registrations")
import torch
print(type(sys.modules["torch._meta_registrations"]).__name__, "torch._decomp.decompositions" in sys.modules)
import torch._meta_registrations as later
print(later.meta_mm.__name__)
print(torch.mm(torch.empty(2, 3, device="meta"), torch.empty(3, 4, device="meta")).shape)
"""
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert said.splitlines() == ["_Later False", "meta_mm", "torch.Size([2, 4])"]
