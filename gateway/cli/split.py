"""`twinspan split`: the documents of several gateway VMs from one description."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import write

if TYPE_CHECKING:
    from gateway.model.document import Table
    from gateway.model.split import Node

_Document = Annotated[
    Path, typer.Argument(metavar="DOCUMENT", help="a document with the public addresses of all VMs")
]
_Nodes = Annotated[
    list[str] | None,
    typer.Option(
        "--node",
        metavar="NAME=ADDRESS[,ADDRESS]",
        help="a VM and its public addresses, once for each VM; without it, each address is a VM",
    ),
]
_Lines = Annotated[
    list[str] | None,
    typer.Option(
        "--direct-line",
        metavar="LINE=NAME",
        help="the VM at which a direct line ends, once for each",
    ),
]


def split(
    document: _Document,
    node: _Nodes = None,
    direct_line: _Lines = None,
    yes: write.Yes = False,
    dry_run: write.DryRun = False,
    as_json: write.AsJson = False,
) -> None:
    """
    Make the documents of several gateway VMs from one: NAME.toml beside it for each VM.

    Each VM gets the tunnels on its own addresses; all else is repeated. To change something, edit
    the one document and split it again.
    """
    # Imported here: pydantic would double the start time of every other command.
    from gateway.errors import ConfigError

    try:
        changes, made = _split(document, node or [], direct_line or [])
    except ConfigError as error:
        write.refuse(error.problems, as_json=as_json)
    write.offer(changes, made, yes=yes, dry_run=dry_run, as_json=as_json)


def _split(
    path: Path, words: Sequence[str], line_words: Sequence[str]
) -> tuple[list[write.Change], write.Made]:
    """Return the documents as changes of files, judged. Raises ConfigError."""
    from gateway.model import split as model
    from gateway.model.load import loaded_from, read_document_text

    text = read_document_text(path)
    loaded = loaded_from(text, path)
    nodes = model.nodes_of(loaded.document, words, line_words)
    parts = model.split(tomllib.loads(text), loaded.document, nodes)
    changes = [_change(path, node, part) for node, part in zip(nodes, parts, strict=True)]
    for change in changes:
        loaded_from(change.new, change.path)
    warnings = [
        f"{path}: vpn_connection[{connection}]: all its tunnels are on {name}: it ends with that VM"
        for connection, name in model.on_one_node(loaded.document, nodes)
    ]
    result = {"nodes": {node.name: [str(a) for a in node.addresses] for node in nodes}}
    return changes, write.Made(result, [*loaded.warnings, *warnings], _next_steps(nodes, changes))


def _change(description: Path, node: Node, part: Table) -> write.Change:
    from gateway.errors import ConfigError
    from gateway.model.load import read_document_text
    from gateway.model.toml_text import toml_text

    path = description.parent / f"{node.name}.toml"
    if path.resolve() == description.resolve():
        raise ConfigError([f"node: {node.name}: {path} is the description itself"])
    head = (
        f"# Made by `twinspan split {description.name}`: edit that document and split it again.\n"
    )
    old = read_document_text(path) if path.exists() else None
    return write.Change(path, old, f"{head}\n{toml_text(part)}", description)


def _next_steps(nodes: Sequence[Node], changes: Sequence[write.Change]) -> list[str]:
    steps = [
        f"gateway VM {node.name} needs {change.path}, with its key files beside it"
        for node, change in zip(nodes, changes, strict=True)
    ]
    return [*steps, "then, on each: twinspan reload"]
