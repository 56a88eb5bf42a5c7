"""
Make the interfaces toward the VPCs as planned: moved into their namespace, or made there.

What is done is written on the interface itself, in its alias, so the next gateway process knows
what is ours and undoes it when it is not wanted any more: what was made is removed, what was moved
is given back to the VM's own namespace. What can not be done is a trouble, is tried again, and
holds up nothing else.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gateway.errors import GatewayError
from gateway.node.journal import Journal
from gateway.node.merging import Merging
from gateway.node.namespaces import OWN, Namespaces
from gateway.node.netlink import Interface, Link, Netlink, NetlinkError
from gateway.node.port import PortPlan
from gateway.sa import Address

MADE, MOVED = "twinspan made for ", "twinspan moved for "
_BEFORE = "; before: "  # what follows is the alias that a moved interface had


@dataclass(frozen=True, slots=True)
class _Mark:
    """What an interface's alias says of it: whose it is and, if it was made, how."""

    is_made: bool
    text: str
    before: str = ""

    @property
    def alias(self) -> str:
        head = MADE if self.is_made else MOVED
        return f"{head}{self.text}" + (f"{_BEFORE}{self.before}" if self.before else "")


def mark_of(alias: str) -> _Mark | None:
    """Return what an alias of ours says, None for one of somebody else."""
    if alias.startswith(MADE):
        return _Mark(True, alias.removeprefix(MADE))
    if alias.startswith(MOVED):
        text, _, before = alias.removeprefix(MOVED).partition(_BEFORE)
        return _Mark(False, text, before)
    return None


def text_of(plan: PortPlan) -> str:
    """Return what is written on an interface: when it differs, the interface is made anew."""
    if plan.vlan is not None:
        return f"{plan.owner}: vlan {plan.vlan[1]} of {plan.vlan[0]}"
    if plan.far is not None:
        return f"{plan.owner}: veth to {plan.far.interface} in {plan.far.namespace or 'the VM'}"
    return plan.owner


class PortError(GatewayError):
    """An interface can not be used; the text says why."""


class Ports:
    """Holds the wanted ports and what keeps them from being there."""

    def __init__(self, namespaces: Namespaces, journal: Journal) -> None:
        self._namespaces = namespaces
        self._journal = journal
        self._merging = Merging(namespaces, journal)
        self._plans: tuple[PortPlan, ...] | None = None  # not known: an earlier process's
        self.troubles: dict[str, str] = {}  # by owner

    def apply(
        self,
        plans: tuple[PortPlan, ...],
        reserved: Collection[Address] = (),
    ) -> None:
        """
        Make the plans so. `reserved` are our public addresses: their interfaces are not moved.
        """
        before, self.troubles = self.troubles, {}
        self._undo_others(plans)
        for plan in plans:
            try:
                self._make_so(plan, reserved)
                self._give_addresses(plan, plans)
            except (GatewayError, OSError) as error:
                self.troubles[plan.owner] = str(error)
        self._merging.apply(plans)
        if plans != self._plans:
            self._take_addresses_back(plans)
        self._plans = plans
        for owner, text in self.troubles.items():
            if before.get(owner) != text:
                self._journal.error("interface", owner=owner, text=text)

    def are(self, plans: tuple[PortPlan, ...]) -> bool:
        """Say whether these were made, and nothing was in the way."""
        return plans == self._plans and not self.troubles

    def remove(self) -> None:
        """Undo all: the gateway ends."""
        self.apply(())

    def report(self) -> list[dict[str, object]]:
        """Return each port as it is, for the status."""
        return [self._state(plan) for plan in self._plans or ()]

    def _state(self, plan: PortPlan) -> dict[str, object]:
        kind, _, name = plan.owner.partition(" ")
        trouble = self.troubles.get(plan.owner)
        return {
            "kind": kind,
            "name": name,
            "namespace": plan.namespace,
            "interface": plan.interface,
            "status": "down" if trouble else "up",
            "reason": trouble,
        }

    @property
    def notes(self) -> list[str]:
        """Return what an operator should change."""
        return [f"{owner}: {text}" for owner, text in self.troubles.items()]

    # ---- what is not wanted ----

    def _undo_others(self, plans: tuple[PortPlan, ...]) -> None:
        wanted = {(p.namespace, p.interface, p.is_made, text_of(p)) for p in plans}
        for namespace in self._namespaces:
            for link, mark in self._marked(namespace):
                if (namespace, link.name, mark.is_made, mark.text) not in wanted:
                    self._undo(namespace, link, mark)

    def _marked(self, namespace: str) -> list[tuple[Link, _Mark]]:
        links = self._namespaces.of(namespace).links().values()
        return [(link, mark) for link in links if (mark := mark_of(link.alias))]

    def leave(self, namespace: str) -> None:
        """Undo all in a namespace that was lost: what is left of BIRD may keep it for minutes."""
        for link, mark in self._marked(namespace):
            self._undo(namespace, link, mark)
        self._plans = None

    def _undo(self, namespace: str, link: Link, mark: _Mark) -> None:
        kernel, own = self._namespaces.of(namespace), self._namespaces.own
        try:
            if mark.is_made:
                kernel.del_link(link.name)
            else:
                kernel.set_alias(link.name, mark.before)
                if kernel is not own:
                    kernel.move(link.name, own.namespace)
        except NetlinkError as error:
            self._journal.error("interface", name=link.name, text=str(error))
            return
        event = "interface removed" if mark.is_made else "interface given back"
        self._journal.info(event, name=link.name, owner=mark.text)

    def _take_addresses_back(self, plans: tuple[PortPlan, ...]) -> None:
        """Remove addresses of ours from interfaces of the VM that no port has any more."""
        own = self._namespaces.own
        names = {link.index: link.name for link in own.links().values()}
        wanted = {plan.interface for plan in plans if plan.namespace == OWN}
        wanted |= {p.far.interface for p in plans if p.far and p.far.namespace == OWN}
        for index, address in own.given_addresses():
            name = names.get(index)
            if name is not None and name not in wanted:
                try:
                    own.del_address(name, address)
                except NetlinkError as error:
                    self._journal.error("interface", name=name, text=str(error))

    # ---- what is ----

    def _make_so(self, plan: PortPlan, reserved: Collection[Address]) -> None:
        """Make one port so, up if it is not the VM's own. Raises GatewayError."""
        kernel = self._namespaces.of(plan.namespace)
        if plan.is_made:
            self._make(plan, kernel)
        elif not kernel.has(plan.interface):
            self._take(plan, kernel, reserved)

    def _give_addresses(self, plan: PortPlan, plans: tuple[PortPlan, ...]) -> None:
        """Give a port its addresses; several ports may be one interface. Raises GatewayError."""
        place = (plan.namespace, plan.interface)
        wanted = {a for p in plans if (p.namespace, p.interface) == place for a in p.addresses}
        _give(self._namespaces.of(plan.namespace), plan.interface, wanted)
        if plan.far is not None:
            there = self._namespaces.far(plan.far.namespace)
            _give(there, plan.far.interface, set(plan.far.addresses))

    def _take(
        self,
        plan: PortPlan,
        kernel: Netlink,
        reserved: Collection[Address],
    ) -> None:
        """Move an interface of the VM into its namespace. Raises PortError, NetlinkError."""
        own = self._namespaces.own
        link = own.links().get(plan.interface)
        if link is None:
            where = f" in namespace {plan.namespace}, nor in the VM's own" if plan.namespace else ""
            raise PortError(f"there is no interface {plan.interface}{where}")
        if link.master is not None:
            raise PortError(f"interface {plan.interface} is taken: it is part of a bridge or bond")
        mark = mark_of(link.alias)
        if mark is not None:
            raise PortError(f"interface {plan.interface} is taken: {mark.text} has it")
        public = {address.ip for address in own.addresses(plan.interface)} & set(reserved)
        if public:
            text = f"it has our public address {min(public, key=str)}"
            raise PortError(f"interface {plan.interface} is taken: {text}")
        # Marked first: what is moved and has no mark would not be given back.
        own.set_alias(plan.interface, _Mark(False, text_of(plan), link.alias).alias)
        try:
            own.move(plan.interface, kernel.namespace)
        except NetlinkError:
            own.set_alias(plan.interface, link.alias)
            raise
        kernel.set_up(plan.interface, up=True)
        self._journal.info("interface moved", name=plan.interface, namespace=plan.namespace)

    def _make(self, plan: PortPlan, kernel: Netlink) -> None:
        """Make an interface, if it is not there yet. Raises PortError, NetlinkError."""
        mark = _Mark(True, text_of(plan))
        link = kernel.links().get(plan.interface)
        if link is not None:
            if link.alias != mark.alias:
                raise PortError(f"an interface named {plan.interface} exists already")
            return
        own = self._namespaces.own
        if plan.vlan is not None:
            if not own.has(plan.vlan[0]):
                raise PortError(f"there is no interface {plan.vlan[0]} to be parent of a VLAN")
            own.add_vlan(plan.interface, *plan.vlan, kernel.namespace)
        elif plan.far is not None:
            there = self._namespaces.far(plan.far.namespace)
            if there.has(plan.far.interface):
                where = f"namespace {plan.far.namespace}" if plan.far.namespace else "the VM"
                text = f"an interface named {plan.far.interface} exists already in {where}"
                raise PortError(text)
            ends = (plan.interface, kernel.namespace, plan.far.interface, there.namespace)
            own.add_veth(*ends)
            there.set_up(plan.far.interface, up=True)
        kernel.set_alias(plan.interface, mark.alias)
        kernel.set_up(plan.interface, up=True)
        self._journal.info("interface made", name=plan.interface, owner=mark.text)


def _give(kernel: Netlink, name: str, wanted: set[Interface]) -> None:
    """Give an interface these addresses, and take back those of ours that it has beside them."""
    given = {address for _, address in kernel.given_addresses(name)}
    for address in sorted(given - wanted, key=str):
        kernel.del_address(name, address)
    for address in sorted(wanted - kernel.addresses(name), key=str):
        kernel.give_address(name, address)
