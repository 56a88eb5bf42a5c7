"""
IKE_INTERMEDIATE (RFC 9242): between IKE_SA_INIT and IKE_AUTH, one for each additional key exchange
(RFC 9370 section 2.2.2).

It is sealed, so it can be fragmented, which is why ML-KEM stands here and not in IKE_SA_INIT. Each
one's secret goes into the keys of all that follows. The peer is not authenticated yet: a key
exchange is made only if it was agreed on, in its turn, and once.
"""

from __future__ import annotations

from gateway.errors import PeerError, WireError
from gateway.ike import message, reasons
from gateway.ike.dh import KeyPair, answer
from gateway.ike.exchanges import auth, negotiate
from gateway.ike.iana import POST_QUANTUM, ExchangeType
from gateway.ike.ike_sa import IkeSa, Keys
from gateway.ike.keymat import mix_ike
from gateway.ike.message import Message
from gateway.ike.payloads import KeyExchange
from gateway.ike.states import On
from gateway.ike.tasks import Task, Work
from gateway.ike.window import Request
from gateway.sa import Path
from gateway.secret import Secret


def proceed(sa: IkeSa, now: float) -> None:
    """As the initiator, begin the next key exchange; when all are made, authenticate."""
    group = sa.further.group
    if not group:
        sa.move(On.INIT_RESPONSE)
        auth.send_request(sa, now)
        return
    sa.key_pair = KeyPair.generate(group, sa.context.random.private_key(group))
    sa.move(On.INTERMEDIATE)
    payloads = (KeyExchange(group, sa.key_pair.public),)
    sa.request(Task(Work.INTERMEDIATE), ExchangeType.IKE_INTERMEDIATE, payloads, now)


def receive_response(sa: IkeSa, request: Request, response: Message, now: float) -> None:
    """Take the responder's value, and go on."""
    key_pair = sa.key_pair
    assert key_pair is not None
    error = negotiate.first_error(response)
    if error is not None:
        sa.fail(reasons.from_notify(error.type, "IKE_INTERMEDIATE"), now)
        return
    try:
        shared = key_pair.shared(_value(sa, response))
    except PeerError as problem:
        sa.fail(reasons.from_error(problem, "the answer to IKE_INTERMEDIATE"), now)
        return
    payloads = (KeyExchange(key_pair.group, key_pair.public),)
    asked = sa.message(request.exchange, request.message_id, payloads, False)
    sa.key_pair = None
    _mix(sa, shared, message.octets_of(asked), response.octets)
    proceed(sa, now)


def answer_request(sa: IkeSa, request: Message, path: Path, now: float, digest: bytes) -> None:
    """Answer a key exchange. Raises PeerError, and then nothing has changed."""
    value = _value(sa, request)
    group = sa.further.group
    public, shared = answer(group, value, sa.context.random.private_key(group))

    # What follows is sealed with the keys that there are; the next message has the new ones.
    payloads = (KeyExchange(group, public),)
    answered = message.octets_of(
        sa.message(request.exchange, request.message_id, payloads, is_response=True)
    )
    sa.respond(request, payloads, path, now, digest)
    _mix(sa, shared, request.octets, answered)


def _value(sa: IkeSa, received: Message) -> bytes:
    """Return the peer's value of the key exchange that is due."""
    group = sa.further.group
    if not group:
        raise WireError("IKE_INTERMEDIATE, and no key exchange is due")
    key_exchange = received.one(KeyExchange)
    if key_exchange.group != group:
        raise WireError(f"KE of method {key_exchange.group}, need {group}")
    return key_exchange.public


def _mix(sa: IkeSa, shared: Secret, request: bytes, response: bytes) -> None:
    """Put one more secret into the keys, and the exchange into what AUTH covers."""
    assert sa.suite is not None
    assert sa.keys is not None
    old, method = sa.keys.secrets, sa.further.group
    sa.further.take(sa.suite.prf, (old.sk_pi, old.sk_pr), request, response)
    nonces_and_spis = sa.nonce_i, sa.nonce_r, sa.spi_i, sa.spi_r
    secrets = mix_ike(sa.suite, old.sk_d, shared, *nonces_and_spis)
    sa.keys = Keys.of(sa.suite, secrets, sa.original_initiator)
    sa.is_post_quantum = sa.is_post_quantum or method in POST_QUANTUM
