"""
Requests as the description of the API shows them, in an order in which each can be sent. Pure.

Nodes and pools are the operator's; the rest is one tenant's VPN to one customer.
"""

from __future__ import annotations

from collections.abc import Mapping

Table = dict[str, object]

EXAMPLES: Mapping[str, Table] = {
    "node": {"name": "vm-1", "public_addresses": ["192.0.2.1", "192.0.2.2"]},
    "address_pool": {"name": "public", "addresses": ["192.0.2.1", "192.0.2.2"]},
    "border_gateway": {"name": "hq", "asn": 65000, "tags": {"team": "network"}},
    "vpc_attachment": {
        "name": "prod",
        "border_gateway": "hq",
        "interface": "eth1",
        "cidrs": ["10.0.0.0/16"],
    },
    "customer_gateway": {
        "name": "office",
        "public_addresses": ["198.51.100.1", "198.51.100.2"],
        "asn": 65010,
    },
    "vpn_connection": {
        "name": "hq-office",
        "border_gateway": "hq",
        "customer_gateway": "office",
        "routing": "bgp",
        "tunnels": 2,
    },
    "vpn_tunnel": {
        "vpn_connection": "hq-office",
        "local_address": "192.0.2.1",
        "remote_address": "198.51.100.2",
        "inner_cidr": "169.254.200.0/30",
        "rate_mbps": 500,
    },
    "direct_line": {
        "name": "fibre",
        "border_gateway": "hq",
        "customer_gateway": "office",
        "interface": "eth2",
        "address": "172.31.0.1/30",
        "peer_address": "172.31.0.2",
    },
    "alarm_target": {
        "name": "on-call",
        "type": "webhook",
        "url": "https://hooks.example.org/vpn",
        "webhook_secret": "0123456789abcdef0123456789abcdef",
        "min_severity": "warning",
    },
    "route": {
        "border_gateway": "hq",
        "vpn_connection": "hq-office",
        "prefix": "192.168.50.0/24",
    },
}

SETTING_EXAMPLES: Mapping[str, Table] = {
    "alarms": {"tunnel_down_s": 60, "target_networks": ["10.20.0.0/16"]},
    "allocation": {"inner_ranges": ["169.254.64.0/18"]},
    "events": {"kept_days": 90},
    "quotas": {"vpn_connection": 100, "vpn_tunnel": 400},
    "waits": {"per_tenant": 500},
}

# What the control plane adds to them, in the answers that the description shows.
EXAMPLE_TIME = 1_800_000_000.0  # seconds since 1970
EXAMPLE_ALLOCATED: Mapping[str, Table] = {
    "vpn_connection": {"public_addresses": ["192.0.2.1", "192.0.2.2"]},
    "vpn_tunnel": {
        "position": 2,
        "customer_gateway": "cgw-abcdefghij",
        "node": "node-abcdefghij",
        "interface": "ts-abcdefghij",
    },
}
