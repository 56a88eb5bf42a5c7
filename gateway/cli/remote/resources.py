"""
`twinspan bgw|cgw|connection|tunnel|... list|show|create|update|delete`, and verbs, for each noun.

One factory makes them all. `create` and `update` have an option for each field of the resource;
they are made only when they are called, because the models take long to import.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from functools import partial
from typing import Annotated, cast

import typer
from typer.core import TyperCommand, TyperGroup

from gateway.cli.client import Refused
from gateway.cli.lazy import lazy_group
from gateway.cli.output import Format, OutputOption, Watch, data_text, format_of, table_lines, watch
from gateway.cli.remote.config import add_config
from gateway.cli.remote.http import Api, Query
from gateway.cli.remote.names import Names, completer, found, id_of, path_of
from gateway.cli.remote.nouns import NOUNS, Column, Json, Noun, Verb, cell, row_of
from gateway.cli.remote.options import pair
from gateway.cli.remote.session import (
    Cascade,
    ContextOption,
    DryRun,
    TenantOption,
    Yes,
    agree,
    speaking,
)
from gateway.cli.remote.signature import Parameter, add_command, argument, group, known, option

COMMON = (
    known("output", OutputOption, None),
    known("context", ContextOption, None),
    known("tenant", TenantOption, None),
)
Revision = Annotated[
    int | None,
    typer.Option("--if-match", metavar="REVISION", help="only if it is at this revision"),
]
_Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="until the node has done it, or could not")
]
ACTIONS = "/v1/actions"
POLL_S = 0.2
Values = Mapping[str, object]


def _secret_commands(noun: Noun, app: typer.Typer) -> None:
    for field in noun.secrets:
        word = field.replace("_", "-")
        help = f"Print this one secret of {noun.one}; it is in the audit log who did."
        add_command(app, word, help, [one_of(noun), *COMMON], partial(_reveal, noun, field))


def _reveal(noun: Noun, field: str, values: Values) -> None:
    form = format_of(cast(Format | None, values["output"]))
    with speaking(*whom(values)) as api:
        path = path_of(noun, id_of(api, noun, str(values["resource"])))
        answer = api.get(f"{path}/{field.replace('_', '-')}")
    is_data = form in (Format.JSON, Format.YAML)
    typer.echo(data_text(answer, form) if is_data else answer[field])


def noun_group(name: str) -> TyperGroup:
    """Return the commands of one noun."""
    noun = NOUNS[name]
    changes = ("create", "update") if noun.can_change else ()
    makers = {name: partial(_change_command, noun, name) for name in changes}
    app = typer.Typer(
        cls=lazy_group(makers),
        help=f"{noun.title}s of the control plane.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    add_command(
        app, "list", f"List all {noun.title}s.", _list_parameters(noun), partial(_list, noun)
    )
    add_command(
        app, "show", f"Show one {noun.title}.", _show_parameters(noun), partial(_show, noun)
    )
    if noun.can_change:
        parameters = _delete_parameters(noun)
        add_command(app, "delete", f"Delete {noun.title}s.", parameters, partial(_delete, noun))
    for verb in noun.verbs:
        add_command(
            app, verb.name, verb.help, _verb_parameters(noun, verb), partial(_act, noun, verb)
        )
    _secret_commands(noun, app)
    if name == "connection":
        add_config(app, noun)
    return group(app, name)


def _change_command(noun: Noun, name: str) -> TyperCommand:
    # Imported here: it needs the models of the API, and pydantic with them.
    from gateway.cli.remote import change

    return change.create_command(noun) if name == "create" else change.update_command(noun)


def one_of(noun: Noun) -> Parameter:
    return argument("resource", f"name or id of the {noun.title}", completer(noun.name))


def _several(noun: Noun) -> Parameter:
    info = typer.Argument(
        metavar="RESOURCE...",
        help=f"names or ids of {noun.title}s",
        autocompletion=completer(noun.name),
    )
    return known("resources", Annotated[list[str], info], Parameter.empty)


def _list_parameters(noun: Noun) -> list[Parameter]:
    filters = [
        option(
            "--" + key.replace("_", "-"),
            f"only those of this {NOUNS[of].title}",
            name=f"filter_{key}",
            complete=completer(of),
        )
        for key, of in noun.filters.items()
    ]
    texts = [
        option(f"--{key}", f"only those with this {key}", name=f"filter_{key}")
        for key in noun.texts
    ]
    named = [
        option("--name", "only the one with this name", name="filter_name"),
        option("--tag", "only those with this tag", list[str], metavar="KEY=VALUE"),
        option("--sort", "by this field; with - before it, the other way round"),
    ]
    return [
        *filters,
        *texts,
        *(named if noun.has_names else []),
        option("--limit", "at most so many", int),
        known("watching", Watch, False),
        *COMMON,
    ]


def _list(noun: Noun, values: Values) -> None:
    form = format_of(cast(Format | None, values["output"]))
    with speaking(*whom(values)) as api:
        query = _query(api, noun, values)
        limit = cast(int | None, values["limit"]) or 0
        if values["watching"]:
            watch(lambda: listed(api, noun, form, list(api.pages(noun.path, query, limit))))
        items = list(api.pages(noun.path, query, limit))
        if form in (Format.JSON, Format.YAML):
            typer.echo(data_text({"items": items}, form))
            return
        for line in listed(api, noun, form, items).values():
            typer.echo(line)


def whom(values: Values) -> tuple[str | None, str | None]:
    return cast(str | None, values["context"]), cast(str | None, values["tenant"])


def _query(api: Api, noun: Noun, values: Values) -> Query:
    query: dict[str, str | int] = {}
    for key in ("name", *noun.texts, *noun.filters):
        if (wanted := values.get(f"filter_{key}")) is not None:
            of = noun.filters.get(key)
            query[key] = id_of(api, NOUNS[of], str(wanted)) if of else str(wanted)
    for text in cast(list[str] | None, values.get("tag")) or []:
        key, value = pair(text, "--tag")
        query[f"tag.{key}"] = value
    if values.get("sort") is not None:
        query["sort"] = str(values["sort"])
    return query


def listed(api: Api, noun: Noun, form: Format, items: list[Json]) -> dict[str, str]:
    """Return resources as lines by what each is about, the head of a table under ""."""
    ids = [str(item.get("id") or item.get("name")) for item in items]
    if form in (Format.JSON, Format.YAML):
        return {id: json.dumps(item) for id, item in zip(ids, items, strict=True)}
    if form is Format.NAME:
        return {id: str(item.get("name") or id) for id, item in zip(ids, items, strict=True)}
    columns: tuple[Column, ...] = tuple(noun.columns)
    if form is Format.WIDE:
        columns += tuple(noun.wide)
    if not items:
        return {}
    names = Names(api)
    rows = [row_of(item, columns, names.of) for item in items]
    lines = table_lines([column.title for column in columns], rows)
    return dict(zip(["", *ids], lines, strict=True))


def _show_parameters(noun: Noun) -> list[Parameter]:
    return [one_of(noun), known("watching", Watch, False), *COMMON]


def _show(noun: Noun, values: Values) -> None:
    form = format_of(cast(Format | None, values["output"]))
    with speaking(*whom(values)) as api:
        id = id_of(api, noun, str(values["resource"]))
        if values["watching"]:
            watch(lambda: shown(api, noun, form, api.get(path_of(noun, id))))
        for line in shown(api, noun, form, api.get(path_of(noun, id))).values():
            typer.echo(line)


def shown(api: Api, noun: Noun, form: Format, item: Json) -> dict[str, str]:
    """Return one resource as lines by what each is about."""
    if form in (Format.JSON, Format.YAML):
        return {"": data_text(item, form)}
    if form is Format.NAME:
        return {"": str(item.get("name") or item.get("id"))}
    names = Names(api)
    of = {column.key: column.of for column in (*noun.columns, *noun.wide) if column.of}
    rows = []
    for key, value in flat(item):
        text = cell(value)
        if text == "-" and form is not Format.WIDE:
            continue  # of a tunnel that is nearly all: its connection says it
        is_reference = key in of and text != "-"
        name = names.of(of[key], text) if is_reference else text
        rows.append((key, name if name == text else f"{name} ({text})"))
    return dict(zip([key for key, _ in rows], table_lines(("", ""), rows)[1:], strict=True))


def flat(table: Mapping[str, object], before: str = "") -> list[tuple[str, object]]:
    """Return the values of a table and of those within it, each with its path; tags stay whole."""
    pairs: list[tuple[str, object]] = []
    for key, value in table.items():
        if isinstance(value, dict) and value and key != "tags":
            pairs += flat(value, f"{before}{key}.")
        else:
            pairs.append((before + key, value))
    return pairs


def _delete_parameters(noun: Noun) -> list[Parameter]:
    return [
        _several(noun),
        known("yes", Yes, False),
        *([known("cascade", Cascade, False)] if noun.cascades else []),
        known("dry_run", DryRun, False),
        known("if_match", Revision, None),
        *COMMON[1:],
    ]


def _delete(noun: Noun, values: Values) -> None:
    expected = cast(int | None, values["if_match"])
    dry_run = bool(values["dry_run"])
    query = {**(dry_query(dry_run) or {}), **({"cascade": "true"} if values.get("cascade") else {})}
    with speaking(*whom(values)) as api:
        items = [found(api, noun, text) for text in cast(list[str], values["resources"])]
        names = [str(item.get("name") or item["id"]) for item in items]
        agree(f"delete {noun.title} {', '.join(names)}?", bool(values["yes"]) or dry_run)
        for item, name in zip(items, names, strict=True):
            path = path_of(noun, str(item.get("id") or name))
            api.send("DELETE", path, query=query, expected=expected)
            typer.echo(f"{name}: {'can be deleted' if dry_run else 'deleted'}")


def dry_query(dry_run: bool) -> Query | None:
    return {"dry_run": "true"} if dry_run else None


def _verb_parameters(noun: Noun, verb: Verb) -> list[Parameter]:
    asking = [known("yes", Yes, False)] if verb.asks else []
    switches = [
        known(f"switch_{name}", Annotated[bool, typer.Option(f"--{name}", help=text)], False)
        for name, text in verb.switches.items()
    ]
    return [_several(noun), *switches, *asking, known("waiting", _Wait, True), *COMMON[1:]]


def _act(noun: Noun, verb: Verb, values: Values) -> None:
    with speaking(*whom(values)) as api:
        items = [found(api, noun, text) for text in cast(list[str], values["resources"])]
        names = [str(item.get("name") or item["id"]) for item in items]
        if verb.asks:
            agree(f"{', '.join(names)}: {verb.asks}?", bool(values["yes"]))
        for item, name in zip(items, names, strict=True):
            path = f"{path_of(noun, str(item['id']))}/{verb.name}"
            query = {key: "true" for key in verb.switches if values[f"switch_{key}"]}
            answer = api.send("POST", path, query=query)
            typer.echo(f"{name}: {_ended(api, verb, answer.body, waiting=bool(values['waiting']))}")
            for key in verb.shown:
                typer.echo(f"{key} {cell(answer.body[key])}")


def _ended(api: Api, verb: Verb, answer: Json, *, waiting: bool) -> str:
    """Return what has become of an action, having waited for its node. Raises Refused."""
    id, now = answer.get("action"), answer
    if id is None or "state" not in answer:  # it holds already, whenever its node hears of it
        return str(answer.get("detail") or verb.said)
    while waiting and now.get("state") == "pending":
        time.sleep(POLL_S)
        now = api.get(f"{ACTIONS}/{id}")
    if now.get("state") == "failed":
        raise Refused(f"{verb.name}: {now.get('text')}")
    return f"{verb.said}" + (f": {now['text']}" if now.get("text") else f" ({id})")
