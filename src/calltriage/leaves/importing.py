"""Importing a module without what the packages around it load."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.abc import Loader
from importlib.util import find_spec, module_from_spec
from itertools import accumulate
from threading import RLock
from types import ModuleType
from typing import Any


def import_alone(name: str) -> None:
    """Import a module, but not its packages' own modules: each runs when a name is used that it does not have yet.

    Python runs `a` and `a.b` before `a.b.c`, and a package may import much there that `c` does not need. A package that was
    imported before stays as it is. A module that cannot be imported without its packages is imported as usual.

    Until a package has run, a name that it shares with a module in it is that module, and no two threads may import its
    modules for the first time at once.
    """
    before = {*sys.modules}
    for package in accumulate(name.split(".")[:-1], "{}.{}".format):
        if package not in before:
            _put_off(package)
    try:
        import_module(name)
    except (ImportError, AttributeError):
        for loaded in {*sys.modules} - before:
            if loaded.partition(".")[0] == name.partition(".")[0]:
                del sys.modules[loaded]
        import_module(name)


def _put_off(name: str) -> None:
    """Make a package known, with its path, and run it at the first use of a name that it does not have yet."""
    spec = find_spec(name)
    if spec is None or spec.loader is None:
        return  # importing it says what is wrong
    package = module_from_spec(spec)
    vars(package)["__getattr__"] = _RunAndGet(package, spec.loader)
    sys.modules[name] = package
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, package)


@dataclass
class _RunAndGet:
    """Python asks it for the names that a package does not have."""

    package: ModuleType
    loader: Loader
    _turn: AbstractContextManager[Any] = field(default_factory=RLock, init=False)
    _is_running: bool = field(default=False, init=False)

    def __call__(self, wanted: str) -> Any:
        with self._turn:
            if self._is_running:  # what the package imports may look for names that it does not have yet
                raise AttributeError(f"module {self.package.__name__!r} has no attribute {wanted!r}")
            if vars(self.package).get("__getattr__") is self:
                self._run(wanted)
        return getattr(self.package, wanted)

    def _run(self, wanted: str) -> None:
        held, self._is_running = vars(self.package), True
        try:
            self.loader.exec_module(self.package)
        except Exception as error:
            held["__getattr__"] = self  # the next use runs it again
            # A module that is being imported may ask for a name that the package has before it imports that module.
            if not isinstance(error, ImportError) or wanted not in held:
                raise
        else:
            if held["__getattr__"] is self:
                del held["__getattr__"]
        finally:
            self._is_running = False
