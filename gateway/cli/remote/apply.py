"""
`twinspan apply`, `confirm` and `export`: the tree of a tenant from a file, and as one.

The control plane carries out the steps and takes them back by itself, so it does not matter what
becomes of this terminal.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from gateway.cli.client import Refused, Unreachable
from gateway.cli.output import Format, OutputOption, data_text, format_of
from gateway.cli.remote.contexts import chosen
from gateway.cli.remote.http import COMPLETION_TIMEOUT_S, Api, ApiRefused
from gateway.cli.remote.nouns import BY_KIND, Json
from gateway.cli.remote.session import ContextOption, TenantOption, Yes, agree, speaking
from gateway.cli.write import painted_diff, text_diff
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from gateway.cli.remote.tree import Actual, Change, Plan

APPLIES = "/v1/applies"
CONFIRM_S_MAX = 3600
POLL_S = 0.2
JUDGE_TIMEOUT_S = 300.0  # thousands of steps are judged before the answer
_File = Annotated[
    Path, typer.Option("--file", "-f", help="TOML, YAML or JSON; - is the standard input, in TOML")
]


def apply(
    file: _File,
    confirm: Annotated[
        int,
        typer.Option(
            "--confirm",
            metavar="SECONDS",
            min=0,
            max=CONFIRM_S_MAX,
            help="take it back unless it is confirmed within so many seconds",
        ),
    ] = 0,
    prune: Annotated[bool, typer.Option("--prune", help="delete what is not in the file")] = False,
    yes: Yes = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="show the difference, and change nothing")
    ] = False,
    output: OutputOption = None,
    context: ContextOption = None,
    tenant: TenantOption = None,
) -> None:
    """
    Make the control plane have what a file says: the one that `twinspan gateway --config` takes.

    Shows the difference of each resource and asks. What the file does not mention stays, unless
    --prune is given. With --confirm all is taken back by the control plane itself, unless `twinspan
    confirm` (or Enter) comes in time.
    """
    form = format_of(output)
    with speaking(context, tenant) as api:
        carry_out(api, _read(file), form, confirm=confirm, prune=prune, yes=yes, dry_run=dry_run)


def carry_out(
    api: Api,
    document: Json,
    form: Format,
    *,
    confirm: int = 0,
    prune: bool = False,
    yes: bool,
    dry_run: bool,
    is_part: bool = False,
) -> None:
    """
    Make the control plane have what a document says; show the difference and ask before.

    `is_part`: that there is more than in the document goes without saying. Ends the program where
    it is said what has become of it.
    """
    api.timeout_s = JUDGE_TIMEOUT_S
    plan, warnings = _judged(api, _planned(api, document, prune=prune))
    if is_part:
        plan = replace(plan, left=())
    if form is Format.TABLE:
        _show(plan, warnings)
    if not plan.changes:
        _say_nothing(form)
        return
    if dry_run:
        _say(form, {"state": "dry_run", **_told(plan, warnings)}, "nothing is changed")
        return
    if form is not Format.TABLE and not yes:
        raise ConfigError(["--output: needs --yes or --dry-run beside it"])
    agree("apply this?", yes)
    begun = api.send("POST", APPLIES, {"steps": plan.steps(), "confirm_s": confirm}).body
    ended = _followed(api, begun, is_told=form is Format.TABLE)
    if ended["state"] == "waiting" and form is Format.TABLE:
        ended = _confirmed(api, ended)
    _end(ended, form)


# ---- what is to be done ----


def _read(file: Path) -> Json:
    # Imported here: it needs the models of the API, and pydantic with them.
    from gateway.cli.remote.change import read_table

    document = read_table(file)
    _read_files(document, file.parent)
    if document.pop("gateway", None) is not None:
        typer.echo("note: [gateway] is left out: it is what nodes have (twinspan node)", err=True)
    return document


def _planned(api: Api, document: Json, *, prune: bool) -> Plan:
    from gateway.cli.remote import tree

    wanted = tree.wanted_of(document)
    operators = [kind for kind in tree.OPERATORS if kind in document]
    return tree.planned(wanted, actual_tree(api, operators), prune=prune)


def actual_tree(api: Api, operators: Sequence[str] = ()) -> list[Actual]:
    """Return what the control plane has of a tenant, and of the operator's kinds named."""
    from gateway.cli.remote import tree

    kinds = [kind for kind in tree.ORDER if kind not in tree.OPERATORS or kind in operators]
    items = {kind: list(api.pages(BY_KIND[kind].path)) for kind in kinds}
    return tree.actual_of(items, others=list(api.pages(BY_KIND["node"].path)))


def _read_files(document: Json, place: Path) -> None:
    """Put what is in the files that keys such as `psk_file` name in place. Raises ConfigError."""
    from gateway.cli.remote.change import read_pem, read_secret
    from gateway.model.problem import FILE_KEYS

    connections = document.get("vpn_connection")
    for connection in connections if isinstance(connections, list) else []:
        tunnels = connection.get("tunnel") if isinstance(connection, dict) else None
        for table in (connection, *(tunnels if isinstance(tunnels, list) else [])):
            for file_key, key in FILE_KEYS.items() if isinstance(table, dict) else ():
                if isinstance(name := table.pop(file_key, None), str):
                    read = read_secret if file_key == "psk_file" else read_pem
                    table[key] = read(str(place / name))


def _judged(api: Api, plan: Plan) -> tuple[Plan, list[str]]:
    """Return the plan without what changes nothing, judged by the control plane, and warnings."""
    from gateway.cli.remote.tree import Plan

    if not plan.changes:
        return plan, []
    steps = plan.steps()
    try:
        answer = api.send("POST", APPLIES, {"steps": steps}, query={"dry_run": "true"}).body
    except ApiRefused as error:
        step = error.problem.get("step")
        if isinstance(step, int) and step < len(steps):
            typer.echo(f"twinspan: {steps[step]['kind']}/{steps[step]['name']}:", err=True)
        raise
    fields = {
        (step["kind"], step["name"]): set(cast(list[str], step["fields"]))
        for step in _objects(answer["steps"])
        if step["action"] == "update"
    }
    changes = [
        change.without_secrets(change.secrets() - fields[change.step_name])
        if change.step_name in fields
        else change
        for change in plan.changes
    ]
    changes = [each for each in changes if each.is_certain or fields[each.step_name]]
    warnings = answer.get("warnings")
    return Plan(tuple(changes), plan.left), [
        str(one) for one in (warnings if isinstance(warnings, list) else [])
    ]


# ---- what is said before ----


def _show(plan: Plan, warnings: Sequence[str]) -> None:
    colours = sys.stdout.isatty()
    for change in plan.changes:
        for line in _diff(change):
            typer.echo(painted_diff(line, colours=colours))
    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)
    for key in plan.left:
        typer.echo(
            f"note: {'/'.join(key)} is not in the file and stays (--prune deletes it)", err=True
        )
    anew = [change.name for change in plan.changes if change.word == "made anew"]
    if anew:
        typer.echo(f"note: is deleted and made anew, with what it carries: {', '.join(anew)}")


def _diff(change: Change) -> list[str]:
    from gateway.model.toml_text import toml_text

    before, after = (None if one is None else toml_text(one) for one in (change.old, change.new))
    return text_diff(change.name, before, after)


def _told(plan: Plan, warnings: Sequence[str]) -> Json:
    changes = [
        {"resource": change.name, "change": change.word, "diff": _diff(change)}
        for change in plan.changes
    ]
    left = ["/".join(key) for key in plan.left]
    return {"changes": changes, "not_in_file": left, "warnings": list(warnings)}


def _say_nothing(form: Format) -> None:
    _say(form, {"state": "same", "changes": []}, "no difference")


def _say(form: Format, answer: Json, text: str) -> None:
    is_data = form in (Format.JSON, Format.YAML)
    typer.echo(data_text(answer, form) if is_data else text)


# ---- what is said meanwhile and after ----


def _followed(api: Api, begun: Json, *, is_told: bool) -> Json:
    """Return an apply when its steps are over; tell each one that is done."""
    told, now = 0, begun
    while True:
        steps, done = _objects(now["steps"]), int(cast(int, now["done"]))
        if is_told:
            for step in steps[told:done]:
                typer.echo(f"{step['kind']}/{step['name']}: {_DONE[str(step['action'])]}")
        told = done
        if now["state"] not in ("running", "taking_back"):
            return now
        time.sleep(POLL_S)
        now = api.get(f"{APPLIES}/{begun['id']}")


_DONE = {"create": "made", "update": "changed", "delete": "deleted"}


def _confirmed(api: Api, waiting: Json) -> Json:
    """Wait for Enter at a terminal, and confirm; elsewhere say how to. Ctrl-C takes it back."""
    path = f"{APPLIES}/{waiting['id']}"
    typer.echo(f"{waiting['id']} is taken back at {waiting['confirm_by']}, unless it is confirmed:")
    if not sys.stdin.isatty():
        typer.echo(f"twinspan confirm {waiting['id']}")
        return waiting
    typer.echo("press Enter to keep it, Ctrl-C to take it back now")
    try:
        while (now := api.get(path))["state"] == "waiting":
            if select.select([sys.stdin], [], [], 1.0)[0]:
                sys.stdin.readline()
                return api.send("POST", f"{path}/confirm").body
    except KeyboardInterrupt:
        now = api.send("POST", f"{path}/take-back").body
    return _followed(api, now, is_told=False)


@dataclass(frozen=True, slots=True)
class _Ending:
    """What is said of an apply in a state, and with which exit status."""

    text: str
    exit_status: int = 0


_ENDINGS = {
    "done": _Ending("all is done"),
    "waiting": _Ending("all is done, and waits to be confirmed"),
    "confirmed": _Ending("all is done, and stays"),
    "failed": _Ending("it has stopped; what is above is done, the rest is not", 1),
    "taken_back": _Ending("it has been taken back: all is as it was", 1),
}


def _end(ended: Json, form: Format) -> None:
    """Say what has become of an apply, and end with the exit status of that."""
    ending = _ENDINGS[str(ended["state"])]
    status = ending.exit_status
    problem = ended.get("problem")
    if isinstance(problem, dict):
        refused = ApiRefused(int(problem["status"]), cast(Json, problem))
        status = refused.exit_status
        step = _objects(ended["steps"])[int(problem.get("step", 0))]
        typer.echo(f"twinspan: {step['kind']}/{step['name']}: {refused}", err=True)
    if form is not Format.TABLE:
        typer.echo(data_text(ended, form))
        raise typer.Exit(status)
    for one in _objects(ended.get("left")):
        typer.echo(f"{one['kind']}/{one['id']}: stays as it is now: {one['detail']}", err=True)
    steps = _objects(ended["steps"])
    if ended["state"] == "failed":
        for step in steps[int(cast(int, ended["done"])) :]:
            typer.echo(f"not done: {step['action']} {step['kind']}/{step['name']}", err=True)
    typer.echo(ending.text)
    raise typer.Exit(status)


def complete_apply(incomplete: str) -> list[str]:
    """Return the ids of applies that wait to be confirmed."""
    try:
        with Api(chosen(os.environ, None), COMPLETION_TIMEOUT_S) as api:
            items = _waiting(api)
    except (Unreachable, Refused, ConfigError):
        return []
    return [id for one in items if (id := str(one["id"])).startswith(incomplete)]


def _waiting(api: Api) -> list[Json]:
    return [one for one in _objects(api.get(APPLIES)["items"]) if one["state"] == "waiting"]


def confirm(
    apply: Annotated[
        str | None,
        typer.Argument(
            help="id of an apply; without it, the one that waits", autocompletion=complete_apply
        ),
    ] = None,
    take_back: Annotated[
        bool, typer.Option("--take-back", help="take it back now instead")
    ] = False,
    context: ContextOption = None,
    tenant: TenantOption = None,
) -> None:
    """Keep what `apply --confirm` has changed."""
    with speaking(context, tenant) as api:
        id = apply or _only(_waiting(api))
        if take_back:
            now = api.send("POST", f"{APPLIES}/{id}/take-back").body
            now = _followed(api, now, is_told=False)
            while now["state"] == "waiting":  # until a control process sees to it
                time.sleep(POLL_S)
                now = _followed(api, api.get(f"{APPLIES}/{id}"), is_told=False)
            typer.echo(f"{id}: {_ENDINGS[str(now['state'])].text}")
            return
        api.send("POST", f"{APPLIES}/{id}/confirm")
    typer.echo(f"{id}: is confirmed, and stays")


def _only(waiting: Sequence[Json]) -> str:
    if len(waiting) == 1:
        return str(waiting[0]["id"])
    if not waiting:
        raise ApiRefused(404, {"detail": "no apply waits to be confirmed"})
    ids = ", ".join(str(one["id"]) for one in waiting)
    raise ApiRefused(409, {"detail": f"several wait to be confirmed; name one: {ids}"})


# ---- export ----


def export(
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="toml|yaml|json", help="the form")
    ] = "toml",
    secrets: Annotated[
        bool, typer.Option("--secrets", help="with keys and passwords; each is in the audit log")
    ] = False,
    fleet: Annotated[
        bool, typer.Option("--fleet", help="with nodes and address pools; the operator's alone")
    ] = False,
    context: ContextOption = None,
    tenant: TenantOption = None,
) -> None:
    """
    Print the whole tree of a tenant as one document, which `twinspan apply` takes.

    Applied again it makes no difference. Without --secrets the keys are left out, and stay.
    """
    with speaking(context, tenant) as api:
        from gateway.cli.remote import tree

        if output not in ("toml", "yaml", "json"):
            raise ConfigError([f"--output: must be toml, yaml or json ({output!r})"])
        actual = actual_tree(api, tree.OPERATORS if fleet else ())
        known = {one.id: _secrets(api, one) for one in actual} if secrets else {}
        document = tree.document_of(actual, known)
    typer.echo(_document_text(document, output))


def _document_text(document: Json, form: str) -> str:
    from gateway.model.toml_text import toml_text

    if form == "toml":
        return toml_text(document).rstrip("\n")
    return data_text(document, Format(form))


def _secrets(api: Api, one: Actual) -> Json:
    """Return the secrets that a resource has of its own."""
    found: Json = {}
    for name in sorted(one.kind.secrets):
        if one.answer.get(f"{name}_version"):
            path = f"{BY_KIND[one.kind.name].path}/{one.id}/{name.replace('_', '-')}"
            found[name] = api.get(path)[name]
    return found


def _objects(value: object) -> list[Json]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
