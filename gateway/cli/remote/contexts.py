"""
Which control plane the commands speak with: contexts in a file, or the environment, or the socket.

First comes `--context`, then TWINSPAN_URL, TWINSPAN_CONTEXT, the current context of the file, and
at last the control plane's socket on this machine. A context holds a token, so its file is its
owner's alone.
"""

from __future__ import annotations

import os
import stat
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from gateway.cli.client import DEFAULT_RUNTIME_DIR
from gateway.errors import ConfigError

CONTROL_SOCKET = "control.sock"
FILE_MODE = 0o600
_FIELDS = ("url", "token", "token_file", "ca_file", "tenant")


@dataclass(frozen=True, slots=True)
class Context:
    """One control plane: where it is, and who we are there. An empty text: not set."""

    url: str
    token: str = field(default="", repr=False)
    token_file: str = ""
    ca_file: str = ""
    tenant: str = ""

    def bearer(self) -> str:
        """Return the token, from its file if it has one. Raises ConfigError."""
        if not self.token_file:
            return self.token
        try:
            return Path(self.token_file).expanduser().read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is not UTF-8"
            raise ConfigError([f"token_file: {self.token_file}: {reason.lower()}"]) from None


@dataclass(frozen=True, slots=True)
class Contexts:
    """What the contexts file holds. `current` is "" where none has been chosen."""

    by_name: Mapping[str, Context]
    current: str = ""

    def named(self, name: str) -> Context:
        """Return the context of that name. Raises ConfigError."""
        if name not in self.by_name:
            there = ", ".join(self.by_name) or "none"
            raise ConfigError([f"context: no context is named {name!r}; there are: {there}"])
        return self.by_name[name]


def contexts_path(environ: Mapping[str, str]) -> Path:
    """Return where the contexts file is, or would be."""
    if "TWINSPAN_CONTEXTS" in environ:
        return Path(environ["TWINSPAN_CONTEXTS"])
    base = environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "/root")) / ".config"
    return Path(base) / "twinspan" / "contexts.toml"


def read_contexts(path: Path) -> Contexts:
    """Return the contexts of a file, none if there is no file. Raises ConfigError."""
    try:
        mode = path.stat().st_mode
        table = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return Contexts({})
    except OSError as error:
        raise ConfigError([f"{path}: {(error.strerror or str(error)).lower()}"]) from None
    except ValueError as error:  # also bytes that are not UTF-8
        raise ConfigError([f"{path}: {error}"]) from None
    contexts = _contexts(table, path)
    if mode & (stat.S_IRWXG | stat.S_IRWXO) and any(c.token for c in contexts.by_name.values()):
        raise ConfigError([f"{path}: holds a token and is open to others: chmod 600 {path}"])
    return contexts


def _contexts(table: dict[str, object], path: Path) -> Contexts:
    contexts, current = table.get("context", {}), table.get("current", "")
    if not isinstance(contexts, dict) or not isinstance(current, str):
        raise ConfigError([f"{path}: must hold current = NAME and tables [context.NAME]"])
    return Contexts({name: _context(name, one, path) for name, one in contexts.items()}, current)


def _context(name: str, table: object, path: Path) -> Context:
    place = f"{path}: context.{name}"
    if not isinstance(table, dict):
        raise ConfigError([f"{place}: must be a table"])
    for key, value in table.items():
        if key not in _FIELDS:
            raise ConfigError([f"{place}.{key}: unknown key; there are: {', '.join(_FIELDS)}"])
        if not isinstance(value, str):
            raise ConfigError([f"{place}.{key}: must be a string in quotes"])
    if not table.get("url"):
        raise ConfigError([f"{place}.url: is required"])
    return Context(**table)


def write_contexts(path: Path, contexts: Contexts) -> None:
    """Replace the contexts file, its owner's alone. Raises ConfigError."""
    from gateway.model.toml_text import toml_text

    tables = {
        name: {key: value for key in _FIELDS if (value := getattr(context, key))}
        for name, context in contexts.by_name.items()
    }
    text = toml_text({"current": contexts.current, "context": tables})
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".contexts.")  # of mode 0600
        with os.fdopen(handle, "w") as file:
            file.write(text)
        Path(name).replace(path)
    except OSError as error:
        raise ConfigError([f"{path}: {(error.strerror or str(error)).lower()}"]) from None


def chosen(environ: Mapping[str, str], name: str | None, tenant: str | None = None) -> Context:
    """Return the context that a command is to use. Raises ConfigError."""
    context = _without_tenant(environ, name)
    tenant = tenant or environ.get("TWINSPAN_TENANT")
    return replace(context, tenant=tenant) if tenant else context


def _without_tenant(environ: Mapping[str, str], name: str | None) -> Context:
    if name is None and (url := environ.get("TWINSPAN_URL")):
        token, ca_file = environ.get("TWINSPAN_TOKEN", ""), environ.get("TWINSPAN_CA_FILE", "")
        return Context(url, token=token, ca_file=ca_file)
    contexts = read_contexts(contexts_path(environ))
    if name := name or environ.get("TWINSPAN_CONTEXT") or contexts.current:
        context = contexts.named(name)
        token = environ.get("TWINSPAN_TOKEN", "")
        return replace(context, token=token, token_file="") if token else context
    return Context(f"unix:{local_socket(environ)}")


def local_socket(environ: Mapping[str, str]) -> Path:
    """Return where the control plane of this machine listens."""
    return Path(environ.get("TWINSPAN_RUNTIME_DIR", DEFAULT_RUNTIME_DIR)) / CONTROL_SOCKET


def is_chosen(environ: Mapping[str, str]) -> bool:
    """Say whether somebody has named a control plane, by the environment or in the file."""
    if environ.get("TWINSPAN_URL") or environ.get("TWINSPAN_CONTEXT"):
        return True
    return bool(read_contexts(contexts_path(environ)).current)
