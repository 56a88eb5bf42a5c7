"""
Spoke isolation in the kernel: what comes from an isolated customer goes to no other one.

What BIRD announces keeps customers from knowing of each other; this keeps packets from passing,
whatever routes there are and whatever their senders claim. Each interface toward a customer is in
one of two groups, and one table of nf_tables drops what is forwarded from or to an isolated one by
another such interface. It costs two comparisons a packet, and nothing where there is one customer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from gateway.errors import GatewayError
from gateway.nft import has_table, remove_table, write_table
from gateway.node.journal import Journal
from gateway.node.namespaces import OWN, Namespaces
from gateway.node.spokes import Spoke, is_filtered

TABLE = "twinspan"
ISOLATED, SHARED = 0x74730001, 0x74730002  # IFLA_GROUP; nobody else uses such numbers
DROPPED = ((ISOLATED, ISOLATED), (ISOLATED, SHARED), (SHARED, ISOLATED))


class Isolation:
    """Makes the kernel keep customers apart. `troubles` are the namespaces where it can not."""

    def __init__(self, namespaces: Namespaces, journal: Journal) -> None:
        self._namespaces = namespaces
        self._journal = journal
        self._spokes: Sequence[Spoke] | None = None
        self._filtered: dict[str, bool] = {}  # namespaces that have our table, and that have not
        self.troubles: dict[str, str] = {}

    def apply(self, spokes: Sequence[Spoke]) -> None:
        """Keep these apart as they say; in every namespace that is open."""
        self._spokes = spokes
        before, self.troubles = self.troubles, {}
        opened = tuple(self._namespaces)
        self._filtered = {name: has for name, has in self._filtered.items() if name in opened}
        for namespace in opened:
            here = [spoke for spoke in spokes if spoke.namespace == namespace]
            try:
                self._filter(namespace, is_wanted=is_filtered(here))
                self._group(namespace, here)
            except (GatewayError, OSError) as error:
                self.troubles[namespace] = str(error)
        for namespace, text in self.troubles.items():
            if before.get(namespace) != text:
                self._journal.error("spoke isolation", namespace=namespace or "own", text=text)

    def is_so(self, spokes: Sequence[Spoke]) -> bool:
        """Say whether these are kept apart, as far as nobody else has changed it since."""
        return spokes == self._spokes and not self.troubles

    def remove(self) -> None:
        """Undo all: the gateway ends."""
        self.apply(())

    @property
    def notes(self) -> list[str]:
        """Return what an operator should change."""
        return [
            f"customers are not kept apart{f' in namespace {name}' if name else ''}: {text}"
            for name, text in self.troubles.items()
        ]

    def _filter(self, namespace: str, *, is_wanted: bool) -> None:
        """
        Make the table, or remove it.

        In the VM's own namespace it is looked at again: nftables.service flushes all there is.
        """
        if self._filtered.get(namespace) is is_wanted and not (is_wanted and namespace == OWN):
            return
        with self._namespaces.netfilter(namespace) as link:
            if is_wanted and not (self._filtered.get(namespace) and has_table(link, TABLE)):
                write_table(link, TABLE, DROPPED)
            elif not is_wanted:
                with contextlib.suppress(OSError):  # without nf_tables there is nothing to remove
                    if has_table(link, TABLE):
                        remove_table(link, TABLE)
        self._filtered[namespace] = is_wanted

    def _group(self, namespace: str, spokes: Sequence[Spoke]) -> None:
        kernel = self._namespaces.of(namespace)
        wanted = {spoke.interface: ISOLATED if spoke.is_isolated else SHARED for spoke in spokes}
        for link in kernel.links().values():
            group = wanted.get(link.name, 0)
            if link.group != group and (group or link.group in (ISOLATED, SHARED)):
                kernel.set_group(link.name, group)
