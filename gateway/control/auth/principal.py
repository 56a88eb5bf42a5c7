"""
Who asks: what every request has become when its credential was found good. Pure.

A principal belongs to one tenant, or to the operator (tenant ""), who sees them all.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gateway.control.problems import forbidden

OPERATOR = ""  # the tenant of those who run the fleet
MAIN_TENANT = "main"  # where the operator's resources are if he names no tenant


class Scope(enum.IntEnum):
    """What a credential may; a later one has all of an earlier one."""

    READ = 1  # see
    OPERATE = 2  # tunnels up, down, drain, rekey, reset; acknowledge alarms
    ADMIN = 3  # every write

    @property
    def word(self) -> str:
        """The scope as it stands in documents."""
        return self.name.lower()


SCOPES = {scope.word: scope for scope in Scope}


@dataclass(frozen=True, slots=True)
class Principal:
    """
    Somebody whose credential is good. `actor` is what the audit log names.

    Actors are `user:NAME`, `token:ID`, `node:ID`, `local:USER` and `system:WHAT`.
    """

    actor: str
    tenant: str
    scope: Scope

    @property
    def is_operator(self) -> bool:
        """Whether he belongs to those who run the fleet, not to one tenant."""
        return self.tenant == OPERATOR

    def may(self, scope: Scope) -> bool:
        """Say whether he has that scope."""
        return self.scope >= scope

    def sees(self, tenant: str) -> bool:
        """Say whether objects of a tenant exist for him. What he does not see is 404."""
        return self.is_operator or self.tenant == tenant

    def need(self, scope: Scope) -> None:
        """Raise ApiProblem 403 unless he has that scope."""
        if not self.may(scope):
            raise forbidden(f"scope {scope.word} is needed, this credential has {self.scope.word}")

    def need_operator(self, scope: Scope = Scope.ADMIN) -> None:
        """Raise ApiProblem 403 unless he is the operator, with that scope."""
        if not self.is_operator:
            raise forbidden("only the operator may: this credential belongs to a tenant")
        self.need(scope)


def system(what: str) -> Principal:
    """Return the principal of what the control process does by itself."""
    return Principal(f"system:{what}", OPERATOR, Scope.ADMIN)
