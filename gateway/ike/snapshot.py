"""
The established IKE SAs as records, so that the next gateway process goes on with them after a
restart as after a crash.

A record has all of one IKE SA that outlives this process: keys, windows with the outstanding
request and what it offered, the stored response, timers (times are of the monotonic clock, which a
restart does not touch), and the ESP keys that the data plane may not have yet. The rule is write
ahead: the shell hands on what `changed` returns before it carries out the events of the same call.
So whatever a peer has seen of us is in a record: no message ID and no IV is used again, a request
is repeated byte for byte and then finished, a stored response answers a retransmission.

Not here: IKE SAs that are not established (they begin again), additional key exchanges that the
peer is in the middle of (it begins them again, RFC 9370 section 2.2.4), and when the peer was heard
last, which changes with each packet: it counts as heard when the record is read.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import fields
from functools import lru_cache

from gateway.ike.child import ChildSa, Stage, Use
from gateway.ike.config import Ppk, TunnelConfig
from gateway.ike.context import Context
from gateway.ike.effects import EFFECT_OF, value_of
from gateway.ike.events import Reason
from gateway.ike.exchanges.proof import PeerProof
from gateway.ike.ike_sa import Birth, IkeSa
from gateway.ike.kept import (
    Table,
    Value,
    save_fresh,
    save_offer,
    save_selector,
    text,
)
from gateway.ike.payloads import IdInitiator, IdResponder
from gateway.ike.proposals import EspSuite, IkeSuite
from gateway.ike.states import State
from gateway.ike.tunnel import Tunnel
from gateway.ike.window import Request, Window
from gateway.sa import Path
from gateway.secret import Secret

VERSION = 10
_SHARED = frozenset({"ike_proposals", "esp_proposals", "timers"})  # long, and the same for many
KEPT = frozenset({State.ESTABLISHED, State.REKEYED, State.CLOSING})


def changed(context: Context) -> list[tuple[bytes, bytes]]:
    """
    Return the records that have changed since the last call, by our own SPI; an empty one is gone.
    """
    found: list[tuple[bytes, bytes]] = []
    for sa in context.touched:
        if sa.state in KEPT and sa.tunnel is not None:
            stamp = stamp_of(sa)
            if stamp != sa.kept:
                sa.kept = stamp
                found.append((sa.own_spi, save(sa)))
                _forget_keys(sa)
        elif sa.kept is not None:
            sa.kept = None
            found.append((sa.own_spi, b""))
    context.touched.clear()
    return found


def _forget_keys(sa: IkeSa) -> None:
    """
    Forget the ESP keys that the data plane has once the events of this call are carried out; in the
    record they are until the next change, in case this process ends before.
    """
    for child in sa.children.values():
        if child.use is not Use.UNUSED or child.stage in (Stage.DELETING, Stage.LINGERING):
            child.fresh = None


def stamp_of(sa: IkeSa) -> object:
    """Return what differs whenever the record of an IKE SA does."""
    window, request, tunnel = sa.window, sa.window.outstanding, sa.tunnel
    assert tunnel is not None
    return (
        (sa.state, tunnel.config, sa.path, sa.keys, sa.birth, sa.iv_count),
        (sa.peer_id, sa.peer_proof),
        (sa.nat.supported, sa.nat.local, sa.nat.remote, sa.nat.announced, sa.is_mobile),
        (sa.redirected_from,),
        (window.next_request, window.expected, window.answered, window.response),
        request and (request.message_id, request.deadline, request.tries, request.is_outdated),
        (tuple(sa.tasks), tuple(sa.deleted_early), sa.peer_token, sa.has_tokens, sa.ke_group),
        (sa.is_parked, sa.is_outdated, sa.is_beside, sa.rival, sa.close_reason),
        (sa.rekey_at, sa.hard_at, sa.expire_at, sa.reauth_at),
        (tuple(sa.child_at.items()), tuple(sa.child_attempts.items()), sa.resources_most),
        tuple(_stamp_of_child(one) for one in sa.children.values()),
    )


def _stamp_of_child(child: ChildSa) -> object:
    times = (child.rekey_at, child.hard_at, child.down_at, child.down_reason)
    return (child.spi_in, child.stage, child.use, child.replaced_by, *times)


def save(sa: IkeSa) -> bytes:
    """Return the record of an IKE SA."""
    assert sa.tunnel is not None
    if not sa.lasting:
        sa.lasting = json.dumps(_lasting(sa))
    children = ", ".join(_save_child(one) for one in sa.children.values())
    own = _joined(prints(sa.tunnel), sa.lasting, json.dumps(_passing(sa)))
    return f'{own[:-1]}, "children": [{children}]}}'.encode()


def _joined(*objects: str) -> str:
    """Return one JSON object with what is in several, none of which is empty."""
    return "{" + ", ".join(one[1:-1] for one in objects) + "}"


def _lasting(sa: IkeSa) -> Table:
    """Return what stays the same once an IKE SA is established."""
    assert sa.suite is not None
    return {
        "version": VERSION,
        "spis": [text(sa.spi_i), text(sa.spi_r)],
        "original_initiator": sa.original_initiator,
        "suite": [int(one) for one in _ike_suite_values(sa.suite)],
        "further": _save_further(sa.suite),
        "nonces": [text(sa.nonce_i), text(sa.nonce_r)],
    }


def _passing(sa: IkeSa) -> Table:
    """Return what changes in the life of an IKE SA, and its keys: no copy of them is left here."""
    assert sa.keys is not None
    secrets = sa.keys.secrets
    return {
        "keys": [text(getattr(secrets, one.name).reveal()) for one in fields(secrets)],
        "state": sa.state.name,
        "path": _save_path(sa.path),
        "birth": _save_birth(sa.birth),
        "peer_id": _save_identity(sa.peer_id),
        "peer_proof": _save_proof(sa.peer_proof),
        "nat": [sa.nat.supported, sa.nat.local, sa.nat.remote, sa.nat.announced],
        "fragmentation": sa.fragmentation,
        "post_quantum": sa.is_post_quantum,
        "ppk": sa.has_ppk,
        "tokens": sa.has_tokens,
        "mobile": sa.is_mobile,
        "redirected_from": str(sa.redirected_from or ""),
        "peer_token": text(sa.peer_token.reveal()),
        "window": _save_window(sa.window),
        "tasks": [[int(one.work), one.spi, one.slot] for one in sa.tasks],
        "parked": sa.is_parked,
        "deleted_early": list(sa.deleted_early),
        "rival": text(sa.rival.own_spi) if sa.rival is not None else "",
        "reason": _save_reason(sa.close_reason),
        "times": [_save_time(one) for one in _times(sa)],
        "child_at": [[slot, at] for slot, at in sa.child_at.items()],
        "child_attempts": [[slot, count] for slot, count in sa.child_attempts.items()],
        "resources": sa.resources_most,
        "ke_group": sa.ke_group,
        "outdated": sa.is_outdated,
        "beside": sa.is_beside,
        "ivs": sa.iv_count,
    }


def _times(sa: IkeSa) -> tuple[float, ...]:
    return (
        sa.created_at,
        sa.established_at,
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
        "answered": text(window.answered),
        "response": [text(one) for one in window.response],
        "outstanding": None if request is None else _save_request(request),
    }


def _save_request(request: Request) -> Table:
    return {
        "id": request.message_id,
        "exchange": int(request.exchange),
        "datagrams": [text(one) for one in request.datagrams],
        "task": [int(request.task.work), request.task.spi, request.task.slot],
        "schedule": list(request.schedule),
        "sent_at": request.sent_at,
        "deadline": _save_time(request.deadline),
        "tries": request.tries,
        "outdated": request.is_outdated,
        "offer": save_offer(request.offer),
    }


def _save_child(child: ChildSa) -> str:
    if not child.lasting:
        child.lasting = json.dumps(_lasting_of_child(child))
    return _joined(child.lasting, json.dumps(_passing_of_child(child)))


def _lasting_of_child(child: ChildSa) -> Table:
    suite = child.suite
    return {
        "spis": [child.spi_in, child.spi_out],
        "suite": [int(suite.encr), suite.key_bits, int(suite.integ), suite.group, suite.esn],
        "further": _save_further(suite),
        "local_ts": [save_selector(one) for one in child.local_ts],
        "remote_ts": [save_selector(one) for one in child.remote_ts],
        "encap": child.udp_encap,
        "nonce": text(child.lowest_nonce),
        "replaces": child.replaces,
        "slot": child.slot,
    }


def _passing_of_child(child: ChildSa) -> Table:
    return {
        "times": [
            _save_time(one) for one in (child.up_at, child.rekey_at, child.hard_at, child.down_at)
        ],
        "replaced_by": child.replaced_by,
        "stage": child.stage.name,
        "use": child.use.name,
        "reason": _save_reason(child.down_reason),
        "fresh": save_fresh(child.fresh),
    }


def _save_time(at: float) -> float | None:
    return None if at == math.inf else at


def _save_path(path: Path) -> list[Value]:
    return [str(path.local), path.local_port, str(path.remote), path.remote_port]


def _save_birth(birth: Birth | None) -> list[Value]:
    if birth is None:
        return []
    return [birth.created_at, birth.established_at, birth.initiated, text(birth.lowest_nonce)]


def _save_identity(identity: IdInitiator | IdResponder | None) -> list[Value]:
    if identity is None:
        return []
    return [isinstance(identity, IdInitiator), identity.id_type, text(identity.value)]


def _save_proof(proof: PeerProof | None) -> list[Value]:
    return [] if proof is None else [proof.method, proof.name, proof.ends_at, proof.fingerprint]


def _save_reason(reason: Reason | None) -> list[Value]:
    if reason is None:
        return []
    return [reason.code, reason.text, reason.ours, reason.theirs, reason.hint]


def _ike_suite_values(suite: IkeSuite) -> tuple[int, ...]:
    return (suite.encr, suite.key_bits, suite.prf, suite.integ, suite.group)


def _save_further(suite: IkeSuite | EspSuite) -> list[Value]:
    return [[one.type, one.id] for one in suite.further]


def prints(tunnel: Tunnel) -> str:
    """
    Return a tunnel's name with the fingerprints of its configuration as JSON, made once for each
    configuration.
    """
    config = tunnel.config
    if tunnel.prints is None or tunnel.prints[0] is not config:
        told = {"tunnel": config.name, "config": fingerprints(config)}
        tunnel.prints = (config, json.dumps(told))
    return tunnel.prints[1]


def fingerprints(config: TunnelConfig) -> dict[str, Value]:
    """Return, for each field of a tunnel's configuration, what changes when it does."""
    return {
        name: (_shared if name in _SHARED else _fingerprint)(value_of(config, name))
        for name in EFFECT_OF
    }


def _fingerprint(value: object) -> str:
    secret = value.key if isinstance(value, Ppk) else value
    hidden = secret.reveal() if isinstance(secret, Secret) else b""
    return hashlib.sha256(hidden + repr(value).encode()).hexdigest()[:24]


@lru_cache(maxsize=64)
def _shared(value: object) -> str:
    return _fingerprint(value)
