"""
What the tests make of one changed module: whether one of them fails.

The process is forked with the test tools loaded and none of our modules, so that a trial costs the
import of those and the tests up to the first that fails.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

import pytest

_SURVIVED = 0  # pytest's own: all tests passed


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from its changed tree; all others as ever."""

    def __init__(self, name: str, code: CodeType, path: Path) -> None:
        self._name, self._code, self._path = name, code, path

    def find_spec(
        self, fullname: str, path: object = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin=str(self._path))

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)  # our own source, changed


@dataclass
class Trial:
    """A running trial."""

    pid: int
    ends_by: float


def begin(
    name: str, path: Path, tree: ast.Module | None, tests: Sequence[str], most_s: float
) -> Trial:
    """Start the tests with a changed module; None for one as it is."""
    pid = os.fork()
    if pid:
        return Trial(pid, time.monotonic() + most_s)
    status = 2
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        if tree is not None:
            code = compile(tree, str(path), "exec", dont_inherit=True)
            sys.meta_path.insert(0, _Changed(name, code, path))
        status = _tests(tests, "not hypothesis") or _tests(tests, "hypothesis")
    finally:
        os._exit(status)


def _tests(tests: Sequence[str], which: str) -> int:
    """Run the tests with a marker; those that draw their examples come last, they take longer."""
    loaded = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # hypothesis is, already
    options = ["-x", "-q", "-m", which, "-p", "no:cacheprovider", "-p", "no:xdist"]
    status = int(pytest.main([*loaded, *options, *tests]))
    return _SURVIVED if status == pytest.ExitCode.NO_TESTS_COLLECTED else status


def end(trial: Trial) -> bool | None:
    """Return whether the change was noticed; None if the tests still run."""
    pid, status = os.waitpid(trial.pid, os.WNOHANG)
    if pid:
        return not (os.WIFEXITED(status) and os.WEXITSTATUS(status) == _SURVIVED)
    if time.monotonic() < trial.ends_by:
        return None
    stop(trial)  # it goes round in circles, which is noticed
    return True


def stop(trial: Trial) -> None:
    """End a trial that still runs."""
    os.kill(trial.pid, signal.SIGKILL)
    os.waitpid(trial.pid, 0)
