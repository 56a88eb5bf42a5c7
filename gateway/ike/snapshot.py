"""
The established IKE SAs as bytes, so that a restarted gateway process goes on with them.

The data plane, which is another process, keeps the ESP SAs, but for outbound ones that were never
used: their keys are lost, and a rekey makes up for it. Here are the IKE SAs' keys, windows and
timers (times are of the monotonic clock, which the restart does not touch). Not here: IKE SAs that
are not established (they begin again), ESP keys, and the private values of an exchange under way.
Such a request is repeated all the same, because message IDs must not be skipped, and what the peer
makes of it is deleted (`Work.ABANDONED`).

IV counts are not here either: a restored IKE SA draws a new prefix (see `IkeSa._next_iv`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import fields
from ipaddress import ip_address
from typing import Any, TypeAlias

from gateway.errors import UsageError
from gateway.ike import edits, reasons
from gateway.ike.child import ChildSa, Offer, Stage, Use
from gateway.ike.config import Identity, IdType, Ppk, TunnelConfig
from gateway.ike.context import Context
from gateway.ike.effects import EFFECT_OF, Effect, effects_of, value_of
from gateway.ike.events import Reason
from gateway.ike.exchanges import informational
from gateway.ike.exchanges.proof import PeerProof
from gateway.ike.iana import Group, Prf
from gateway.ike.ike_sa import Birth, IkeSa, Keys, Nat
from gateway.ike.keymat import IkeKeys
from gateway.ike.payloads import IdInitiator, IdResponder
from gateway.ike.proposals import EspSuite, IkeSuite, Transform
from gateway.ike.states import On, State
from gateway.ike.tasks import MAKES_SA, Task, Work
from gateway.ike.tunnel import Tunnel
from gateway.ike.window import Request, Window
from gateway.sa import Encr, Integ, Path, TrafficSelector
from gateway.secret import Secret

VERSION = 8
KEPT = frozenset({State.ESTABLISHED, State.REKEYED, State.CLOSING})

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"
Table: TypeAlias = "dict[str, Value]"
Loaded: TypeAlias = (
    Any  # what json makes of our own bytes; a wrong type shows as UsageError in `load`
)


# ---- saving ----


def save(context: Context, now: float) -> bytes:
    """Return all established IKE SAs, in the order in which they were established."""
    kept = [sa for sa in context.sas.values() if sa.state in KEPT and sa.tunnel is not None]
    kept.sort(key=lambda sa: sa.established_at)
    document = {"version": VERSION, "now": now, "sas": [_save_sa(sa) for sa in kept]}
    return json.dumps(document).encode()


def _save_sa(sa: IkeSa) -> Table:
    assert sa.tunnel is not None
    assert sa.keys is not None
    assert sa.suite is not None
    secrets = sa.keys.secrets
    return {
        "tunnel": sa.tunnel.config.name,
        "config": fingerprints(sa.tunnel.config),
        "state": sa.state.name,
        "spis": [_text(sa.spi_i), _text(sa.spi_r)],
        "original_initiator": sa.original_initiator,
        "path": _save_path(sa.path),
        "suite": [int(one) for one in _ike_suite_values(sa.suite)],
        "further": _save_further(sa.suite),
        "keys": [_text(getattr(secrets, one.name).reveal()) for one in fields(secrets)],
        "nonces": [_text(sa.nonce_i), _text(sa.nonce_r)],
        "birth": _save_birth(sa.birth),
        "peer_id": _save_identity(sa.peer_id),
        "peer_proof": _save_proof(sa.peer_proof),
        "nat": [sa.nat.supported, sa.nat.local, sa.nat.remote, sa.nat.announced],
        "fragmentation": sa.fragmentation,
        "post_quantum": sa.is_post_quantum,
        "ppk": sa.has_ppk,
        "tokens": sa.has_tokens,
        "mobile": sa.is_mobile,
        "peer_token": _text(sa.peer_token.reveal()),
        "window": _save_window(sa.window),
        "tasks": [[int(one.work), one.spi, one.slot] for one in sa.tasks],
        "parked": sa.is_parked,
        "rival": _text(sa.rival.own_spi) if sa.rival is not None else "",
        "reason": _save_reason(sa.close_reason),
        "times": [_save_time(one) for one in _times(sa)],
        "child_at": [[slot, at] for slot, at in sa.child_at.items()],
        "child_attempts": [[slot, count] for slot, count in sa.child_attempts.items()],
        "ke_group": sa.ke_group,
        "outdated": sa.is_outdated,
        "children": [_save_child(one) for one in sa.children.values()],
    }


def _times(sa: IkeSa) -> tuple[float, ...]:
    return (
        sa.created_at,
        sa.established_at,
        sa.heard_at,
        sa.sent_at,
        sa.rekey_at,
        sa.hard_at,
        sa.expire_at,
        sa.reauth_at,
    )


def _save_window(window: Window) -> Table:
    request = window.outstanding
    return {
        "next": window.next_request,
        "expected": window.expected,
        "answered": _text(window.answered),
        "response": [_text(one) for one in window.response],
        "outstanding": None if request is None else _save_request(request),
    }


def _save_request(request: Request) -> Table:
    return {
        "id": request.message_id,
        "exchange": int(request.exchange),
        "datagrams": [_text(one) for one in request.datagrams],
        "task": [int(request.task.work), request.task.spi, request.task.slot],
        "schedule": list(request.schedule),
        "sent_at": request.sent_at,
        "deadline": _save_time(request.deadline),
        "tries": request.tries,
        "offer": "" if request.offer is None else _text(request.offer.spi),
    }


def _save_child(child: ChildSa) -> Table:
    suite = child.suite
    return {
        "spis": [child.spi_in, child.spi_out],
        "suite": [int(suite.encr), suite.key_bits, int(suite.integ), suite.group, suite.esn],
        "further": _save_further(suite),
        "local_ts": [_save_selector(one) for one in child.local_ts],
        "remote_ts": [_save_selector(one) for one in child.remote_ts],
        "encap": child.udp_encap,
        "times": [
            _save_time(one) for one in (child.up_at, child.rekey_at, child.hard_at, child.down_at)
        ],
        "nonce": _text(child.lowest_nonce),
        "replaces": child.replaces,
        "replaced_by": child.replaced_by,
        "stage": child.stage.name,
        "use": child.use.name,
        "reason": _save_reason(child.down_reason),
        "slot": child.slot,
    }


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _save_time(at: float) -> float | None:
    return None if at == math.inf else at


def _save_path(path: Path) -> list[Value]:
    return [str(path.local), path.local_port, str(path.remote), path.remote_port]


def _save_selector(one: TrafficSelector) -> list[Value]:
    return [str(one.first), str(one.last), one.protocol, one.first_port, one.last_port]


def _save_birth(birth: Birth | None) -> list[Value]:
    if birth is None:
        return []
    return [birth.created_at, birth.established_at, birth.initiated, _text(birth.lowest_nonce)]


def _save_identity(identity: IdInitiator | IdResponder | None) -> list[Value]:
    if identity is None:
        return []
    return [isinstance(identity, IdInitiator), identity.id_type, _text(identity.value)]


def _save_proof(proof: PeerProof | None) -> list[Value]:
    return [] if proof is None else [proof.method, proof.name, proof.ends_at]


def _save_reason(reason: Reason | None) -> list[Value]:
    if reason is None:
        return []
    return [reason.code, reason.text, reason.ours, reason.theirs, reason.hint]


def _ike_suite_values(suite: IkeSuite) -> tuple[int, ...]:
    return (suite.encr, suite.key_bits, suite.prf, suite.integ, suite.group)


def _save_further(suite: IkeSuite | EspSuite) -> list[Value]:
    return [[one.type, one.id] for one in suite.further]


def fingerprints(config: TunnelConfig) -> dict[str, Value]:
    """Return, for each field of a tunnel's configuration, what changes when it does."""
    return {name: _fingerprint(value_of(config, name)) for name in EFFECT_OF}


def _fingerprint(value: object) -> str:
    secret = value.key if isinstance(value, Ppk) else value
    text = secret.reveal() if isinstance(secret, Secret) else b""
    return hashlib.sha256(text + repr(value).encode()).hexdigest()


# ---- loading ----


def load(blob: bytes, context: Context, tunnels: Mapping[str, Tunnel], now: float) -> list[IkeSa]:
    """
    Return the IKE SAs of a snapshot, in their tables. Raises UsageError, and then nothing has
    changed.
    """
    try:
        document = json.loads(blob)
        if document["version"] != VERSION:
            raise UsageError(f"snapshot of version {document['version']}, need {VERSION}")
        loaded = [_load_sa(one, context, tunnels, now) for one in document["sas"]]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UsageError(f"not a snapshot: {error!r}") from None
    for sa, _ in loaded:
        _adopt(sa, context, now)
    by_spi = {sa.own_spi: sa for sa, _ in loaded}
    edited: dict[str, frozenset[str]] = {}
    for (sa, changed), one in zip(loaded, document["sas"], strict=True):
        sa.rival = by_spi.get(_bytes(one["rival"])) if one["rival"] else None
        if changed is None:
            informational.close(sa, reasons.RECONFIGURED, now)
        elif changed:
            edited[one["tunnel"]] = changed
    for name, fields_ in edited.items():
        edits.carry_out(tunnels[name], fields_, now)
    return [sa for sa, _ in loaded]


def _changed(saved: Loaded, config: TunnelConfig) -> frozenset[str]:
    """Return the fields of a configuration that differ from what was saved of it."""
    now = fingerprints(config)
    return frozenset(name for name in EFFECT_OF if saved[name] != now[name])


def _adopt(sa: IkeSa, context: Context, now: float) -> None:
    """Put a loaded IKE SA into the tables."""
    tunnel = sa.tunnel
    assert tunnel is not None
    context.sas[sa.own_spi] = sa
    tunnel.sas.append(sa)
    for child in sa.children.values():
        context.spis.claim(child.spi_in)
        if child.use is Use.IN_USE:
            tunnel.in_use[child.slot] = child
    request = sa.window.outstanding
    if request is not None and request.offer is not None and len(request.offer.spi) == 4:
        context.spis.claim(request.offer.spi_in)
    if sa.is_usable:
        tunnel.retry_at = math.inf
        tunnel.joined(now)


def _load_sa(
    one: Loaded, context: Context, tunnels: Mapping[str, Tunnel], now: float
) -> tuple[IkeSa, frozenset[str] | None]:
    """
    Return an IKE SA and which fields of its tunnel's configuration have changed; None if it cannot
    be kept.
    """
    path = _load_path(one["path"])
    tunnel = tunnels.get(one["tunnel"])
    changed = _changed(one["config"], tunnel.config) if tunnel is not None else None
    if changed is not None and Effect.RENEW in effects_of(changed):
        changed = None
    if tunnel is None or changed is None:
        tunnel = _leftover(one["tunnel"], path, context)
    suite = _load_ike_suite(one["suite"], _load_further(one["further"]))
    secrets = IkeKeys(*(Secret(_bytes(key)) for key in one["keys"]))
    spi_i, spi_r = (_bytes(spi) for spi in one["spis"])
    is_initiator = bool(one["original_initiator"])
    sa = IkeSa(context, path, is_initiator, spi_i, spi_r, now, (tunnel,), tunnel)
    sa.suite, sa.keys = suite, Keys.of(suite, secrets, is_initiator)
    sa.nonce_i, sa.nonce_r = (_bytes(nonce) for nonce in one["nonces"])
    sa.birth = _load_birth(one["birth"])
    sa.peer_id = _load_identity(one["peer_id"])
    sa.peer_proof = PeerProof(*one["peer_proof"]) if one["peer_proof"] else None
    sa.nat = Nat(*one["nat"])
    sa.fragmentation = bool(one["fragmentation"])
    sa.is_post_quantum, sa.has_ppk = bool(one["post_quantum"]), bool(one["ppk"])
    sa.is_mobile = bool(one["mobile"])
    sa.has_tokens, sa.peer_token = bool(one["tokens"]), Secret(_bytes(one["peer_token"]))
    sa.window = _load_window(one["window"])
    for work, spi, slot in one["tasks"]:
        sa.tasks.add(Task(Work(work), spi, slot))
    sa.is_parked = bool(one["parked"])
    sa.close_reason = _load_reason(one["reason"])
    sa.child_at, sa.child_attempts = dict(one["child_at"]), dict(one["child_attempts"])
    sa.ke_group = one["ke_group"]
    _load_times(sa, one["times"])
    for saved in one["children"]:
        child = _load_child(saved)
        sa.children[child.spi_in] = child
    sa.is_outdated = bool(one["outdated"])
    _load_state(sa, State[one["state"]])
    return sa, changed


def _load_state(sa: IkeSa, state: State) -> None:
    """Take the steps that lead from a fresh IKE SA to `state`."""
    sa.move(On.RESTORE)
    if state is State.REKEYED:
        sa.move(On.REPLACED)
    elif state is State.CLOSING:
        sa.move(On.CLOSE)
    elif state is not State.ESTABLISHED:
        raise ValueError(f"state {state.name}")


def _leftover(name: str, path: Path, context: Context) -> Tunnel:
    """Return a tunnel that is configured no more, good enough to close its IKE SAs."""
    config = TunnelConfig(
        name=name,
        local=path.local,
        remote=path.remote,
        local_id=Identity(IdType.FQDN, b""),
        remote_id=None,
        psk=None,
        ike_proposals=(),
        esp_proposals=(),
        local_ts=(),
        remote_ts=(),
    )
    tunnel = Tunnel(config, context.random)
    tunnel.is_stopped, tunnel.is_wanted = True, False
    return tunnel


def _load_times(sa: IkeSa, times: list[float | None]) -> None:
    (
        sa.created_at,
        sa.established_at,
        sa.heard_at,
        sa.sent_at,
        sa.rekey_at,
        sa.hard_at,
        sa.expire_at,
        sa.reauth_at,
    ) = (_load_time(at) for at in times)


def _load_window(one: Loaded) -> Window:
    window = Window(one["next"], one["expected"])
    window.restore(_bytes(one["answered"]), tuple(_bytes(part) for part in one["response"]))
    if one["outstanding"] is not None:
        window.outstanding = _load_request(one["outstanding"])
    return window


def _load_request(one: Loaded) -> Request:
    """Return the outstanding request; one that was to make an SA can only be undone."""
    task = Task(Work(one["task"][0]), *one["task"][1:])
    if task.work in MAKES_SA:
        task = Task(Work.ABANDONED, task.spi, task.slot)
    request = Request(
        one["id"],
        one["exchange"],
        tuple(_bytes(part) for part in one["datagrams"]),
        task,
        tuple(one["schedule"]),
        one["sent_at"],
        Offer(_bytes(one["offer"]), b"", ()) if one["offer"] else None,
    )
    request.deadline, request.tries = _load_time(one["deadline"]), one["tries"]
    return request


def _load_child(one: Loaded) -> ChildSa:
    encr, key_bits, integ, group, esn = one["suite"]
    suite = EspSuite(
        Encr(encr),
        key_bits,
        Integ(integ),
        None if group is None else Group(group),
        bool(esn),
        _load_further(one["further"]),
    )
    up_at, rekey_at, hard_at, down_at = (_load_time(at) for at in one["times"])
    spi_in, spi_out = one["spis"]
    return ChildSa(
        spi_in,
        spi_out,
        suite,
        tuple(_load_selector(ts) for ts in one["local_ts"]),
        tuple(_load_selector(ts) for ts in one["remote_ts"]),
        bool(one["encap"]),
        up_at,
        rekey_at,
        hard_at,
        _bytes(one["nonce"]),
        one["replaces"],
        one["replaced_by"],
        Stage[one["stage"]],
        _load_use(one["use"]),
        down_at,
        _load_reason(one["reason"]),
        slot=one["slot"],
    )


def _load_use(name: str) -> Use:
    """Return the use of an outbound SA; one never used is lost: only the process before had it."""
    use = Use[name]
    return Use.RETIRED if use is Use.UNUSED else use


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _load_time(at: float | None) -> float:
    return math.inf if at is None else float(at)


def _load_path(one: list[Loaded]) -> Path:
    return Path(ip_address(one[0]), one[1], ip_address(one[2]), one[3])


def _load_selector(one: list[Loaded]) -> TrafficSelector:
    return TrafficSelector(ip_address(one[0]), ip_address(one[1]), *one[2:])


def _load_birth(one: list[Loaded]) -> Birth | None:
    return Birth(one[0], one[1], bool(one[2]), _bytes(one[3])) if one else None


def _load_identity(one: list[Loaded]) -> IdInitiator | IdResponder | None:
    if not one:
        return None
    kind = IdInitiator if one[0] else IdResponder
    return kind(one[1], _bytes(one[2]))


def _load_reason(one: list[str]) -> Reason | None:
    return Reason(*one) if one else None


def _load_ike_suite(one: list[int], further: tuple[Transform, ...]) -> IkeSuite:
    encr, key_bits, prf, integ, group = one
    return IkeSuite(Encr(encr), key_bits, Prf(prf), Integ(integ), Group(group), further)


def _load_further(one: list[list[int]]) -> tuple[Transform, ...]:
    return tuple(Transform(kind, number) for kind, number in one)
