"""Codes of what happens on a gateway VM."""

from __future__ import annotations

from gateway.model.severity import Code, Severity

INFO = Severity.INFO
WARNING = Severity.WARNING
ERROR = Severity.ERROR

TUNNEL = (
    Code("tunnel_up", INFO, "Tunnel up", "The tunnel can carry traffic."),
    Code(
        "tunnel_down",
        WARNING,
        "Tunnel down",
        "The tunnel can carry no traffic; the reason says why.",
        "twinspan explain TUNNEL",
    ),
    Code(
        "tunnel_failed",
        WARNING,
        "An attempt failed",
        "A tunnel that is down could not be set up; it is tried again.",
        "twinspan explain TUNNEL",
    ),
    Code(
        "rekey_failed",
        WARNING,
        "A rekey or further Child SA failed",
        "The tunnel is up and stays up; new keys, or one pair of prefixes, could not be agreed on.",
        "twinspan explain TUNNEL",
    ),
    Code("tunnel_allowed", INFO, "Tunnel allowed", "An operator lets a tunnel up again."),
    Code(
        "tunnel_taken_down",
        INFO,
        "Tunnel taken down",
        "An operator has taken a tunnel down; it stays so until it is allowed again.",
        "twinspan up TUNNEL",
    ),
    Code("tunnel_changed", INFO, "Tunnel changed", "An edit was carried out on a tunnel."),
    Code("tunnel_removed", INFO, "Tunnel removed", "A tunnel is no longer there."),
    Code(
        "path_changed",
        INFO,
        "The peer's address has changed",
        "The peer is behind a NAT and comes from another address or port, or both ends went "
        "over to port 4500.",
    ),
    Code(
        "hard_limit",
        WARNING,
        "Hard limit reached",
        "A key has reached its hard limit before a rekey; the rekey must come now.",
        "look at why rekeys fail",
    ),
    Code(
        "orphans_removed",
        WARNING,
        "Keys of an earlier process removed",
        "No new IKE SA came in time for what a crashed gateway process had left.",
    ),
    Code(
        "device_down",
        WARNING,
        "Device down",
        "Somebody set the tunnel's device down; it is set up again.",
    ),
    Code(
        "capture_begins",
        WARNING,
        "A capture begins",
        "Somebody writes the tunnel's packets to a file; `keys` says whether its keys with them.",
    ),
    Code("capture_ends", INFO, "A capture has ended", "The tunnel's packets are written no more."),
    Code("device_failed", ERROR, "Device failed", "The tunnel's device is gone; it is made anew."),
    Code(
        "tunnel_setup",
        ERROR,
        "Tunnel can not be made",
        "The kernel or the data plane refuses the tunnel.",
        "the text has the error; it is tried again every ten seconds",
    ),
)

TRAFFIC = (
    Code(
        "failover",
        WARNING,
        "Traffic has moved: failure",
        "The tunnel that carried a connection's traffic failed, and another one carries it now.",
    ),
    Code(
        "switchover",
        INFO,
        "Traffic has moved: planned",
        "The traffic of a connection was moved to another tunnel on purpose, or went back to "
        "the preferred one.",
    ),
    Code(
        "connection_up",
        INFO,
        "Connection carries traffic",
        "A connection that had no usable tunnel has one again.",
    ),
    Code(
        "connection_down",
        ERROR,
        "Connection down",
        "No tunnel of the connection can carry traffic.",
        "the events of its tunnels say why",
    ),
    Code(
        "redundancy_restored",
        INFO,
        "Redundancy is back",
        "The connection outlives the loss of any one address again.",
    ),
    Code(
        "redundancy_lost",
        WARNING,
        "Redundancy lost",
        "The loss of one more address, ours or the customer's, may interrupt the connection.",
        "the events of its tunnels say why",
    ),
    Code(
        "traffic_leaves",
        INFO,
        "Traffic leaves a tunnel",
        "A tunnel is the last choice, or carries nothing, for the reason given.",
    ),
    Code(
        "traffic_returns",
        INFO,
        "Traffic may use a tunnel",
        "A tunnel carries traffic again as its routes say.",
    ),
    Code(
        "drained",
        INFO,
        "Drained",
        "A tunnel's traffic was moved away before it closes; the text says how far.",
    ),
    Code(
        "tunnel_damped",
        WARNING,
        "Tunnel damped",
        "The tunnel failed too often and is the last choice for some minutes.",
        "look at why it goes up and down",
    ),
    Code(
        "probe_lost",
        WARNING,
        "Probes are not answered",
        "Nobody answers through the tunnel any more; its routes are withdrawn.",
        "the path, or a filter for ICMP echo at the peer",
    ),
    Code(
        "probe_back",
        INFO,
        "Probes are answered again",
        "The path through the tunnel is alive again.",
    ),
    Code(
        "probe_answered",
        INFO,
        "Probes are answered",
        "The first answer has come: from now on the tunnel is judged by its probes.",
    ),
    Code(
        "probe_unanswered",
        WARNING,
        "Probes were never answered",
        "The tunnel counts as not probed until the first answer comes.",
        "does the peer answer ICMP echo on its inner address?",
    ),
)

ROUTING = (
    Code("bgp_up", INFO, "BGP session up", "Routes are exchanged with the peer."),
    Code(
        "bgp_down",
        WARNING,
        "BGP session down",
        "No routes are exchanged; what was learned is left.",
        "twinspan bgp",
    ),
    Code("bgp_restarted", WARNING, "BGP session restarted", "The session was down for a moment."),
    Code(
        "bgp_failed",
        WARNING,
        "BGP session does not come up",
        "The session could not be set up; it is tried again.",
        "twinspan bgp",
    ),
    Code(
        "bgp_prefix_limit",
        WARNING,
        "Too many routes",
        "The peer announces more routes than the limit; those above it are left out, the "
        "session stays.",
        "let the peer announce fewer or summarised prefixes, or raise prefix_limit",
    ),
    Code(
        "bgp_prefix_limit_over",
        INFO,
        "Within the limit of routes",
        "The peer announces no more routes than the limit.",
    ),
    Code("bfd_up", INFO, "BFD session up", "The peer answers BFD."),
    Code(
        "bfd_down",
        WARNING,
        "BFD session down",
        "The peer does not answer BFD: its routes are left at once.",
        "the path, or BFD off at the peer",
    ),
    Code("line_up", INFO, "Direct line up", "The next hop of a direct line answers."),
    Code(
        "line_down",
        WARNING,
        "Direct line down",
        "The next hop of a direct line does not answer.",
        "look at the line's interface and the router behind it",
    ),
    Code("bird_started", INFO, "BIRD started", "The routing daemon of a network namespace runs."),
    Code(
        "bird_ended_by_us",
        INFO,
        "BIRD ended",
        "No BGP is wanted in the network namespace any more.",
    ),
    Code(
        "bird_ended",
        ERROR,
        "BIRD lost",
        "The routing daemon has ended; its routes stay in the kernel, and it is started again.",
        "twinspan log; bird.log in the runtime directory",
    ),
    Code(
        "bird_hangs", ERROR, "BIRD hangs", "The routing daemon does not answer and is started anew."
    ),
    Code(
        "bird_is_in_a_namespace_that_is_gone",
        ERROR,
        "BIRD misplaced",
        "The routing daemon's network namespace was replaced; it is started in the new one.",
    ),
    Code(
        "bird_does_not_start",
        ERROR,
        "BIRD does not start",
        "The routing daemon could not be started; it is tried again.",
        "the text has the error",
    ),
    Code(
        "bird",
        ERROR,
        "BIRD refuses",
        "The routing daemon did not take a configuration or a command.",
        "the text has its words",
    ),
    Code(
        "propagation",
        WARNING,
        "Route not propagated",
        "A route of a customer can not go into the VPC's route table.",
        "the text says which and why",
    ),
    Code(
        "route",
        ERROR,
        "Route refused",
        "The kernel refuses a route or a rule.",
        "the text has the error",
    ),
)

GATEWAY = (
    Code("gateway_up", INFO, "Gateway up", "The gateway process is at work."),
    Code(
        "gateway_ends",
        INFO,
        "Gateway ends",
        "The gateway process ends; the text says whether the tunnels go on in the data plane.",
    ),
    Code(
        "taken_over",
        INFO,
        "Taken over",
        "The gateway process goes on with the tunnels of the one before.",
    ),
    Code(
        "document_applied",
        INFO,
        "Document applied",
        "What is wanted was carried out; the text counts what changed.",
    ),
    Code(
        "document_refused",
        WARNING,
        "Document refused",
        "The document has a mistake; nothing was changed.",
        "twinspan check names each mistake",
    ),
    Code(
        "document_failed",
        ERROR,
        "Document not carried out",
        "The document is right, but the machine refuses a part of it.",
        "the text has the error",
    ),
    Code(
        "document",
        WARNING,
        "Document has a warning",
        "The document works, but may not be what was meant.",
    ),
    Code(
        "edit_done",
        INFO,
        "Edit carried out",
        "All tunnels that had to wait for their twins have been edited.",
    ),
    Code(
        "edit_failed",
        ERROR,
        "Edit stopped",
        "An edit of several tunnels was given up half way; the rest are as before.",
        "the text has the error; apply the document again",
    ),
    Code(
        "control_reached",
        INFO,
        "Control plane reached",
        "The node hears of the control plane again.",
    ),
    Code(
        "control_lost",
        WARNING,
        "Control plane lost",
        "The node works on with the document that it has.",
        "does the VM reach the control plane? The tunnels do not need it",
    ),
    Code(
        "control_clock",
        WARNING,
        "Clocks differ",
        "The clock of the VM and that of the control plane differ.",
        "run an NTP client on both: certificates are judged by the clock",
    ),
    Code(
        "certificate_not_renewed",
        ERROR,
        "Credential not renewed",
        "The node could not get its next certificate; it is tried again.",
        "the text has the error; after its end the node must be registered anew",
    ),
    Code(
        "document_on_disk",
        ERROR,
        "Document not kept",
        "The document could not be written to or read from disk: after a reboot the node "
        "waits for the control plane.",
        "the text has the error",
    ),
    Code(
        "identity",
        ERROR,
        "Identity not usable",
        "The node can not use its key or certificate.",
        "the text has the error; register the node anew",
    ),
    Code(
        "data_plane_lost",
        ERROR,
        "Data plane lost",
        "The process that carries the packets has ended; all tunnels are made anew.",
        "journalctl -u twinspan-dataplane",
    ),
    Code(
        "worker_failed",
        ERROR,
        "Worker failed",
        "A thread of the data plane has failed; the data plane is begun anew.",
        "twinspan log",
    ),
    Code(
        "state_not_restored",
        WARNING,
        "State not restored",
        "What the process before had left could not be used; IKE SAs are made anew.",
    ),
    Code(
        "machine",
        WARNING,
        "Machine",
        "Something of this machine costs speed or safety.",
        "twinspan doctor",
    ),
    Code(
        "interface",
        ERROR,
        "Interface refused",
        "An interface of a VPC attachment or direct line can not be made or used.",
        "the text has the error",
    ),
    Code(
        "namespace",
        ERROR,
        "Network namespace refused",
        "A network namespace can not be made or used.",
        "the text has the error",
    ),
    Code(
        "spoke_isolation",
        ERROR,
        "Isolation refused",
        "The rules that keep branches apart could not be set: nothing is let through meanwhile.",
        "the text has the error",
    ),
    Code(
        "vici",
        ERROR,
        "VICI refused",
        "The socket for swanctl can not be opened.",
        "the text has the error",
    ),
    Code(
        "failed",
        ERROR,
        "A step failed",
        "Something that is repeated has failed this time.",
        "the text has the error",
    ),
    Code(
        "bug",
        ERROR,
        "A mistake in Twinspan",
        "An unexpected error; the tunnels go on.",
        "please report it with the log",
    ),
)
