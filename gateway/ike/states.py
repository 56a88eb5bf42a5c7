"""
The life of an IKE SA: every legal transition, and nothing else.

Exchanges inside an established IKE SA are not states; they are the outstanding request in
`window.py`. The inputs mean *verified* things: `AUTH_REQUEST` is a request whose AUTH payload is
right, so a forged message never reaches the table.
"""

from __future__ import annotations

from enum import Enum, auto

from gateway.errors import WrongState


class State(Enum):
    """Where an IKE SA stands."""

    IDLE = auto()
    INIT_SENT = auto()  # we sent IKE_SA_INIT
    INIT_ANSWERED = auto()  # we answered it: keys exist, the peer is not authenticated
    INTERMEDIATE_SENT = auto()  # it was answered, and we sent IKE_INTERMEDIATE (RFC 9242)
    AUTH_SENT = auto()  # we sent IKE_AUTH
    REFUSED = auto()  # we answered IKE_AUTH with an error; kept to repeat that answer
    ESTABLISHED = auto()
    REKEYED = auto()  # replaced by a new IKE SA; waits for the Delete
    CLOSING = auto()  # we sent Delete, or have to
    CLOSED = auto()


class On(Enum):
    """What moves an IKE SA from one state to another."""

    INITIATE = auto()
    INIT_REQUEST = auto()
    INIT_RETRY = auto()  # COOKIE or INVALID_KE_PAYLOAD: the request goes out again, changed
    INTERMEDIATE = auto()  # IKE_SA_INIT is answered, and one more key exchange is to be made
    INIT_RESPONSE = auto()  # all key exchanges are made
    AUTH_REQUEST = auto()
    AUTH_RESPONSE = auto()
    REFUSE = auto()
    REKEY_MADE = auto()  # this IKE SA was made by the rekey of an established one
    RESTORE = auto()  # this IKE SA was established before the process was restarted
    REPLACED = auto()
    CLOSE = auto()
    ENDED = auto()  # deleted by the peer, or acknowledged, or the peer is gone, or given up


TRANSITIONS: dict[State, dict[On, State]] = {
    State.IDLE: {
        On.INITIATE: State.INIT_SENT,
        On.INIT_REQUEST: State.INIT_ANSWERED,
        On.REKEY_MADE: State.ESTABLISHED,
        On.RESTORE: State.ESTABLISHED,
    },
    State.INIT_SENT: {
        On.INIT_RETRY: State.INIT_SENT,
        On.INTERMEDIATE: State.INTERMEDIATE_SENT,
        On.INIT_RESPONSE: State.AUTH_SENT,
        On.ENDED: State.CLOSED,
    },
    State.INTERMEDIATE_SENT: {
        On.INTERMEDIATE: State.INTERMEDIATE_SENT,
        On.INIT_RESPONSE: State.AUTH_SENT,
        On.ENDED: State.CLOSED,
    },
    State.INIT_ANSWERED: {
        On.AUTH_REQUEST: State.ESTABLISHED,
        On.REFUSE: State.REFUSED,
        On.ENDED: State.CLOSED,
    },
    State.AUTH_SENT: {
        On.AUTH_RESPONSE: State.ESTABLISHED,
        On.CLOSE: State.CLOSING,
        On.ENDED: State.CLOSED,
    },
    State.REFUSED: {On.ENDED: State.CLOSED},
    State.ESTABLISHED: {
        On.REPLACED: State.REKEYED,
        On.CLOSE: State.CLOSING,
        On.ENDED: State.CLOSED,
    },
    State.REKEYED: {On.CLOSE: State.CLOSING, On.ENDED: State.CLOSED},
    State.CLOSING: {On.ENDED: State.CLOSED},
    State.CLOSED: {},
}


BEFORE_AUTH = frozenset({State.INIT_SENT, State.INTERMEDIATE_SENT})  # the peer knows us not yet


def step(state: State, on: On) -> State:
    """Return the state after `on`. Raises WrongState if the pair is not in the table."""
    try:
        return TRANSITIONS[state][on]
    except KeyError:
        raise WrongState(f"{on.name} in {state.name}") from None
