"""The difference of two plans touches what differs and nothing else, and leads to the second."""

from __future__ import annotations

from dataclasses import fields, replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ike.config import Encap, Identity, Lifetime, Start, Timers, TunnelConfig
from gateway.ike.effects import EFFECT_OF, Effect
from gateway.node.difference import (
    BESIDE_WORDS,
    FACET_OF,
    FACET_OF_EFFECT,
    WORDS,
    Change,
    Facet,
    beside_tunnels,
    difference,
)
from gateway.node.plan import MeasurePlan, NodePlan, ProbePlan, RoutePlan, TunnelPlan, plan
from gateway.routing.failback import Failback
from gateway.secret import Secret
from tests.support.documents import document

PLAN = plan(document())
FIRST, SECOND = PLAN.tunnels
OTHER_VALUES: dict[str, list[object]] = {
    "connection": ["branch"],
    "border_gateway": ["second"],
    "interface": ["ts-new", "ts-newer"],
    "workers": [2],
    "ike": [replace(FIRST.ike, psk=Secret(b"another")), replace(FIRST.ike, fragment_size=576)],
    "admin_up": [False],
    "inner_local": [None, ip_interface("10.0.0.1/30")],
    "inner_remote": [None, ip_address("10.0.0.2")],
    "mtu": [1400, 1300],
    "rate_bps": [10**6],
    "copy_dscp": [False],
    "replay_window": [64, 128],
    "routes": [(), (RoutePlan(ip_network("10.9.0.0/16"), 5),)],
    "namespace": ["red"],
    "preference": [7],
    "failback": [Failback(None), Failback(5.0, is_damped=False)],
    "fail_closed": [(ip_network("10.9.0.0/16"),)],
    "probe": [ProbePlan(ip_address("10.9.0.1"), 200, 3)],
    "measure": [MeasurePlan(2.0, ip_address("10.9.0.1")), None],
    "title": ["office-1"],
    "connection_title": ["office"],
}


def with_values(tunnel: TunnelPlan, values: dict[str, object]) -> TunnelPlan:
    """Return `tunnel` with these fields changed."""
    return replace(tunnel, **values)  # type: ignore[arg-type]  # fields by name


def applied(old: NodePlan | None, change: Change) -> NodePlan:
    """Return what a node does that did `old` and then acts on `change`, field by field."""
    tunnels = {tunnel.name: tunnel for tunnel in old.tunnels} if old else {}
    for tunnel in change.removed:
        del tunnels[tunnel.name]
    for one in change.changed:
        assert tunnels[one.new.name] == one.old
        touched = {
            name: getattr(one.new, name) for name, facet in FACET_OF.items() if facet in one.facets
        }
        if one.facets & set(FACET_OF_EFFECT.values()):
            touched["ike"] = one.new.ike
        tunnels[one.new.name] = with_values(one.old, touched)
    for tunnel in change.added:
        assert tunnel.name not in tunnels
        tunnels[tunnel.name] = tunnel
    sockets = set(old.sockets if old else ()) - set(change.sockets_removed)
    return NodePlan(
        name=change.name if change.name is not None else (old.name if old else ""),
        workers=change.workers if change.workers is not None else (old.workers if old else 0),
        sockets=tuple(sorted(sockets | set(change.sockets_added))),
        tunnels=tuple(sorted(tunnels.values(), key=lambda tunnel: tunnel.name)),
    )


def in_order(node: NodePlan) -> NodePlan:
    return replace(
        node,
        sockets=tuple(sorted(node.sockets)),
        tunnels=tuple(sorted(node.tunnels, key=lambda tunnel: tunnel.name)),
    )


def variants(name: str) -> st.SearchStrategy[TunnelPlan]:
    """Return tunnels of one name, each field its own or another value."""
    return st.builds(
        replace,
        st.just(replace(FIRST, name=name)),
        **{
            field: st.sampled_from([getattr(FIRST, field), *values])
            for field, values in OTHER_VALUES.items()
        },
    )


PLANS = st.builds(
    lambda name, workers, sockets, tunnels: NodePlan(name, workers, tuple(sockets), tuple(tunnels)),
    st.sampled_from(["gw1", "gw2"]),
    st.integers(0, 2),
    st.lists(st.sampled_from([ip_address(f"192.0.2.{at}") for at in range(4)]), unique=True),
    st.lists(
        st.sampled_from(["a", "b", "c", "d"]).flatmap(variants),
        unique_by=lambda tunnel: tunnel.name,
        max_size=4,
    ),
)


@settings(max_examples=200)
@given(st.none() | PLANS, PLANS)
def test_applying_the_difference_gives_the_new_plan(old: NodePlan | None, new: NodePlan) -> None:
    assert applied(old, difference(old, new)) == in_order(new)


@settings(max_examples=50)
@given(PLANS)
def test_order_of_tunnels_and_addresses_is_no_difference(node: NodePlan) -> None:
    turned = replace(node, sockets=node.sockets[::-1], tunnels=node.tunnels[::-1])
    assert difference(node, turned).is_empty


def test_every_field_of_a_tunnel_has_its_facet() -> None:
    assert set(FACET_OF) == {field.name for field in fields(TunnelPlan)} - {"name", "ike"}
    assert {*FACET_OF.values(), *FACET_OF_EFFECT.values()} == set(Facet)
    assert set(OTHER_VALUES) == {*FACET_OF, "ike"}


def test_every_facet_has_its_word() -> None:
    assert set(WORDS) == set(Facet)
    new = with_values(FIRST, {"mtu": 1400, "ike": replace(FIRST.ike, psk=Secret(b"another"))})
    (only,) = difference(PLAN, replace(PLAN, tunnels=(new, SECOND))).changed
    assert only.words == ["keys kept, IKE settings taken over", "options"]


def test_every_field_of_an_ike_configuration_has_its_effect() -> None:
    top = {name.partition(".")[0] for name in EFFECT_OF}
    assert top == {field.name for field in fields(TunnelConfig)}
    assert set(FACET_OF_EFFECT) == set(Effect)


@pytest.mark.parametrize(
    ("field", "value", "facet"),
    [
        ("psk", Secret(b"another"), Facet.IKE_SETTINGS),
        ("child_lifetime", Lifetime(60.0), Facet.IKE_SETTINGS),
        ("child_lifetime", Lifetime(3600.0, bytes=10**9), Facet.REKEY),
        ("timers", Timers(liveness=3.0), Facet.IKE_SETTINGS),
        ("start", Start.RESPOND, Facet.IKE_SETTINGS),
        ("ike_proposals", FIRST.ike.ike_proposals[:1], Facet.REKEY),
        ("esp_proposals", FIRST.ike.esp_proposals[:1], Facet.REKEY),
        ("local_ts", (), Facet.REKEY),
        ("remote", ip_address("192.0.2.99"), Facet.IKE),
        ("local_id", Identity.parse("other.test"), Facet.IKE),
        ("encap", Encap.NEVER, Facet.IKE),
    ],
)
def test_only_what_an_ike_sa_is_bound_to_begins_it_anew(
    field: str, value: object, facet: Facet
) -> None:
    new = with_values(FIRST, {"ike": replace(FIRST.ike, **{field: value})})  # type: ignore[arg-type]
    (only,) = difference(PLAN, replace(PLAN, tunnels=(new, SECOND))).changed
    assert only.facets == frozenset({facet})


@pytest.mark.parametrize("field", sorted(FACET_OF))
def test_a_changed_field_is_one_facet_of_one_tunnel(field: str) -> None:
    new = with_values(FIRST, {field: OTHER_VALUES[field][0]})
    change = difference(PLAN, replace(PLAN, tunnels=(new, SECOND)))
    assert (change.added, change.removed) == ((), ())
    (only,) = change.changed
    assert (only.old, only.new) == (FIRST, new)
    assert only.facets == frozenset({FACET_OF[field]})


def test_equal_plans_have_no_difference() -> None:
    change = difference(PLAN, plan(document()))
    assert change.is_empty
    assert change == Change((), (), (), (), ())


def test_the_first_plan_is_all_new() -> None:
    change = difference(None, PLAN)
    assert change.added == PLAN.tunnels
    assert change.sockets_added == PLAN.sockets
    assert (change.name, change.workers) == ("gw1", 2)


def test_added_and_removed_tunnels_leave_the_others_alone() -> None:
    third = replace(SECOND, name="office-3")
    change = difference(PLAN, replace(PLAN, tunnels=(SECOND, third)))
    assert (change.removed, change.changed, change.added) == ((FIRST,), (), (third,))


def test_editing_one_tunnel_of_a_document_touches_that_tunnel_alone() -> None:
    edit = (("vpn_connection", 0, "tunnel", 1, "rate_mbps"), 5)
    (only,) = difference(PLAN, plan(document(edit))).changed
    assert only.new.name == "office-2"
    assert only.facets == frozenset({Facet.OPTIONS})


def test_everything_of_a_plan_but_its_tunnels_has_its_word() -> None:
    assert set(BESIDE_WORDS) == {field.name for field in fields(NodePlan)} - {"tunnels"}


def test_an_edit_that_touches_no_tunnel_has_its_word() -> None:
    together = plan(document((("border_gateway", 0, "spoke_isolation"), False)))
    assert difference(PLAN, together).is_empty
    assert "isolation of spokes" in beside_tunnels(PLAN, together)
    assert beside_tunnels(PLAN, plan(document())) == []


def test_a_tunnel_before_the_others_does_not_touch_them() -> None:
    branch = {"name": "branch", "public_addresses": ["203.0.113.77"]}
    connection = {
        "name": "branch",
        "border_gateway": "main",
        "customer_gateway": "branch",
        "psk": "another-key-for-the-branch",
        "tunnel": [{}, {}],
    }
    base = document()
    made = document((("customer_gateway", 1), branch), (("vpn_connection", 1), connection))
    made = made.model_copy(update={"vpn_connection": made.vpn_connection[::-1]})
    change = difference(plan(base), plan(made))
    assert [tunnel.name for tunnel in change.added] == ["branch-1", "branch-2"]
    assert (change.changed, change.removed) == ((), ())
