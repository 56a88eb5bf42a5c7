"""Records of `snapshot.py` made IKE SAs again, by the next gateway process."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from gateway.errors import UsageError, WireError
from gateway.ike import edits, reasons
from gateway.ike.child import ChildSa, Stage, Use
from gateway.ike.config import Identity, IdType, TunnelConfig
from gateway.ike.context import Context
from gateway.ike.effects import EFFECT_OF, Effect, effects_of
from gateway.ike.events import ChildSaAgain, ChildSaUp, Reason
from gateway.ike.exchanges import informational
from gateway.ike.exchanges.proof import PeerProof
from gateway.ike.iana import Group, Prf
from gateway.ike.ike_sa import Birth, IkeSa, Keys, Nat
from gateway.ike.kept import Loaded, data, load_fresh, load_offer, load_selector
from gateway.ike.keymat import IkeKeys
from gateway.ike.payloads import IdInitiator, IdResponder
from gateway.ike.proposals import EspSuite, IkeSuite, Transform
from gateway.ike.snapshot import VERSION, fingerprints
from gateway.ike.states import On, State
from gateway.ike.tasks import Task, Work
from gateway.ike.tunnel import LOSER_S, Tunnel
from gateway.ike.window import Request, Window
from gateway.sa import Encr, Integ, Path
from gateway.secret import Secret

# What the parts of a record that are missing, or are something else, raise.
_UNREADABLE = (ValueError, KeyError, TypeError, IndexError, AttributeError, UsageError, WireError)


@dataclass(frozen=True, slots=True)
class _Found:
    """An IKE SA of a record, and which fields of its tunnel have changed; None: it is to end."""

    sa: IkeSa
    changes: frozenset[str] | None
    tunnel: str
    rival: bytes  # the SPI of another one, b"" if there is none


def load(
    records: Iterable[bytes], context: Context, tunnels: Mapping[str, Tunnel], now: float
) -> tuple[list[IkeSa], list[str]]:
    """
    Return the IKE SAs of records, in their tables, in the order in which they were established.

    What can not be read is lost alone; why is told beside.
    """
    mistakes: list[str] = []
    saved = [one for record in records if (one := _parsed(record, mistakes)) is not None]
    saved.sort(key=_established_at)
    read = (_read(one, context, tunnels, now, mistakes) for one in saved)
    found = [one for one in read if one is not None]
    for one in found:
        _adopt(one.sa, context, now)
        if one.changes is not None:
            _tell_again(one.sa)
    by_spi = {one.sa.own_spi: one.sa for one in found}
    edited: dict[str, frozenset[str]] = {}
    for one in found:
        one.sa.rival = by_spi.get(one.rival)
        if one.changes is None:
            informational.close(one.sa, reasons.RECONFIGURED, now)
        elif one.changes:
            edited[one.tunnel] = one.changes
    for name, fields_ in edited.items():
        edits.carry_out(tunnels[name], fields_, now)
    return [one.sa for one in found], mistakes


def _parsed(record: bytes, mistakes: list[str]) -> Loaded | None:
    try:
        one = _parse(record)
        _established_at(one)
    except _UNREADABLE as error:
        mistakes.append(f"not a record: {_why(error)}")
        return None
    return one


def _read(
    one: Loaded,
    context: Context,
    tunnels: Mapping[str, Tunnel],
    now: float,
    mistakes: list[str],
) -> _Found | None:
    try:
        sa, changes = _load_sa(one, context, tunnels, now)
        return _Found(sa, changes, one["tunnel"], data(one["rival"]) if one["rival"] else b"")
    except _UNREADABLE as error:
        mistakes.append(f"tunnel {one.get('tunnel')!s:.64}: not a record: {_why(error)}")
        return None


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, UsageError) else repr(error)


def _established_at(one: Loaded) -> float:
    return float(one["times"][1])


def _parse(record: bytes) -> Loaded:
    one = json.loads(record)
    if one["version"] != VERSION:
        raise UsageError(f"record of version {one['version']}, need {VERSION}")
    return one


def _tell_again(sa: IkeSa) -> None:
    """Say once more what the data plane may not have been told of the Child SAs."""
    assert sa.tunnel is not None
    name = sa.tunnel.config.name
    for child in sa.children.values():
        if child.fresh is None:
            continue
        up = ChildSaUp(
            name,
            child.fresh.inbound,
            child.fresh.outbound,
            child.local_ts,
            child.remote_ts,
            child.udp_encap,
            str(child.suite),
            child.use is Use.IN_USE,
            child.fresh.limits,
            child.replaces,
            child.slot,
            sa.config.resource_of(child.slot),
        )
        sa.context.emit(ChildSaAgain(name, up))


def _changed(saved: Loaded, config: TunnelConfig) -> frozenset[str]:
    """Return the fields of a configuration that differ from what was saved of it."""
    now = fingerprints(config)
    # A field that an earlier release did not know has its default there, and most often here.
    return frozenset(name for name in EFFECT_OF if saved.get(name, now[name]) != now[name])


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
        elif child.use is Use.UNUSED:
            tunnel.sort_at = min(tunnel.sort_at, now + LOSER_S)
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
    secrets = IkeKeys(*(Secret(data(key)) for key in one["keys"]))
    spi_i, spi_r = (data(spi) for spi in one["spis"])
    is_initiator = bool(one["original_initiator"])
    sa = IkeSa(context, path, is_initiator, spi_i, spi_r, now, (tunnel,), tunnel)
    sa.suite, sa.keys = suite, Keys.of(suite, secrets, is_initiator)
    sa.nonce_i, sa.nonce_r = (data(nonce) for nonce in one["nonces"])
    sa.birth = _load_birth(one["birth"])
    sa.peer_id = _load_identity(one["peer_id"])
    sa.peer_proof = PeerProof(*one["peer_proof"]) if one["peer_proof"] else None
    sa.nat = Nat(*one["nat"])
    sa.fragmentation = bool(one["fragmentation"])
    sa.is_post_quantum, sa.has_ppk = bool(one["post_quantum"]), bool(one["ppk"])
    sa.is_mobile = bool(one["mobile"])
    redirected_from = one.get("redirected_from")  # earlier releases were never sent on
    sa.redirected_from = ip_address(redirected_from) if redirected_from else None
    sa.has_tokens, sa.peer_token = bool(one["tokens"]), Secret(data(one["peer_token"]))
    sa.window, sa.asked_with = _load_window(one["window"]), sa.keys.open
    for work, spi, slot in one["tasks"]:
        sa.tasks.add(Task(Work(work), spi, slot))
    sa.is_parked = bool(one["parked"])
    sa.close_reason = _load_reason(one["reason"])
    sa.child_at, sa.child_attempts = dict(one["child_at"]), dict(one["child_attempts"])
    sa.resources_most = one.get("resources", 0)
    sa.ke_group = one["ke_group"]
    _load_times(sa, one["times"])
    for saved in one["children"]:
        child = _load_child(saved)
        sa.children[child.spi_in] = child
    sa.is_outdated, sa.is_beside = bool(one["outdated"]), bool(one["beside"])
    sa.deleted_early, sa.iv_count = set(one["deleted_early"]), one["ivs"]
    sa.heard_at = sa.sent_at = now
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
        sa.rekey_at,
        sa.hard_at,
        sa.expire_at,
        sa.reauth_at,
    ) = (_load_time(at) for at in times)


def _load_window(one: Loaded) -> Window:
    window = Window(one["next"], one["expected"])
    window.restore(data(one["answered"]), tuple(data(part) for part in one["response"]))
    if one["outstanding"] is not None:
        window.outstanding = _load_request(one["outstanding"])
    return window


def _load_request(one: Loaded) -> Request:
    request = Request(
        one["id"],
        one["exchange"],
        tuple(data(part) for part in one["datagrams"]),
        Task(Work(one["task"][0]), *one["task"][1:]),
        tuple(one["schedule"]),
        one["sent_at"],
        load_offer(one["offer"]),
    )
    request.deadline, request.tries = _load_time(one["deadline"]), one["tries"]
    request.is_outdated = bool(one["outdated"])
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
        tuple(load_selector(ts) for ts in one["local_ts"]),
        tuple(load_selector(ts) for ts in one["remote_ts"]),
        bool(one["encap"]),
        up_at,
        rekey_at,
        hard_at,
        data(one["nonce"]),
        one["replaces"],
        one["replaced_by"],
        Stage[one["stage"]],
        _load_use(one),
        down_at,
        _load_reason(one["reason"]),
        slot=one["slot"],
        fresh=load_fresh(one["fresh"]),
    )


def _load_use(one: Loaded) -> Use:
    """Return the use of an outbound SA; one that has no keys any more cannot be used."""
    use = Use[one["use"]]
    return Use.RETIRED if use is Use.UNUSED and not one["fresh"] else use


def _load_time(at: float | None) -> float:
    return math.inf if at is None else float(at)


def _load_path(one: list[Loaded]) -> Path:
    return Path(ip_address(one[0]), one[1], ip_address(one[2]), one[3])


def _load_birth(one: list[Loaded]) -> Birth | None:
    return Birth(one[0], one[1], bool(one[2]), data(one[3])) if one else None


def _load_identity(one: list[Loaded]) -> IdInitiator | IdResponder | None:
    if not one:
        return None
    kind = IdInitiator if one[0] else IdResponder
    return kind(one[1], data(one[2]))


def _load_reason(one: list[str]) -> Reason | None:
    return Reason(*one) if one else None


def _load_ike_suite(one: list[int], further: tuple[Transform, ...]) -> IkeSuite:
    encr, key_bits, prf, integ, group = one
    return IkeSuite(Encr(encr), key_bits, Prf(prf), Integ(integ), Group(group), further)


def _load_further(one: list[list[int]]) -> tuple[Transform, ...]:
    return tuple(Transform(kind, number) for kind, number in one)
