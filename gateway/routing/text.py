"""Pieces of BIRD's configuration language. Pure."""

from __future__ import annotations

from collections.abc import Iterable


def block(head: str, lines: Iterable[str]) -> str:
    """Return a block in braces with its lines indented."""
    body = "".join(f"\t{line}\n" for text in lines for line in text.splitlines())
    return f"{head} {{\n{body}}}\n"


def closed(head: str, lines: Iterable[str]) -> str:
    """Return a block where BIRD's grammar has a semicolon behind it."""
    return block(head, lines).rstrip() + ";"
