"""
Requests and their answers: the serving end of `control.py`.

`Service` checks each request against what its operation needs and calls the fast path; `Connection`
is one gateway process. Nothing that comes over the connection may end the data plane process: a bad
message is answered with an error.
"""

from __future__ import annotations

import json
import os
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway._native import ffi, lib
from gateway.dataplane import codec, control
from gateway.dataplane.control import ANSWER, BEFORE_HELLO, OF_SLOT, REQUEST, Op
from gateway.dataplane.estate import messages
from gateway.dataplane.fastpath import FastPath, place_of
from gateway.dataplane.fdstore import Store
from gateway.dataplane.interface import PlaneState
from gateway.dataplane.punt import make_record
from gateway.dataplane.records import pack
from gateway.errors import DataPlaneError

if TYPE_CHECKING:
    from gateway._native import CData

REPLY_WITHIN_S = 5.0  # a gateway process that reads nothing for so long is dropped


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `payload` points to `length` bytes; what is left in `descriptors` is closed."""

    op: Op
    number: int
    target: int  # tunnel, SPI or worker
    slot: int  # outbound slot of the tunnel
    payload: CData
    length: int
    descriptors: list[int]

    def struct(self, name: str) -> CData:
        """Return a pointer to the payload as this struct. Raises DataPlaneError on another size."""
        if self.length != ffi.sizeof(f"struct {name}"):
            need = ffi.sizeof(f"struct {name}")
            raise codec.refuse(f"{self.op.name}: {self.length} bytes, need {need}")
        return ffi.cast(f"struct {name} *", self.payload)

    def tail(self, start: int) -> bytes:
        """Return the bytes behind the first `start`. Raises DataPlaneError if there are fewer."""
        if self.length < start:
            raise codec.refuse(f"{self.op.name}: {self.length} bytes, need at least {start}")
        return bytes(ffi.buffer(self.payload + start, self.length - start))

    def expect_descriptors(self, count: int) -> None:
        """Raise DataPlaneError unless exactly `count` descriptors came along."""
        if len(self.descriptors) != count:
            text = f"{self.op.name}: {len(self.descriptors)} descriptors, need {count}"
            raise codec.refuse(text)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered with when it succeeds. `descriptor` is closed once it is sent."""

    body: bytes = b""
    descriptor: int = -1
    estate: tuple[tuple[bytes, list[int]], ...] = ()  # messages in place of a reply


DONE = Answer()
SILENCE = Answer()  # this one is not sent


def struct_answer(struct_: CData) -> Answer:
    """Return a struct's bytes as the answer."""
    return Answer(bytes(ffi.buffer(struct_)))


def encode_state(state: PlaneState) -> bytes:
    """Return the state as JSON: `remote.decode_state` reads it."""
    tunnels = [
        [tunnel, state.names[tunnel], spis, list(state.outbound.get(tunnel, {}).items())]
        for tunnel, spis in state.tunnels.items()
    ]
    content = {"workers": state.workers, "sockets": state.sockets, "tunnels": tunnels}
    return json.dumps(content).encode()


def _content(request: Request) -> bytes:
    """Return the payload, or what the memory file holds that came instead of it."""
    if request.descriptors:
        request.expect_descriptors(1)
        return control.read_memory(request.descriptors[0])
    return request.tail(0)


class Service:
    """Answers requests: checks each against what its operation needs, then calls the fast path."""

    def __init__(self, path: FastPath, store: Store) -> None:
        self._path = path
        self._store = store
        self._records = store.records
        self.stopped = False
        self._answers: dict[Op, Callable[[Request], Answer]] = {
            Op.HELLO: self._hello,
            Op.ADD_SOCKET: self._add_socket,
            Op.DEL_SOCKET: self._del_socket,
            Op.SEND_IKE: self._send_ike,
            Op.SEND_KEEPALIVE: self._send_keepalive,
            Op.ADD_TUNNEL: self._add_tunnel,
            Op.DEL_TUNNEL: self._del_tunnel,
            Op.SET_OPTIONS: self._set_options,
            Op.SET_PATH: self._set_path,
            Op.SET_CARRIER: self._set_carrier,
            Op.ADD_INBOUND: self._add_inbound,
            Op.DEL_INBOUND: self._del_inbound,
            Op.SET_OUTBOUND: self._set_outbound,
            Op.CLEAR_OUTBOUND: self._clear_outbound,
            Op.TUNNEL_STATS: self._tunnel_stats,
            Op.INBOUND_STATS: self._inbound_stats,
            Op.OUTBOUND_STATS: self._outbound_stats,
            Op.WORKER_STATS: self._worker_stats,
            Op.STATE: self._state,
            Op.KEEP: self._keep,
            Op.KEPT: self._kept,
            Op.STOP: self._stop,
            Op.INHERIT: self._inherit,
            Op.SETTLE: self._settle,
        }

    def answer(self, request: Request) -> Answer:
        """Carry out a request. Raises DataPlaneError with the text that answers it."""
        return self._answers[request.op](request)

    def _hello(self, request: Request) -> Answer:
        if request.tail(0) != control.hello():
            text = f"the data plane has ABI version {lib.GW_ABI_VERSION}, the gateway another"
            raise DataPlaneError(text, lib.GW_E_UNSUPPORTED)
        return Answer(control.WELCOME.pack(self._path.workers, os.getpid()))

    def _add_socket(self, request: Request) -> Answer:
        request.expect_descriptors(1)
        sock = request.struct("gw_socket")
        sock.fd = request.descriptors[0]
        self._path.add_socket(sock)
        request.descriptors.clear()
        self._store.keep(place_of(sock))
        return DONE

    def _del_socket(self, request: Request) -> Answer:
        sock = request.struct("gw_socket")
        self._path.del_socket(sock)
        self._store.forget(place_of(sock))
        return DONE

    def _send_ike(self, request: Request) -> Answer:
        datagram = request.tail(ffi.sizeof("struct gw_path"))
        self._path.send_ike(ffi.cast("struct gw_path *", request.payload), datagram)
        return DONE

    def _send_keepalive(self, request: Request) -> Answer:
        self._path.send_keepalive(request.target)
        return DONE

    def _add_tunnel(self, request: Request) -> Answer:
        raw = request.tail(ffi.sizeof("struct gw_tunnel"))
        if len(raw) > control.NAME_MAX:
            raise codec.refuse(f"a name of {len(raw)} bytes, at most {control.NAME_MAX}")
        try:
            name = raw.decode()
        except UnicodeDecodeError as error:
            raise codec.refuse("a name that is not UTF-8") from error
        tunnel = ffi.cast("struct gw_tunnel *", request.payload)
        if not 1 <= tunnel.queue_count <= lib.GW_QUEUES_MAX:
            raise codec.refuse(f"{tunnel.queue_count} TUN queues")
        request.expect_descriptors(tunnel.queue_count)
        for i, descriptor in enumerate(request.descriptors):
            tunnel.queue[i].fd = descriptor
        self._path.add_tunnel(tunnel, name)
        request.descriptors.clear()
        self._store.keep(tunnel.id)
        return DONE

    def _del_tunnel(self, request: Request) -> Answer:
        self._path.del_tunnel(request.target)
        self._store.forget(request.target)
        return DONE

    def _set_options(self, request: Request) -> Answer:
        self._path.set_options(request.target, request.struct("gw_tunnel_options"))
        return DONE

    def _set_path(self, request: Request) -> Answer:
        self._path.set_path(request.target, request.struct("gw_path"))
        return DONE

    def _set_carrier(self, request: Request) -> Answer:
        flag = request.tail(0)
        if flag not in (b"\0", b"\1"):
            raise codec.refuse("carrier is neither 0 nor 1")
        self._path.set_carrier(request.target, flag == b"\1")
        return DONE

    def _add_inbound(self, request: Request) -> Answer:
        self._path.add_inbound(request.target, request.struct("gw_sa"))
        return DONE

    def _del_inbound(self, request: Request) -> Answer:
        self._path.del_inbound(request.target)
        return DONE

    def _set_outbound(self, request: Request) -> Answer:
        self._path.set_outbound(request.target, request.slot, request.struct("gw_sa"))
        return DONE

    def _clear_outbound(self, request: Request) -> Answer:
        self._path.clear_outbound(request.target, request.slot)
        return DONE

    def _tunnel_stats(self, request: Request) -> Answer:
        return struct_answer(self._path.tunnel_stats(request.target))

    def _inbound_stats(self, request: Request) -> Answer:
        return struct_answer(self._path.inbound_stats(request.target))

    def _outbound_stats(self, request: Request) -> Answer:
        return struct_answer(self._path.outbound_stats(request.target, request.slot))

    def _worker_stats(self, request: Request) -> Answer:
        return struct_answer(self._path.worker_stats(request.target))

    def _state(self, request: Request) -> Answer:
        return Answer(descriptor=control.write_memory(encode_state(self._path.state())))

    def _keep(self, request: Request) -> Answer:
        try:
            content = _content(request)
        except DataPlaneError:
            self._records.clear()  # what it was to replace is out of date
            raise
        self._records.keep(content)
        return SILENCE

    def _kept(self, request: Request) -> Answer:
        return Answer(descriptor=control.write_memory(pack(self._records.all().items())))

    def _stop(self, request: Request) -> Answer:
        self.stopped = True
        return DONE

    def _inherit(self, request: Request) -> Answer:
        told = messages(self._path.estate, self._records.all())
        return Answer(estate=(*self._store.messages(), *told))

    def _settle(self, request: Request) -> Answer:
        self._store.settle()
        return DONE

    def close(self) -> None:
        """Forget the records."""
        self._records.clear()


class Connection:
    """One gateway process: reads its requests, has them answered, writes the replies."""

    def __init__(self, sock: socket.socket, service: Service, peer: str) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, control.BUFFER)
        self.sock = sock
        self.peer = peer
        self.greeted = False
        self._service = service
        # A struct can be laid over the payload because the array has an allocation of its own.
        self.payload = ffi.new("uint8_t[]", control.PAYLOAD_MAX)
        self._header = bytearray(REQUEST.size)

    def serve_one(self) -> bool:
        """Read and answer one message, if one waits. False: the gateway process is gone."""
        view = memoryview(ffi.buffer(self.payload))
        try:
            message = control.receive(self.sock, [memoryview(self._header), view])
        except BlockingIOError:
            return True
        except ConnectionResetError:
            # A killed gateway process had not read all we sent. What it sent before still waits
            # here; its end is read behind that.
            return True
        except OSError:
            return False
        if message.length == 0:
            control.close_all(message.descriptors)
            return False
        descriptors = list(message.descriptors)
        try:
            return self._answer(message, descriptors)
        finally:
            control.close_all(descriptors)
            # It may have held keys.
            used = max(0, message.length - REQUEST.size)
            view[:used] = bytes(used)

    def _answer(self, message: control.Received, descriptors: list[int]) -> bool:
        number = 0
        try:
            if message.length < REQUEST.size or not message.complete:
                raise codec.refuse(f"a message of {message.length} bytes, or cut")
            _, _, number, _, _ = REQUEST.unpack(self._header)
            request = self._parse(message, descriptors)
            answer = self._service.answer(request)
        except DataPlaneError as error:
            text = str(error).encode()[: control.ERROR_MAX]
            return self.reply(number, error.code, error.errno, text)
        except OSError as error:
            text = str(error).encode()[: control.ERROR_MAX]
            return self.reply(number, lib.GW_E_SYS, error.errno or 0, text)
        self.greeted = self.greeted or request.op is Op.HELLO
        if answer.estate:
            return self._bequeath(answer.estate)
        return answer is SILENCE or self._send(answer, number)

    def _parse(self, message: control.Received, descriptors: list[int]) -> Request:
        raw, slot, number, target, length = REQUEST.unpack(self._header)
        if length != message.length - REQUEST.size:
            text = f"a message of {message.length} bytes announces {length} of payload"
            raise codec.refuse(text)
        try:
            op = Op(raw)
        except ValueError as error:
            raise codec.refuse(f"operation {raw}") from error
        if slot != 0 and op not in OF_SLOT:
            raise codec.refuse(f"{op.name} with slot {slot}")
        if op not in BEFORE_HELLO and not self.greeted:
            raise codec.refuse(f"{op.name} before HELLO")
        return Request(op, number, target, slot, self.payload, length, descriptors)

    def _send(self, answer: Answer, number: int) -> bool:
        descriptors = [] if answer.descriptor < 0 else [answer.descriptor]
        try:
            return self.reply(number, lib.GW_OK, 0, answer.body, descriptors)
        finally:
            control.close_all(descriptors)

    def _bequeath(self, estate: tuple[tuple[bytes, list[int]], ...]) -> bool:
        try:
            return all(self.send(message, descriptors) for message, descriptors in estate)
        finally:
            control.close_all(estate[-1][1])

    def reply(
        self, number: int, code: int, error: int, body: bytes, descriptors: list[int] | None = None
    ) -> bool:
        """Send a reply. False if the gateway process reads nothing."""
        content = ANSWER.pack(number, code, error, len(body)) + body
        record = make_record(lib.GW_PUNT_REPLY, content)
        return self.send(record, descriptors or [])

    def send(self, record: bytes, descriptors: list[int]) -> bool:
        """Send one record within REPLY_WITHIN_S. False if the gateway process reads nothing."""
        give_up_at = time.monotonic() + REPLY_WITHIN_S
        while True:
            try:
                control.send(self.sock, [record], descriptors)
                return True
            except BlockingIOError:
                left_s = give_up_at - time.monotonic()
                if left_s <= 0 or not wait_writable(self.sock, left_s):
                    return False
            except (BrokenPipeError, ConnectionResetError):
                return True  # it is gone: its end is read behind what it has sent before
            except OSError:
                return False


def wait_writable(sock: socket.socket, timeout_s: float) -> bool:
    """Wait until a socket takes more; False when it does not within `timeout_s`."""
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return bool(poll.poll(timeout_s * 1000))
