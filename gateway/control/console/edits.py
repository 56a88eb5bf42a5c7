"""The pages that change something: forms, checks of one field, confirmations, the wizard."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.control.console import commands, forms
from gateway.control.console.forms import FormField, fields_of, filled, is_common
from gateway.control.console.pages import VERBS, may_write
from gateway.control.console.render import Visit, page, part
from gateway.control.console.source import Source, Table
from gateway.control.problems import ApiProblem, forbidden, not_found
from gateway.control.resources.kinds import KINDS, Kind

CONSEQUENCES = {
    "up": "The tunnel is allowed to run, and is set up. One that was drained gets traffic again.",
    "down": "Its traffic is moved to its twin first; then it is closed, and stays so.",
    "drain": "Its traffic is moved to its twin. It stays up without any, until Up lets it back.",
    "rekey": "New keys are made while traffic goes on. Nothing is interrupted.",
    "reset": "The tunnel is closed and set up anew. What it carries goes by its twin meanwhile.",
    "delete": "It is gone for good, with its keys and addresses.",
    "token": (
        "A gateway VM shows a registration token once, and is this node from then on. It is shown"
        " here this one time; a token that was made before, and a certificate, are void."
    ),
    "delete vpn_connection": "It is closed and gone for good, with all its tunnels, their keys and"
    " addresses. What they carry is interrupted.",
    "test": "A trial message is sent to the target now.",
}


class Edits:
    """Forms for every kind, made from the models of the API."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def fields(self, visit: Visit, kind: Kind, *, is_new: bool) -> list[FormField]:
        """Return the fields of a kind's form with what each reference can be."""
        choices = {
            field: [
                (str(one["id"]), str(one["name"]))
                for one in self._source.all(
                    target, visit.who, None if KINDS[target].is_operators else visit.tenant
                )
            ]
            for field, target in kind.references.items()
        }
        return fields_of(kind, choices, is_new=is_new)

    # ---- new ----

    async def new(self, request: Request, visit: Visit, kind: Kind) -> Response:
        """Return an empty form; what the address names is filled in."""
        _judge(visit, kind)
        given = dict(request.query_params)
        fields = filled(self.fields(visit, kind, is_new=True), given, {})
        thing = commands.of_creation(kind, forms.request_of(fields, given)[0])
        action = f"/console/{kind.path}/new"
        return self._form(visit, kind, fields, f"New {kind.title}", action, thing=thing)

    async def create(self, visit: Visit, kind: Kind, typed: Mapping[str, str]) -> Response:
        """Make what was typed, or show the form again with what is wrong."""
        _judge(visit, kind)
        fields = self.fields(visit, kind, is_new=True)
        table, errors = forms.request_of(fields, typed)
        title, action, done = f"New {kind.title}", f"/console/{kind.path}/new", None
        problem, status = "Some fields can not be read." if errors else "", 422 if errors else 200
        only_check = typed.get("do") == "check"
        if not errors:
            try:
                done = await self._source.create(
                    kind.name, table, visit.who, visit.tenant, dry_run=only_check
                )
            except ApiProblem as found:
                problem, status = found.detail, found.status
                errors = _errors(kind, found)
        if done is not None and not only_check:
            # A node is nothing before a gateway VM is it: that needs a token.
            next = "/do/token" if kind.name == "node" else ""
            return RedirectResponse(f"/console/{kind.path}/{done['id']}{next}", 303)
        thing = commands.of_creation(kind, table)
        return self._form(
            visit,
            kind,
            filled(fields, typed, errors),
            title,
            action,
            status,
            problem=problem,
            checked=done,
            thing=thing,
        )

    # ---- change ----

    async def edit(self, request: Request, visit: Visit, kind: Kind, id: str) -> Response:
        """Return the form of a resource as it is; what the address names is filled in."""
        _judge(visit, kind)
        resource = self._source.one(kind.name, id, visit.who)
        values = forms.values_of(kind, resource) | dict(request.query_params)
        fields = filled(self.fields(visit, kind, is_new=False), values, {})
        thing = commands.of_change(kind, id, {})
        return self._change_form(visit, kind, resource, fields, thing=thing)

    async def change(self, visit: Visit, kind: Kind, id: str, typed: Mapping[str, str]) -> Response:
        """Change what was typed otherwise; if somebody was faster, show both."""
        _judge(visit, kind)
        resource = self._source.one(kind.name, id, visit.who)
        before = forms.values_of(kind, resource)
        fields = self.fields(visit, kind, is_new=False)
        patch, errors = forms.patch_of(fields, before, typed)
        shown = filled(fields, {**before, **typed}, errors)
        revision = int(typed["revision"]) if typed.get("revision", "").isdecimal() else None
        if revision not in (None, resource["revision"]):
            theirs = [
                (one.label, before.get(one.name, ""), typed[one.name])
                for one in fields
                if one.name in patch
            ]
            return self._change_form(visit, kind, resource, shown, 409, theirs=theirs)
        if errors:
            text = "Some fields can not be read."
            return self._change_form(visit, kind, resource, shown, 422, problem=text)
        try:
            if patch:
                await self._source.update(kind.name, id, patch, visit.who, revision)
        except ApiProblem as found:
            shown = filled(fields, {**before, **typed}, _errors(kind, found))
            return self._change_form(
                visit,
                kind,
                resource,
                shown,
                found.status,
                problem=found.detail,
                thing=commands.of_change(kind, id, patch),
            )
        return RedirectResponse(f"/console/{kind.path}/{id}", 303)

    def _change_form(
        self,
        visit: Visit,
        kind: Kind,
        resource: Table,
        fields: list[FormField],
        status: int = 200,
        **more: object,
    ) -> Response:
        name = resource["name"] or resource["id"]
        action = f"/console/{kind.path}/{resource['id']}/edit"
        return self._form(
            visit,
            kind,
            fields,
            f"Edit {name}",
            action,
            status,
            revision=resource["revision"],
            of=resource["id"],
            back=f"/console/{kind.path}/{resource['id']}",
            **more,
        )

    def _form(
        self,
        visit: Visit,
        kind: Kind,
        fields: list[FormField],
        title: str,
        action: str,
        status: int = 200,
        **more: object,
    ) -> Response:
        values = {
            "problem": "",
            "theirs": (),
            "revision": None,
            "of": "",
            "back": f"/console/{kind.path}",
            "checked": None,
            "thing": None,
            **more,
        }
        rest = [one for one in fields if not is_common(kind, one)]
        return page(
            "form.html",
            visit,
            kind.path,
            status,
            kind=kind,
            title=title,
            action=action,
            save="Save" if values["revision"] else "Create",
            common=[one for one in fields if is_common(kind, one)],
            more=rest,
            more_open=any(one.error for one in rest),
            **values,
        )

    async def same(self, visit: Visit, kind: Kind, typed: Mapping[str, str]) -> Response:
        """Return what a form comes to as a call and a command line, as it is typed."""
        id = typed.get("of", "")
        fields = self.fields(visit, kind, is_new=not id)
        if id:
            before = forms.values_of(kind, self._source.one(kind.name, id, visit.who))
            thing = commands.of_change(kind, id, forms.patch_of(fields, before, typed)[0])
        else:
            thing = commands.of_creation(kind, forms.request_of(fields, typed)[0])
        return part("macros.html", "same_body", {"things": [thing]})

    # ---- one field ----

    async def check(
        self, visit: Visit, kind: Kind, name: str, typed: Mapping[str, str]
    ) -> Response:
        """Return what is wrong with one field, as it is typed; nothing if it is well."""
        fields = [one for one in self.fields(visit, kind, is_new=True) if one.name == name]
        if not fields:
            raise not_found("field", name)
        table, errors = forms.request_of(fields, typed)
        if not errors and table:
            try:
                await self._source.create(kind.name, table, visit.who, visit.tenant, dry_run=True)
            except ApiProblem as found:
                errors = _errors(kind, found)
        return part("macros.html", "field_error", {"name": name, "error": errors.get(name, "")})

    # ---- verbs ----

    async def confirm(self, visit: Visit, kind: Kind, id: str, verb: str) -> Response:
        """Ask whether to do it, and say what happens then."""
        self._judge_verb(visit, kind, verb)
        return self._confirm(visit, kind, self._source.one(kind.name, id, visit.who), verb)

    def _confirm(
        self,
        visit: Visit,
        kind: Kind,
        resource: Table,
        verb: str,
        problem: str = "",
        status: int = 200,
        done: str = "",
    ) -> Response:
        return page(
            "confirm.html",
            visit,
            kind.path,
            status,
            kind=kind,
            resource=resource,
            verb=verb,
            consequence=CONSEQUENCES.get(f"{verb} {kind.name}") or CONSEQUENCES[verb],
            problem=problem,
            done=done,
            thing=commands.of_verb(kind, str(resource["id"]), verb),
        )

    async def do(self, visit: Visit, kind: Kind, id: str, verb: str) -> Response:
        """Do it, and show the resource; if it can not be, say why."""
        self._judge_verb(visit, kind, verb)
        resource = self._source.one(kind.name, id, visit.who)
        try:
            if verb == "delete":
                await self._source.delete(kind.name, id, visit.who)
                return RedirectResponse(f"/console/{kind.path}", 303)
            if verb == "token":
                return await self._token(visit, kind, resource)
            if verb == "test":
                result = await self._source.try_target(id, visit.who)
                return self._tried(visit, kind, resource, result)
            await self._source.act(verb, id, visit.who)
        except ApiProblem as found:
            return self._confirm(visit, kind, resource, verb, found.detail, found.status)
        return RedirectResponse(f"/console/{kind.path}/{id}", 303)

    async def _token(self, visit: Visit, kind: Kind, node: Table) -> Response:
        """Show a new token, this once, and what to do with it on the gateway VM."""
        control = self._source.control_of_nodes(visit.host)
        token = await self._source.node_token(str(node["id"]), visit.who)
        shown: Table = {"kind": kind, "resource": node, "token": token, "control": control}
        return page("token.html", visit, kind.path, **shown)

    def _tried(self, visit: Visit, kind: Kind, target: Table, result: Table) -> Response:
        """Say how a trial message went."""
        if not result["delivered"]:
            text = f"It was not delivered: {result['detail']}"
            return self._confirm(visit, kind, target, "test", text, 502)
        return self._confirm(visit, kind, target, "test", done="It was delivered.")

    async def acknowledge(self, visit: Visit, id: str) -> Response:
        """Note that somebody looks at an alarm. Raises ApiProblem."""
        await self._source.acknowledge(id, visit.who)
        return RedirectResponse("/console/alarms", 303)

    def _judge_verb(self, visit: Visit, kind: Kind, verb: str) -> None:
        if verb == "delete" or (kind.name, verb) == ("node", "token"):
            _judge(visit, kind)
        elif (kind.name, verb) == ("alarm_target", "test"):
            if not visit.may_operate:
                raise forbidden("scope operate is needed")
        elif kind.name != "vpn_tunnel" or verb not in VERBS:
            raise not_found("verb", verb)
        elif not visit.may_operate:
            raise forbidden("scope operate is needed")


def _judge(visit: Visit, kind: Kind) -> None:
    if not may_write(visit, kind):
        raise forbidden(f"this user may not change a {kind.title}")


def _errors(kind: Kind, problem: ApiProblem) -> dict[str, str]:
    """Return what is wrong by field of the form."""
    errors = [one.as_json() for one in problem.errors]
    if not errors and problem.field:
        errors = [{"field": problem.field, "detail": problem.detail}]
    return forms.by_field(kind, errors)
