"""Codes of the control plane."""

from __future__ import annotations

from gateway.model.severity import Code, Severity

INFO = Severity.INFO
WARNING = Severity.WARNING
ERROR = Severity.ERROR

NODES = (
    Code("node_registered", INFO, "Node registered", "A gateway VM has its credential."),
    Code("node_up", INFO, "Node reports", "A gateway VM reports again, or for the first time."),
    Code(
        "node_new",
        INFO,
        "Its gateway VM has never reported",
        "Nothing is known of the tunnel yet.",
        "register the VM: twinspan node token, then twinspan gateway --control",
    ),
    Code(
        "node_lost",
        ERROR,
        "Node lost",
        "A gateway VM does not report. What is shown of its tunnels is the last that was "
        "known; they may well carry traffic.",
        "is the VM up, and does it reach the control plane?",
    ),
    Code("node_renewed", INFO, "Credential renewed", "A node has a new certificate."),
    Code(
        "node_twice",
        WARNING,
        "Credential used twice",
        "Two gateway processes report as one node: a VM was cloned, or its credential stolen.",
        "twinspan node revoke NODE, then a new token for the right one",
    ),
    Code("node_revoked", WARNING, "Node revoked", "A node's credential is not accepted any more."),
    Code(
        "generation_late",
        WARNING,
        "Not applied in time",
        "A node has not carried out its newest document for a minute.",
        "the node's events say what it waits for",
    ),
    Code("generation_applied", INFO, "Applied", "A node has carried out its newest document."),
    Code(
        "generation_refused",
        WARNING,
        "Refused by the node",
        "A node has refused its document; it goes on with the one before.",
        "the node's version may be older than the control plane's",
    ),
    Code(
        "credential_ending",
        WARNING,
        "Node credential ends soon",
        "A node's certificate ends soon and was not renewed.",
        "nodes renew by themselves: does it reach the control plane?",
    ),
    Code(
        "certificate_ending",
        WARNING,
        "Certificate ends soon",
        "The TLS certificate of the API ends soon.",
        "replace the file and reload",
    ),
    Code(
        "action_done",
        INFO,
        "Action carried out",
        "A node has done what was asked: up, down, drain, rekey or reset.",
    ),
    Code(
        "action_failed",
        WARNING,
        "Action failed",
        "A node could not do what was asked.",
        "the text has the node's words",
    ),
)

ACCESS = (
    Code(
        "token_ending",
        WARNING,
        "Token ends soon",
        "An API token ends soon.",
        "make a new one in time",
    ),
    Code("signed_in", INFO, "Signed in", "A user has signed in."),
    Code("secret_revealed", WARNING, "Secret shown", "A user or token has asked for a secret."),
)

ALARMS = (
    Code(
        "quota_near",
        WARNING,
        "Quota nearly used",
        "Four fifths of a quota are used.",
        "raise the quota, or delete what is not needed",
    ),
    Code(
        "quota_reached",
        ERROR,
        "Quota used up",
        "Nothing more of this kind can be made.",
        "raise the quota, or delete what is not needed",
    ),
    Code(
        "tunnel_flapping",
        WARNING,
        "Tunnel goes up and down",
        "The tunnel went down several times within some minutes.",
        "look at the reasons in the tunnel's events",
    ),
    Code("alarm_raised", WARNING, "Alarm raised", "Something needs to be looked at."),
    Code("alarm_cleared", INFO, "Alarm cleared", "What was to be looked at is over."),
    Code("alarm_acknowledged", INFO, "Alarm acknowledged", "Somebody looks at it."),
    Code(
        "alarm_not_delivered",
        ERROR,
        "Alarm not delivered",
        "A target did not take a message after several tries.",
        "test the target: twinspan alarm-target test",
    ),
)

CHANGES = (
    Code("created", INFO, "Created", "A resource was made."),
    Code("changed", INFO, "Changed", "A resource was changed."),
    Code("deleted", INFO, "Deleted", "A resource was deleted."),
)
