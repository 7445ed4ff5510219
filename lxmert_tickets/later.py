"""Modules that are imported when something is asked of them, and not before."""

import importlib
import sys
from types import ModuleType


class _Later(ModuleType):
    """Stands where the module of its name will."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # who looks through all modules asks for these
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def import_later(name: str) -> None:
    """Let whoever imports the module `name` get it when it asks for something in it; nothing changes if it is there."""
    sys.modules.setdefault(name, _Later(name))
