"""
`create` and `update` of each noun: an option for each field, from the schema of the API.

`--set` says what has no option, `--from-file` gives a whole resource; options win over both.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, cast

import typer
from typer.core import TyperCommand

from gateway.cli.output import Format, data_text, format_of, yaml_table
from gateway.cli.remote.http import Answer
from gateway.cli.remote.names import completer, id_of, path_of
from gateway.cli.remote.nouns import BY_KIND, Json, Noun
from gateway.cli.remote.options import (
    PASSWORD,
    FieldOption,
    Shape,
    options_of,
    set_fields,
    value_from,
)
from gateway.cli.remote.resources import COMMON, Revision, Values, dry_query, one_of, whom
from gateway.cli.remote.schemas import change_schema, new_schema
from gateway.cli.remote.session import DryRun, speaking
from gateway.cli.remote.signature import (
    Parameter,
    add_command,
    argument,
    command_of,
    known,
    option,
)
from gateway.errors import ConfigError

SHOWN_ONCE = ("token", "registration_token", "secret")
STANDARD_INPUT = "-"
_Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="a field without an option; JSON, or else a text"
    ),
]
_FromFile = Annotated[
    Path | None,
    typer.Option("--from-file", "-f", metavar="FILE", help="fields from TOML, YAML or JSON"),
]
_Reset = Annotated[
    list[str] | None, typer.Option("--reset", metavar="FIELD", help="back to its default")
]


def create_command(noun: Noun) -> TyperCommand:
    """Return `create` of a noun."""
    fields = options_of(new_schema(noun))
    named = [field for field in fields if field.key == "name"]
    parameters = [
        *(argument("name", field.help, is_required=field.is_required) for field in named),
        *_field_parameters([field for field in fields if field.key != "name"]),
        known("assignments", _Set, None),
        known("from_file", _FromFile, None),
        known("dry_run", DryRun, False),
        *COMMON,
    ]
    return _command("create", f"Make {noun.one}.", parameters, partial(_create, noun, fields))


def update_command(noun: Noun) -> TyperCommand:
    """Return `update` of a noun."""
    fields = options_of(change_schema(noun))
    parameters = [
        one_of(noun),
        *_field_parameters(fields),
        known("assignments", _Set, None),
        known("resets", _Reset, None),
        known("from_file", _FromFile, None),
        known("if_match", Revision, None),
        known("dry_run", DryRun, False),
        *COMMON,
    ]
    help = f"Change {noun.one}: what is not named stays as it is."
    return _command("update", help, parameters, partial(_update, noun, fields))


def _command(
    name: str, help: str, parameters: list[Parameter], run: Callable[[Values], None]
) -> TyperCommand:
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    add_command(app, name, help, parameters, run)
    return command_of(app, name)


def _create(noun: Noun, fields: list[FieldOption], values: Values) -> None:
    with speaking(*whom(values)) as api:
        body = _body(fields, values)
        if values.get("name") is not None:
            body["name"] = values["name"]
        is_needed = PASSWORD not in body and any(field.key == PASSWORD for field in fields)
        if is_needed and sys.stdin.isatty():
            body[PASSWORD] = typer.prompt(PASSWORD, hide_input=True, confirmation_prompt=True)
        dry_run = bool(values["dry_run"])
        answer = api.send("POST", noun.path, body, query=dry_query(dry_run))
    _say(noun, answer, "could be made" if dry_run else "made", values)


def _update(noun: Noun, fields: list[FieldOption], values: Values) -> None:
    with speaking(*whom(values)) as api:
        body = _body(fields, values)
        body |= dict.fromkeys(cast(list[str] | None, values["resets"]) or [])
        if not body:
            raise ConfigError(["nothing to change: name at least one field"])
        dry_run = bool(values["dry_run"])
        path = path_of(noun, id_of(api, noun, str(values["resource"])))
        expected = cast(int | None, values["if_match"])
        answer = api.send("PATCH", path, body, query=dry_query(dry_run), expected=expected)
    _say(noun, answer, "could be changed" if dry_run else "changed", values)


def _say(noun: Noun, answer: Answer, done: str, values: Values) -> None:
    form = format_of(cast(Format | None, values["output"]))
    item = answer.body
    name = str(item.get("name") or item.get("id"))
    if form in (Format.JSON, Format.YAML):
        typer.echo(data_text(item, form))
    elif form is Format.NAME:
        typer.echo(name)
    else:
        id = item.get("id")
        typer.echo(f"{noun.title} {name}: {done}" + (f" ({id})" if id not in (None, name) else ""))
        for key in SHOWN_ONCE:
            if item.get(key):
                typer.echo(f"{key}, shown this once: {item[key]}")


def _body(fields: list[FieldOption], values: Values) -> Json:
    """Return the fields that the command line names. Raises ConfigError."""
    file = cast(Path | None, values["from_file"])
    body = read_table(file) if file else {}
    set_fields(body, cast(list[str] | None, values["assignments"]) or [])
    for field in fields:
        given = values.get(f"field_{field.key}")
        if given is None or given == []:
            continue
        if field.is_pem:
            body[field.key] = read_pem(str(given))
        elif field.is_secret:
            body[field.key] = read_secret(str(given))
        else:
            body[field.key] = value_from(field, given)
    return body


def read_table(file: Path) -> Json:
    """Return the table in a TOML, YAML or JSON file, by its ending. Raises ConfigError."""
    try:
        text = sys.stdin.read() if str(file) == STANDARD_INPUT else file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or "is not UTF-8").lower()
        raise ConfigError([f"{file}: can not be read: {reason}"]) from None
    try:
        table: object
        if file.suffix in (".yaml", ".yml"):
            table = yaml_table(text)
        elif file.suffix == ".json" or text.lstrip().startswith("{"):
            table = json.loads(text)
        else:
            table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError([f"{file}: {str(error) or 'nested too deeply'}"]) from None
    if not isinstance(table, dict):
        raise ConfigError([f"{file}: must hold one table"])
    return table


def read_secret(file: str) -> str:
    """Return the first line of a file, or of the standard input. Raises ConfigError."""
    return read_pem(file).partition("\n")[0].rstrip("\r")


def read_pem(file: str) -> str:
    """Return all of a file, or of the standard input. Raises ConfigError."""
    try:
        return sys.stdin.read() if file == STANDARD_INPUT else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or "is not UTF-8").lower()
        raise ConfigError([f"{file}: can not be read: {reason}"]) from None


def _field_parameters(fields: list[FieldOption]) -> list[Parameter]:
    return [_field_parameter(field) for field in fields if field.shape is not Shape.TABLE]


def _field_parameter(field: FieldOption) -> Parameter:
    name, help = f"field_{field.key}", field.help
    if field.is_pem:
        text = f"{help}; all of this file, - is the standard input"
        return option(field.option, text, name=name)
    if field.is_secret:
        return option(
            field.option, f"{help}; the first line of this file, - is the standard input", name=name
        )
    if field.shape is Shape.MAP:
        return option(field.option.rstrip("s"), help, list[str], name=name, metavar="KEY=VALUE")
    if field.shape is Shape.FLAG:
        flag = f"{field.option}/--no-{field.option[2:]}"
        return option(flag, help, bool, name=name)
    kinds = {Shape.INTEGER: int, Shape.NUMBER: float}
    metavar = "A,B,..." if field.shape is Shape.LIST else None
    noun = BY_KIND.get(field.key)
    complete = completer(noun.name) if noun else _completes(field.words)
    return option(
        field.option,
        help,
        kinds.get(field.shape, str),
        name=name,
        metavar="|".join(field.words) if field.words and not metavar else metavar,
        complete=complete,
    )


def _completes(words: tuple[str, ...]) -> Callable[[str], list[str]] | None:
    if not words:
        return None
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]
