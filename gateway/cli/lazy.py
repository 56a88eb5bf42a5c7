"""Groups whose commands are made only when they are asked for: what is not used costs no start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import typer
from typer.core import TyperCommand, TyperGroup

Maker = Callable[[], TyperCommand | TyperGroup]


def lazy_group(makers: Mapping[str, Maker]) -> type[TyperGroup]:
    """Return a class of groups that have the commands of `makers` behind their own."""

    class LazyGroup(TyperGroup):
        """A group of commands; some are made when their names are called."""

        def list_commands(self, ctx: object) -> list[str]:
            return [*super().list_commands(cast(typer.Context, ctx)), *makers]

        def get_command(self, ctx: object, cmd_name: str) -> TyperCommand | TyperGroup | None:
            if cmd_name in makers:
                return makers[cmd_name]()
            found = super().get_command(cast(typer.Context, ctx), cmd_name)
            return cast(TyperCommand | TyperGroup | None, found)

    return LazyGroup
