"""
Calls to an etcd cluster: several endpoints, time limits, and errors of the store's own family.

aetcd has etcd's messages and stubs. Its client is not used: it knows one endpoint, reads no old
revision, and ends a watch at the first break.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Any

from aetcd import rpc

from gateway.control.store.interface import Key, Unavailable
from gateway.errors import UsageError

TRY_S = 2.0  # one try at one endpoint: longer than an election of the cluster takes
LIMIT_S = 5.0
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
OPTIONS = (
    # A partition that drops packets silently is noticed by HTTP/2 pings. Servers refuse more than
    # one in 5 s (etcd's --grpc-keepalive-min-time).
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.enable_retries", 0),
    # Loopback and machines of the fleet: a proxy of the environment is for other things.
    ("grpc.enable_http_proxy", 0),
)
# An endpoint without a quorum ends the watch, so that another endpoint is tried.
HAS_LEADER = (("hasleader", "true"),)
_LASTING = {
    rpc.StatusCode.INVALID_ARGUMENT,
    rpc.StatusCode.NOT_FOUND,
    rpc.StatusCode.OUT_OF_RANGE,
    rpc.StatusCode.PERMISSION_DENIED,
    rpc.StatusCode.UNAUTHENTICATED,
    rpc.StatusCode.UNIMPLEMENTED,
    rpc.StatusCode.RESOURCE_EXHAUSTED,
}


class OutOfRange(Exception):
    """The request names a revision that is compacted, or is yet to come."""


class Endpoint:
    """One member's address, with its channel, which connects by itself and again."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.channel = rpc.insecure_channel(target, options=OPTIONS)
        kv, lease = rpc.KVStub(self.channel), rpc.LeaseStub(self.channel)
        self.calls: dict[type, Any] = {
            rpc.RangeRequest: kv.Range,
            rpc.TxnRequest: kv.Txn,
            rpc.CompactionRequest: kv.Compact,
            rpc.LeaseGrantRequest: lease.LeaseGrant,
            rpc.LeaseRevokeRequest: lease.LeaseRevoke,
        }
        self.watch = rpc.WatchStub(self.channel).Watch
        self.keep_alive = lease.LeaseKeepAlive


class Endpoints:
    """
    The members of a cluster: a call goes to the one that answered last, then to the next.

    A call is tried again after a failure that passes, so what is called must stand being carried
    out twice, or must be conditional.
    """

    def __init__(self, targets: Sequence[str], limit_s: float) -> None:
        self._endpoints = [Endpoint(target) for target in targets]
        self._limit_s = limit_s
        self._current = 0

    def __str__(self) -> str:
        return ",".join(endpoint.target for endpoint in self._endpoints)

    async def call(self, request: Any, key: Key | None = None) -> Any:  # noqa: ANN401 - protobuf
        """Return the answer. Raises OutOfRange, Unavailable, UsageError."""

        async def once(endpoint: Endpoint, timeout_s: float) -> Any:  # noqa: ANN401 - protobuf
            return await endpoint.calls[type(request)](request, timeout=timeout_s)

        return await self._try(once, key)

    async def keep_alive(self, token: int, key: Key) -> int:
        """Return for how many seconds an etcd lease holds from now; 0: it is no more."""

        async def once(endpoint: Endpoint, timeout_s: float) -> int:
            stream = endpoint.keep_alive(timeout=timeout_s)
            try:
                await stream.write(rpc.LeaseKeepAliveRequest(ID=token))
                async for answer in stream:
                    return int(answer.TTL)
                raise asyncio.InvalidStateError("ended the stream")
            finally:
                stream.cancel()

        return int(await self._try(once, key))

    async def _try(self, once: Any, key: Key | None) -> Any:  # noqa: ANN401 - protobuf
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._limit_s
        pause = FIRST_PAUSE_S
        while True:
            endpoint = self._endpoints[self._current]
            try:
                return await once(endpoint, min(TRY_S, deadline - clock()))
            except (rpc.AioRpcError, asyncio.InvalidStateError) as error:
                if isinstance(error, rpc.AioRpcError) and error.code() in _LASTING:
                    raise lasting(error, key) from None
                self.next_one(endpoint)
                if clock() + pause >= deadline:
                    raise self.unavailable(endpoint, error, key) from None
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def next_one(self, failed: Endpoint) -> None:
        """Let the next call go to another endpoint than the one that has just failed."""
        if self._endpoints[self._current] is failed:
            self._current = (self._current + 1) % len(self._endpoints)

    def unavailable(self, endpoint: Endpoint, error: Exception, key: Key | None) -> Unavailable:
        """Return the error that says which endpoint did not do it, and why."""
        # An InvalidStateError: the stream had ended before it was written to.
        why = error.details() if isinstance(error, rpc.AioRpcError) else "ended the stream"
        return Unavailable(f"etcd {endpoint.target} of {self}: {why}", key)

    async def watch(self, request: Any) -> AsyncGenerator[Any, None]:  # noqa: ANN401 - protobuf
        """Yield the answers to one request to watch. Raises Unavailable when the stream ends."""
        endpoint = self._endpoints[self._current]
        stream = endpoint.watch(metadata=HAS_LEADER)
        try:
            await stream.write(rpc.WatchRequest(create_request=request))
            async for answer in stream:
                yield answer
            raise asyncio.InvalidStateError
        except (rpc.AioRpcError, asyncio.InvalidStateError) as error:
            self.next_one(endpoint)
            raise self.unavailable(endpoint, error, None) from None
        finally:
            stream.cancel()

    async def close(self) -> None:
        """Close all channels."""
        for endpoint in self._endpoints:
            with suppress(rpc.AioRpcError):
                await endpoint.channel.close()


def lasting(error: rpc.AioRpcError, key: Key | None) -> Exception:
    """Return our error for what no other endpoint would do either."""
    if error.code() is rpc.StatusCode.OUT_OF_RANGE:
        return OutOfRange(error.details())
    if error.code() is rpc.StatusCode.INVALID_ARGUMENT:
        return UsageError(f"etcd refuses the request: {error.details()}")
    return Unavailable(f"etcd: {error.details()}", key)
