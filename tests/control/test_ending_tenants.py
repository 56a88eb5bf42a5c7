"""
A tenant that ends while another control process makes something in it: either it stays, with what
was made, or both are gone. On both stores, with the commits put in every order.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.control.problems import ApiProblem
from gateway.control.resources.tenancy import CLOSING
from tests.control.conftest import Opener
from tests.control.processes import Process, process
from tests.control.registry import ROOT


@pytest.fixture
async def both(opener: Opener) -> AsyncIterator[tuple[Process, Process]]:
    """Two processes, and a tenant without anything."""
    async with process(await opener()) as one, process(await opener()) as other:
        await one.auth.tenants.create({"name": "red"}, ROOT)
        yield one, other
        await one.in_step()
        exists, has = one.there()
        assert exists or not has


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("what", ["make", "make_user"])
async def test_what_is_made_while_a_tenant_ends_keeps_it(
    both: tuple[Process, Process], number: int, what: str
) -> None:
    """Before the mark, or between it and the end: then the deletion is the one to give way."""
    one, other = both
    one.before(number, getattr(other, what))
    with pytest.raises(ApiProblem) as caught:
        await one.end()
    assert (caught.value.status, caught.value.code) == (409, "in_use")
    assert one.there() == (True, True)


@pytest.mark.parametrize("what", ["make", "make_user"])
async def test_what_comes_too_late_is_not_made(both: tuple[Process, Process], what: str) -> None:
    one, other = both
    other.before(1, one.end)  # it has decided, and has not committed yet
    with pytest.raises(ApiProblem) as caught:
        await getattr(other, what)()
    assert (caught.value.status, caught.value.code) == (404, "not_found")
    assert one.there() == (False, False)


async def test_a_deletion_that_was_cut_short_holds_nobody_up(
    both: tuple[Process, Process],
) -> None:
    one, other = both

    async def crash() -> None:
        raise OSError("killed")

    one.before(2, crash)
    with pytest.raises(OSError, match="killed"):
        await one.end()
    tenant = one.registry.mirror.get("tenant", "red")
    assert tenant is not None
    assert tenant.value[CLOSING]
    await other.make()
    await one.in_step()
    tenant = one.registry.mirror.get("tenant", "red")
    assert tenant is not None
    assert CLOSING not in tenant.value
    (made,) = one.registry.all("border_gateway", ROOT, "red")
    await one.registry.delete("border_gateway", made.id, ROOT)
    await one.end()
    assert one.there() == (False, False)
