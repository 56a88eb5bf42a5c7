"""What an IKE SA has to do by itself, most urgent first. One at a time: the window is one."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from enum import IntEnum


class Work(IntEnum):
    """
    Kinds of task; the value is the priority, lowest first (a Delete frees what a rekey replaced).
    """

    INIT = 0
    AUTH = 1
    CLOSE = 2  # delete this IKE SA
    DELETE_CHILD = 3
    REKEY_IKE = 4
    REKEY_CHILD = 5
    NEW_CHILD = 6
    LIVENESS = 7
    INTERMEDIATE = 9  # never waits: it goes out when the one before is answered


MAKES_SA = frozenset({Work.REKEY_IKE, Work.REKEY_CHILD, Work.NEW_CHILD})


@dataclass(frozen=True, slots=True, order=True)
class Task:
    """
    One thing to do. `spi` is the inbound SPI of the Child SA it is about, `slot` the place of the
    one it is to make; 0 for the others.
    """

    work: Work
    spi: int = 0
    slot: int = 0


class TaskQueue:
    """Tasks that wait for the window, each at most once, most urgent first."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: list[Task] = []

    def add(self, task: Task) -> None:
        """Add a task unless it waits already."""
        if task not in self._tasks:
            self._tasks.append(task)
            self._tasks.sort()

    def take(self, waits: Container[Work] = ()) -> Task | None:
        """Take off and return the most urgent task of those whose work has not to wait."""
        for task in self._tasks:
            if task.work not in waits:
                self._tasks.remove(task)
                return task
        return None

    def drop(self, task: Task) -> None:
        """Take off one task, if it waits."""
        if task in self._tasks:
            self._tasks.remove(task)

    def clear(self) -> tuple[Task, ...]:
        """Take off and return everything."""
        tasks, self._tasks = tuple(self._tasks), []
        return tasks

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks)
