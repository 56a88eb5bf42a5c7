"""
The reference of all commands as Markdown, from the program itself.

`python -m tests.cli.reference` writes it into docs/cli.md; a test compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from gateway.cli import app
from gateway.cli.examples import EXAMPLES
from gateway.cli.remote.nouns import NOUNS

PAGE = Path(__file__).parents[2] / "docs/cli.md"
MARK = "<!-- From here on made by: python -m tests.cli.reference -->\n"
# What the page says once, for all commands.
COMMON = {"help", "output", "context", "tenant", "yes", "dry_run", "watching", "as_json"}
COMMON |= {"runtime_dir", "install_completion", "show_completion", "if_match"}
ALIKE = ("list", "show", "create", "update", "delete")
FILTERS = {"filter_name", "tag", "sort", "limit"}
NAMES = {"resource", "resources"}


def reference() -> str:
    """Return the reference."""
    root: Any = typer.main.get_command(app)
    context = typer.Context(root, info_name="twinspan")
    return "\n".join(_group(root, context, "twinspan")) + "\n"


def _group(group: Any, context: typer.Context, path: str) -> Iterator[str]:
    for name in sorted(group.list_commands(context)):
        command = group.get_command(context, name)
        inner = f"{path} {name}"
        if name in NOUNS:
            yield from _noun(command, context, inner)
        elif hasattr(command, "list_commands"):
            yield from [f"\n## {inner}", "", _text(command)]
            yield from _parameters(command)
            yield from _group(command, context, inner)
        else:
            yield f"\n{'###' if ' ' in path else '##'} {inner}"
            yield from ["", _usage(command, inner), "", _text(command)]
            yield from _parameters(command)
            yield from _examples(inner)


def _noun(group: Any, context: typer.Context, path: str) -> Iterator[str]:
    """Yield a resource's section: its own commands and options; what all have is said once."""
    yield from [f"\n## {path}", ""]
    commands = {name: group.get_command(context, name) for name in group.list_commands(context)}
    filters = [_names(one) for one in _shown(commands["list"]) if one.name not in FILTERS]
    found = ["`list`" + (f" ({', '.join(filters)})" if filters else "")]
    found += [f"`{name}`" for name in ALIKE[1:] if name in commands]
    yield f"Commands: {', '.join(found)}" + (", and:" if set(commands) - set(ALIKE) else ".")
    own = [name for name in commands if name not in ALIKE]
    if own:
        yield ""
    for name in own:
        options = [_names(one) for one in _shown(commands[name]) if one.name not in NAMES]
        yield (
            f"- `{name}`" + "".join(f" [{each}]" for each in options) + f": {_text(commands[name])}"
        )


def _usage(command: Any, path: str) -> str:
    words = [_argument(one) for one in command.params if one.param_type_name == "argument"]
    return f"`{' '.join([path, *words])}`"


def _argument(parameter: Any) -> str:
    word = str(parameter.metavar or parameter.name.upper())
    return word if parameter.required else f"[{word}]"


def _text(command: Any) -> str:
    return " ".join(str(command.help or "").split("\f")[0].split())


def _shown(command: Any) -> list[Any]:
    return [one for one in command.params if one.name not in COMMON and not one.hidden]


def _parameters(command: Any) -> Iterator[str]:
    shown = _shown(command)
    if shown:
        yield ""
    for one in shown:
        yield f"- {_names(one)}: {' '.join(str(one.help or '').split())}"


def _examples(path: str) -> Iterator[str]:
    lines = EXAMPLES.get(path.removeprefix("twinspan "), ())
    if lines:
        yield from ["", "```", *(f"twinspan {line}" for line in lines), "```"]


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_argument(parameter)}`"
    names = ", ".join(f"`{each}`" for each in (*parameter.opts, *parameter.secondary_opts))
    if parameter.is_flag:
        return names
    return f"{names} {parameter.metavar or parameter.type.name.upper()}"


if __name__ == "__main__":
    head = PAGE.read_text().partition(MARK)[0]
    PAGE.write_text(head + MARK + reference())
