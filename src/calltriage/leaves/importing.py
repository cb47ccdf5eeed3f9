"""Importing a module without what the packages around it load."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from itertools import accumulate
from threading import RLock
from typing import Any


def import_alone(name: str) -> None:
    """Import a module, but not its packages' own modules: each runs when something is asked of it that it has not.

    Python runs `a` and `a.b` before `a.b.c`, and a package may import much there that `c` does not need. A package that was
    imported before stays as it is. A module that needs what its packages do first is imported as usual.
    """
    before = {*sys.modules}
    for package in accumulate(name.split(".")[:-1], "{}.{}".format):
        if package not in before:
            _put_off(package)
    try:
        import_module(name)
    except ImportError:
        for loaded in {*sys.modules} - before:
            if loaded.partition(".")[0] == name.partition(".")[0]:
                del sys.modules[loaded]
        import_module(name)


def _put_off(name: str) -> None:
    """Make a package known, with its path, and run it at the first use of what it does not have yet."""
    spec = find_spec(name)
    if spec is None or spec.loader is None:
        return  # importing it says what is wrong
    package, loader, turn = module_from_spec(spec), spec.loader, RLock()
    held = vars(package)
    is_running = False

    def later(wanted: str) -> Any:
        nonlocal is_running
        with turn:
            if is_running:  # what it imports may look for names that it does not have yet
                raise AttributeError(f"module {name!r} has no attribute {wanted!r}")
            if held.get("__getattr__") is later:
                is_running = True
                try:
                    loader.exec_module(package)
                finally:
                    is_running = False
                if held["__getattr__"] is later:
                    del held["__getattr__"]
        return getattr(package, wanted)

    held["__getattr__"] = later
    sys.modules[name] = package
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, package)
