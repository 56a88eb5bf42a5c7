"""
Trials in a process that has everything loaded, for changes inside of functions.

The tests are collected once, and run once to see which of them call which function, and how long
they take. For each change a process is forked: the function gets the changed code where it is, and
the tests that call it run, the quickest first, up to the first that fails. A trial costs so the
time of a few tests instead of the import of everything. What no test notices here is tried once
more by `trial`, with all imported anew: a test file may have called the function before its tests.
"""

from __future__ import annotations

import ast
import contextlib
import itertools
import os
import pickle
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import pytest

from tests.mutants.changes import Change

_LEAST_CPU_S = 5
_TIMES = 4  # longer than the unchanged tests: it goes round in circles
_MOST_BYTES = 4 << 30
_WRAPPED = ("fget", "func", "__func__", "__wrapped__")  # of property, cached_property, ...
_SURVIVED, _NOTICED, _BROKEN = 0, 1, 2

_CALLED = "_mutants_called"  # a name in the module that is changed

# Of each function the tests that call it: CPU seconds and number, the quickest first.
Callers = dict[str, list[tuple[float, int]]]


def noticed(
    module: str, path: Path, found: Sequence[Change], tests: Sequence[str], jobs: int
) -> Iterator[Change]:
    """
    Yield the changes that a test notices.

    Raises RuntimeError if the tests fail without any change.
    """
    reading, writing = os.pipe()
    every = tuple(found)
    pid = os.fork()
    if not pid:
        os.close(reading)
        _serve(_Plugin(module, path, every, jobs, writing), tests)
    os.close(writing)
    status = 0
    try:
        with os.fdopen(reading) as lines:
            for line in lines:
                yield every[int(line)]
        status = os.waitpid(pid, 0)[1]
    finally:
        with contextlib.suppress(ProcessLookupError):  # there is none of them left
            os.killpg(pid, signal.SIGKILL)
    if status:
        raise RuntimeError(f"the tests of {module} fail without any change")


def _serve(plugin: _Plugin, tests: Sequence[str]) -> None:
    status = _BROKEN
    try:
        os.setpgid(0, 0)  # Ctrl-C is for the one who started us; it ends us with all trials
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        loaded = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # hypothesis is, already
        options = ["-s", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        status = int(pytest.main([*loaded, *options, *tests], plugins=[plugin]))
    finally:
        os._exit(status)


class _Plugin:
    """Tries the changes in the place of running the tests."""

    def __init__(
        self, module: str, path: Path, found: Sequence[Change], jobs: int, out: int
    ) -> None:
        self._module, self._path, self._found = module, path, found
        self._jobs, self._out = jobs, out

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests as they are, then with each change."""
        module = sys.modules[self._module]
        callers = _callers(session, module, self._path)
        if callers is None:
            raise session.Failed("without any change")
        running: dict[int, int] = {}
        for number, change in enumerate(self._found):
            name = change.function
            if name is None or name not in callers:
                continue
            code = _changed(change, name, self._path)
            while len(running) >= self._jobs:
                self._collect(running)
            running[_begin(session, module, name, code, callers[name])] = number
        while running:
            self._collect(running)
        return True

    def _collect(self, running: dict[int, int]) -> None:
        pid, status = os.wait()
        number = running.pop(pid)
        if status != _SURVIVED:
            os.write(self._out, f"{number}\n".encode())


def _begin(
    session: pytest.Session,
    module: ModuleType,
    function: str,
    code: CodeType,
    wanted: list[tuple[float, int]],
) -> int:
    """Start the tests that call a function, with changed code of it."""
    pid = os.fork()
    if pid:
        return pid
    status = _SURVIVED
    try:
        most_s = _LEAST_CPU_S + int(_TIMES * sum(cpu_s for cpu_s, _ in wanted))
        resource.setrlimit(resource.RLIMIT_CPU, (most_s, most_s))
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
        _put(module, function, code)
        status = _NOTICED
        status = _run(session, [session.items[number] for _, number in wanted])
    finally:
        os._exit(status)


def _run(session: pytest.Session, items: Sequence[pytest.Item]) -> int:
    """Run tests up to the first that fails."""
    for item, following in itertools.zip_longest(items, items[1:]):
        session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return _NOTICED
    return _SURVIVED


# ---- what calls what ----


def _callers(session: pytest.Session, module: ModuleType, path: Path) -> Callers | None:
    """Run all tests without any change, in a process of its own; return None if one fails."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            found = _watched(session, module, path)
            with os.fdopen(writing, "wb") as out:
                pickle.dump(found, out)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    found = pickle.loads(text) if text else None  # from our own process
    return found if found is None else {name: sorted(calls) for name, calls in found.items()}


def _watched(session: pytest.Session, module: ModuleType, path: Path) -> Callers | None:
    called: set[str] = set()
    vars(module)[_CALLED] = called
    tree = ast.parse(path.read_text())
    names = list(_told(tree))
    whole = compile(ast.fix_missing_locations(tree), str(path), "exec", dont_inherit=True)
    for name in names:
        _put(module, name, next(_codes(whole, name)))
    found: Callers = {}
    for number, item in enumerate(session.items):
        _forget(module)
        called.clear()
        began = time.process_time()
        if _run(session, [item]) != _SURVIVED:
            return None
        for name in called:
            found.setdefault(name, []).append((time.process_time() - began, number))
    return found


def _told(tree: ast.Module | ast.ClassDef, owner: str = "") -> Iterator[str]:
    """Make each function tell that it is called; yield their names in the module."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from _told(node, f"{owner}{node.name}.")
        elif isinstance(node, ast.FunctionDef):
            name = f"{owner}{node.name}"
            node.body[:0] = ast.parse(f"{_CALLED}.add({name!r})").body
            yield name


# ---- the code of a function ----


def _changed(change: Change, name: str, path: Path) -> CodeType:
    """Return the code of the function with a change."""
    whole = compile(change.tree(), str(path), "exec", dont_inherit=True)
    return next(_codes(whole, name))


def _codes(code: CodeType, name: str) -> Iterator[CodeType]:
    for one in code.co_consts:
        if isinstance(one, CodeType):
            if one.co_qualname == name:
                yield one
            yield from _codes(one, name)


def _put(module: ModuleType, name: str, code: CodeType) -> None:
    """Give a function of a module other code, wherever it was imported to."""
    *owners, last = name.split(".")
    owner: object = module
    for one in owners:
        owner = getattr(owner, one)
    function = vars(owner)[last]
    while not isinstance(function, FunctionType):
        function = next(getattr(function, one) for one in _WRAPPED if hasattr(function, one))
    function.__code__ = code
    _forget(module)


def _forget(module: ModuleType) -> None:
    """Empty the caches of a module's functions."""
    for one in vars(module).values():
        if hasattr(one, "cache_clear"):
            one.cache_clear()
