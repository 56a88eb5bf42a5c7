"""
Edits of a tunnel under traffic, make before break, on one end first and then on the other.

Traffic must flow at every moment: before, between and after the two edits, whichever end is first,
whatever single message is lost, and over a restart of the gateway process in the middle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from gateway.ike.config import Encap, Identity, Lifetime, Start, Timers, TunnelConfig
from gateway.ike.effects import EFFECT_OF, Effect, changed_fields, effects_of
from gateway.ike.events import ChildSaUp, Failed, IkeSaDown, IkeSaUp, OutboundDone, Send
from gateway.ike.iana import ProtocolId
from gateway.ike.proposals import Proposal, parse_proposal
from gateway.ike.selectors import parse_selector
from gateway.secret import Secret
from tests.support.pair import TUNNEL, IkePair, Side, config_a, config_b

Settings = Mapping[str, object]


def proposals(protocol: ProtocolId, *texts: str) -> tuple[Proposal, ...]:
    return tuple(parse_proposal(text, protocol) for text in texts)


def ike(*texts: str) -> Settings:
    return {"ike_proposals": proposals(ProtocolId.IKE, *texts)}


def esp(*texts: str) -> Settings:
    return {"esp_proposals": proposals(ProtocolId.ESP, *texts)}


@dataclass(frozen=True)
class Edit:
    """The same change for both ends, and what must be in use afterwards (empty: as before)."""

    settings: Settings
    ike_suite: str = ""
    esp_suite: str = ""


EDITS = {
    "psk": Edit({"psk": Secret(b"another key of good length")}),
    "ike cipher": Edit(ike("aes128gcm16-prfsha384-x25519"), "aes128gcm16-prfsha384-x25519"),
    "ike group": Edit(ike("aes256gcm16-prfsha384-ecp256"), "aes256gcm16-prfsha384-ecp256"),
    "esp cipher": Edit(esp("aes256-sha256-x25519-noesn"), "", "aes256-sha256-x25519"),
    "esp group": Edit(esp("aes256gcm16-ecp384-noesn"), "", "aes256gcm16-ecp384"),
    "no pfs": Edit(esp("aes128gcm16-noesn"), "", "aes128gcm16"),
    "everything": Edit(
        {
            **ike("aes128gcm16-prfsha256-ecp256"),
            **esp("aes128gcm16-ecp256-noesn"),
            "psk": Secret(b"another key of good length"),
            "child_lifetime": Lifetime(1800.0),
            "fragment_size": 576,
        },
        "aes128gcm16-prfsha256-ecp256",
        "aes128gcm16-ecp256",
    ),
}
ORDERS = ["ab", "ba"]


def pair_with_pfs() -> IkePair:
    """Return a pair whose Child SA has a key exchange of its own."""
    pair = IkePair.established()
    pair.a.rekey_child()
    pair.deliver_all()
    pair.advance(6.0)
    return pair


def edit(side: Side, settings: Settings) -> None:
    base = config_a if side.name == "a" else config_b
    side.reconfigure(base(**settings))


def side_of(pair: IkePair, name: str) -> Side:
    return pair.a if name == "a" else pair.b


def settle(pair: IkePair, seconds: float) -> None:
    """Let time pass in small steps, with traffic at each of them."""
    until = pair.now + seconds
    while pair.now < until:
        pair.fire()
        while pair.link.flights:
            assert pair.has_traffic(), pair.story()
            pair.link.arrive(pair.link.flights.popleft())
            pair.fire()
        assert pair.has_traffic(), pair.story()
        pair.now = min(until, max(pair.now, pair.deadline))


def assert_in_use(pair: IkePair, wanted: Edit) -> None:
    """Assert that both ends have one Child SA in use, of the suites that were wanted."""
    for side in pair.sides():
        status = side.endpoint.tunnel_status(TUNNEL)
        assert status.state == "established"
        assert status.suite == (wanted.ike_suite or "aes256gcm16-prfsha384-x25519")
        (child,) = [one for one in status.children if one.is_outbound]
        assert child.suite == (wanted.esp_suite or "aes256gcm16-x25519"), pair.story()
        assert status.refused == ()
        assert len(side.plane.inbound) == 1, pair.story()
    assert pair.has_traffic()


def assert_never_interrupted(pair: IkePair) -> None:
    """Assert that no tunnel was down; an IKE SA begun beside another and of no use is all right."""
    for side in pair.sides():
        assert not side.all(OutboundDone), pair.story()
        ends = {down.reason.code for down in side.all(IkeSaDown)}
        assert ends <= {"rekeyed", "redundant", "deleted_by_peer"}, pair.story()
        assert side.ike_sas == 1


# ---- both orders ----


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("between_s", [0.0, 1.0, 100.0])
def test_either_end_can_be_edited_first(name: str, order: str, between_s: float) -> None:
    pair, wanted = pair_with_pfs(), EDITS[name]
    first, second = (side_of(pair, one) for one in order)
    edit(first, wanted.settings)
    settle(pair, between_s)
    edit(second, wanted.settings)
    settle(pair, 60.0)
    assert_in_use(pair, wanted)
    assert_never_interrupted(pair)


@pytest.mark.parametrize("lost", range(8))
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", ["ike group", "esp cipher", "everything"])
def test_any_lost_message_is_made_up_for(name: str, order: str, lost: int) -> None:
    pair, wanted = pair_with_pfs(), EDITS[name]
    first, second = (side_of(pair, one) for one in order)
    edit(first, wanted.settings)
    pair.deliver_all()
    edit(second, wanted.settings)
    for _ in range(lost):
        if pair.link.flights:
            pair.link.arrive(pair.link.flights.popleft())
    if pair.link.flights:
        pair.link.flights.popleft()
    settle(pair, 60.0)
    assert_in_use(pair, wanted)
    assert_never_interrupted(pair)


@pytest.mark.parametrize("delivered", range(6))
@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize("name", ["ike group", "esp cipher", "everything"])
def test_restart_in_the_middle_of_an_edit(name: str, who: str, delivered: int) -> None:
    pair, wanted = pair_with_pfs(), EDITS[name]
    edit(pair.a, wanted.settings)
    pair.deliver_all()
    edit(pair.b, wanted.settings)
    for _ in range(delivered):
        if pair.link.flights:
            pair.link.arrive(pair.link.flights.popleft())
    side_of(pair, who).restart()
    pair.advance(120.0)
    # A rekey of the IKE SA that is under way is lost with the process, and ends in a new IKE SA;
    # then the Child SA is that of an IKE_AUTH, without a key exchange of its own.
    status, suite = pair.a.endpoint.tunnel_status(TUNNEL), wanted.esp_suite or "aes256gcm16-x25519"
    assert status.suite == (wanted.ike_suite or "aes256gcm16-prfsha384-x25519")
    assert status.children[-1].suite in (suite, suite.rpartition("-")[0])
    assert pair.has_traffic()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", EDITS)
def test_an_edit_that_comes_with_a_restart_is_an_edit(name: str, order: str) -> None:
    """The document changed while the gateway process was away."""
    pair, wanted = pair_with_pfs(), EDITS[name]
    for one in order:
        side = side_of(pair, one)
        base = config_a if one == "a" else config_b
        side.config = base(**wanted.settings)
        side.restart()
        settle(pair, 1.0)
    settle(pair, 60.0)
    assert_in_use(pair, wanted)
    assert_never_interrupted(pair)


def test_both_ends_at_once() -> None:
    """Their rekeys cross; one exchange after the other finds its way."""
    pair, wanted = pair_with_pfs(), EDITS["everything"]
    edit(pair.a, wanted.settings)
    edit(pair.b, wanted.settings)
    settle(pair, 60.0)
    assert_in_use(pair, wanted)
    assert_never_interrupted(pair)


# ---- what the peer refuses ----


def test_a_refused_edit_says_both_values_and_keeps_what_is_in_use() -> None:
    pair, wanted = pair_with_pfs(), EDITS["ike group"]
    edit(pair.a, wanted.settings)
    settle(pair, 30.0)
    (reason,) = pair.a.endpoint.tunnel_status(TUNNEL).refused
    assert reason.code == "no_proposal_chosen"
    assert reason.ours == "aes256gcm16-prfsha384-ecp256"
    assert reason.theirs == "aes256gcm16-prfsha384-x25519 (in use, and stays)"
    told = [event.reason for event in pair.b.all(Failed)]
    assert told[0].ours == "aes256gcm16-prfsha384-x25519"
    assert told[0].theirs == "aes256gcm16-prfsha384-ecp256"
    assert_never_interrupted(pair)
    edit(pair.b, wanted.settings)
    settle(pair, 10.0)
    assert pair.a.endpoint.tunnel_status(TUNNEL).refused == ()


def test_a_refused_edit_is_tried_again_with_growing_pauses() -> None:
    """And the tunnel lives on: nothing but these exchanges and liveness is to be seen of it."""
    pair = pair_with_pfs()
    edit(pair.a, EDITS["esp cipher"].settings)
    settle(pair, 600.0)
    refused = [one for one in pair.a.codes() if one == "no_proposal_chosen"]
    assert 5 <= len(refused) <= 20
    assert not pair.a.all(IkeSaDown)
    assert_never_interrupted(pair)


def test_an_edit_that_is_taken_back_leaves_all_as_it_was() -> None:
    pair = pair_with_pfs()
    edit(pair.a, EDITS["esp cipher"].settings)
    settle(pair, 3.0)
    edit(pair.a, {})
    settle(pair, 400.0)
    assert_in_use(pair, Edit({}))


def test_the_peers_own_rekey_is_accepted_as_soon_as_we_have_been_edited() -> None:
    pair, wanted = pair_with_pfs(), EDITS["esp cipher"]
    edit(pair.b, wanted.settings)
    settle(pair, 20.0)
    edit(pair.a, wanted.settings)
    pair.deliver_all()
    for side in pair.sides():
        assert side.all(ChildSaUp)[-1].suite == "aes256-sha256-x25519"


def test_a_new_order_of_what_is_allowed_anyway_is_an_edit() -> None:
    both = ("aes256gcm16-prfsha384-x25519", "aes256gcm16-prfsha384-ecp256")
    pair = IkePair.established(config_a(**ike(*both)), config_b(**ike(*both)))
    edit(pair.a, ike(*reversed(both)))
    settle(pair, 5.0)
    assert pair.a.endpoint.tunnel_status(TUNNEL).suite == "aes256gcm16-prfsha384-ecp256"
    assert_never_interrupted(pair)


def test_what_is_preferred_already_is_not_rekeyed() -> None:
    pair = pair_with_pfs()
    before = len(pair.a.all(Send))
    edit(pair.a, {**ike("aes256gcm16-prfsha384-x25519", "aes256gcm16-prfsha384-ecp256")})
    edit(pair.a, {**esp("aes256gcm16-x25519-noesn", "aes128gcm16-x25519-noesn")})
    pair.deliver_all()
    assert len(pair.a.all(Send)) == before


# ---- a peer whose edits hold for new IKE SAs only ----


def peer_that_keeps_its_configuration(pair: IkePair, settings: Settings) -> None:
    """
    Let b have two tunnels' worth of configuration, as strongSwan has after `--load-conns`: the old
    one for its IKE SA, the new one for whoever begins.
    """
    fresh = config_b(name="fresh", **settings)
    pair.b.take(pair.b.endpoint.configure([fresh, pair.b.config], pair.now))


@pytest.mark.parametrize("name", ["ike cipher", "ike group", "everything"])
def test_an_ike_sa_is_begun_beside_one_that_the_peer_will_not_rekey(name: str) -> None:
    pair, wanted = pair_with_pfs(), EDITS[name]
    settings = {**wanted.settings, "psk": Secret(b"tells the two tunnels of b apart")}
    peer_that_keeps_its_configuration(pair, settings)
    edit(pair.a, settings)
    pair.deliver_all()
    waited = pair.wait_for(lambda: len(pair.a.all(IkeSaUp)) == 2, 10.0)
    assert waited < 5.0
    assert not pair.a.all(OutboundDone)
    pair.advance(30.0)
    status = pair.a.endpoint.tunnel_status(TUNNEL)
    assert status.suite == (wanted.ike_suite or "aes256gcm16-prfsha384-x25519")
    assert status.refused == ()
    assert len(pair.a.plane.inbound) == 1
    assert pair.a.send_esp()


def test_a_child_sa_that_the_peer_will_not_rekey_is_asked_for_anew() -> None:
    """
    And no IKE SA is begun for it: a peer that wants only one with us would end the old one, though
    the new one is of no use.
    """
    pair = pair_with_pfs()
    before = pair.a.endpoint.counters["out.request.create_child_sa"]
    edit(pair.a, EDITS["esp cipher"].settings)
    settle(pair, 3.0)
    assert pair.a.endpoint.counters["out.request.create_child_sa"] == before + 2
    assert pair.a.codes() == ["no_proposal_chosen"]
    settle(pair, 100.0)
    assert pair.a.endpoint.counters["out.request.ike_sa_init"] == 1
    assert_never_interrupted(pair)


# ---- what holds at once ----


def test_shorter_and_longer_lifetimes_hold_for_the_running_sas() -> None:
    pair = IkePair.established()
    edit(pair.a, {"child_lifetime": Lifetime(100.0), "ike_lifetime": Lifetime(200.0)})
    status = pair.a.endpoint.tunnel_status(TUNNEL)
    assert status.rekey_at - pair.now == pytest.approx(185.0)
    assert status.children[0].rekey_at - pair.now == pytest.approx(92.5)
    settle(pair, 100.0)
    assert pair.a.endpoint.counters["rekey_child.done"] == 1
    edit(pair.a, {"child_lifetime": Lifetime(7200.0)})
    settle(pair, 3000.0)
    assert pair.a.endpoint.counters["rekey_child.done"] == 1
    assert_never_interrupted(pair)


def test_an_sa_that_a_shorter_lifetime_makes_overdue_is_rekeyed_and_not_closed() -> None:
    pair = IkePair.established()
    settle(pair, 3000.0)
    short = {"child_lifetime": Lifetime(60.0), "ike_lifetime": Lifetime(120.0)}
    edit(pair.a, short)
    edit(pair.b, short)
    settle(pair, 20.0)
    assert pair.a.endpoint.counters["rekey_child.done"] >= 1
    assert pair.a.endpoint.counters["rekey_ike.done"] >= 1
    settle(pair, 300.0)
    assert_never_interrupted(pair)


def test_volumes_are_counted_by_the_data_plane_and_so_need_new_keys() -> None:
    pair = IkePair.established()
    edit(pair.a, {"child_lifetime": Lifetime(3600.0, packets=1000)})
    settle(pair, 1.0)
    assert pair.a.all(ChildSaUp)[-1].limits.hard_packets == 2000
    assert_never_interrupted(pair)


def test_liveness_and_fragment_size_hold_at_once() -> None:
    pair = IkePair.established()
    edit(pair.a, {"timers": Timers(liveness=2.0), "fragment_size": 300})
    pair.cut()
    pair.advance(8.6)
    assert pair.a.ike_sas == 0


def test_the_psk_holds_for_the_next_authentication() -> None:
    """Both ends may change it in any order: what is authenticated stays so."""
    pair = IkePair.established()
    sent = len(pair.link.seen)
    edit(pair.a, EDITS["psk"].settings)
    pair.deliver_all()
    assert len(pair.link.seen) == sent
    pair.b.crash()
    settle_until_failed(pair)
    assert "authentication_failed" in pair.a.codes()
    edit(pair.b, EDITS["psk"].settings)
    pair.wait_for(pair.has_traffic, 60.0)


def settle_until_failed(pair: IkePair) -> None:
    pair.wait_for(lambda: "authentication_failed" in pair.a.codes(), 60.0)


def test_what_did_not_fit_is_tried_at_once_when_it_is_edited() -> None:
    pair = IkePair.started(config_a(**ike("aes128gcm16-prfsha256-ecp256")))
    pair.advance(300.0)
    edit(pair.a, {})
    pair.deliver_all()
    assert pair.has_traffic()


def test_who_begins_can_change_under_traffic() -> None:
    pair = IkePair.established()
    edit(pair.a, {"start": Start.RESPOND})
    edit(pair.b, {"start": Start.INITIATE})
    settle(pair, 60.0)
    assert_never_interrupted(pair)
    pair.a.crash()
    pair.wait_for(pair.has_traffic, 60.0)
    assert not pair.b.endpoint.tunnel_status(TUNNEL).refused


def test_the_configuration_may_change_while_an_answer_is_on_its_way() -> None:
    """The answer is to an offer of before: what it makes is rekeyed at once."""
    pair, wanted = pair_with_pfs(), EDITS["esp cipher"]
    pair.a.rekey_child()
    edit(pair.b, {**esp("aes256gcm16-x25519-noesn", "aes256-sha256-x25519-noesn")})
    edit(pair.a, wanted.settings)
    settle(pair, 10.0)
    assert pair.a.all(ChildSaUp)[-1].suite == "aes256-sha256-x25519"
    assert_never_interrupted(pair)


def test_the_configuration_may_change_while_the_tunnel_is_set_up() -> None:
    wanted = EDITS["everything"].settings
    for delivered in range(5):
        pair = IkePair.started()
        for _ in range(delivered):
            if pair.link.flights:
                pair.link.arrive(pair.link.flights.popleft())
        edit(pair.a, wanted)
        edit(pair.b, wanted)
        pair.advance(90.0)
        assert pair.has_traffic(), pair.story()
        assert pair.a.endpoint.tunnel_status(TUNNEL).suite == "aes128gcm16-prfsha256-ecp256"
        assert pair.a.all(ChildSaUp)[-1].suite.startswith("aes128gcm16")


# ---- selectors ----


@pytest.mark.parametrize("order", ORDERS)
def test_selectors_change_with_a_rekey(order: str) -> None:
    pair = IkePair.established()
    here, there = (parse_selector("10.5.0.0/16"),), (parse_selector("10.2.0.0/16"),)
    settings = {
        "a": {"local_ts": here, "remote_ts": there},
        "b": {"local_ts": there, "remote_ts": here},
    }
    for one in order:
        edit(side_of(pair, one), settings[one])
        settle(pair, 3.0)
    settle(pair, 60.0)
    for side in pair.sides():
        up = side.all(ChildSaUp)[-1]
        assert (up.local_ts, up.remote_ts) == (
            settings[side.name]["local_ts"],
            settings[side.name]["remote_ts"],
        )
    assert_never_interrupted(pair)


# ---- what cannot be kept ----


@pytest.mark.parametrize(
    "settings",
    [
        {"local_id": Identity.parse("c.gw.test")},
        {"remote_id": None},
        {"encap": Encap.AUTO},
    ],
)
def test_what_an_ike_sa_is_bound_to_begins_it_anew(settings: Settings) -> None:
    pair = IkePair.established()
    edit(pair.a, settings)
    assert pair.a.all(IkeSaDown)[0].reason.code == "reconfigured"


def test_the_table_names_every_field() -> None:
    assert {name.partition(".")[0] for name in EFFECT_OF} == set(TunnelConfig.__dataclass_fields__)
    lifetime = {name for name in EFFECT_OF if name.startswith("child_lifetime.")}
    assert {name.partition(".")[2] for name in lifetime} == set(Lifetime.__dataclass_fields__)
    changed = changed_fields(config_a(), config_a(psk=Secret(b"x"), encap=Encap.AUTO))
    assert changed == {"psk", "encap"}
    assert effects_of(changed) == {Effect.NEXT_IKE_SA, Effect.RENEW}


@pytest.mark.parametrize(
    ("wanted", "suite", "rekeys"),
    [
        ("aes256-sha256-x25519", "aes256-sha256-x25519", 0),
        ("aes256gcm16-prfsha256-prfsha384-ecp256", "aes256gcm16-prfsha384-ecp256", 1),
    ],
)
@pytest.mark.parametrize("order", ORDERS)
def test_a_rekey_keeps_the_prf_and_another_one_takes_a_new_ike_sa(
    order: str, wanted: str, suite: str, rekeys: int
) -> None:
    """With strongSwan the keys after a rekey to another PRF would not be the same at both ends."""
    pair = pair_with_pfs()
    for name in order:
        edit(side_of(pair, name), ike(wanted))
        settle(pair, 20.0)
    settle(pair, 60.0)
    assert_in_use(pair, Edit({}, suite))
    done = sum(side.endpoint.counters.get("rekey_ike.done", 0) for side in pair.sides())
    assert done == rekeys
