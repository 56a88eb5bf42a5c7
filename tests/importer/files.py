"""What the clouds hand out, in their forms, with values of our own."""

from __future__ import annotations

import json

KEYS = ("pNhF9oc3cq3FrYwDqxTXKz0dGyiLp4ka", "wB7uC2vZ5nQk8RrT1yHs6JdLxM3fGa0e")
OUTER = ("52.0.2.1", "52.0.2.65")
INNER = ("169.254.44.0", "169.254.44.4")


def aws_tunnel(at: int, *, is_bgp: bool = True) -> str:
    base = INNER[at].rpartition(".")
    ours, theirs = (f"{base[0]}.{int(base[2]) + host}" for host in (2, 1))

    def end(name: str, outer: str, inner: str, asn: int) -> str:
        bgp = f"<bgp><asn>{asn}</asn><hold_time>30</hold_time></bgp>" if is_bgp else ""
        return f"""<{name}>
      <tunnel_outside_address><ip_address>{outer}</ip_address></tunnel_outside_address>
      <tunnel_inside_address>
        <ip_address>{inner}</ip_address>
        <network_mask>255.255.255.252</network_mask>
        <network_cidr>30</network_cidr>
      </tunnel_inside_address>
      {bgp}
    </{name}>"""

    return f"""  <ipsec_tunnel>
    {end("customer_gateway", "192.0.2.1", ours, 65010)}
    {end("vpn_gateway", OUTER[at], theirs, 64512)}
    <ike>
      <authentication_protocol>sha1</authentication_protocol>
      <encryption_protocol>aes-128-cbc</encryption_protocol>
      <lifetime>28800</lifetime>
      <perfect_forward_secrecy>group2</perfect_forward_secrecy>
      <mode>main</mode>
      <pre_shared_key>{KEYS[at]}</pre_shared_key>
    </ike>
    <ipsec>
      <protocol>esp</protocol>
      <authentication_protocol>hmac-sha2-256</authentication_protocol>
      <encryption_protocol>aes-256-cbc</encryption_protocol>
      <lifetime>3600</lifetime>
      <perfect_forward_secrecy>group14</perfect_forward_secrecy>
      <mode>tunnel</mode>
      <tcp_mss_adjustment>1379</tcp_mss_adjustment>
      <dead_peer_detection><interval>10</interval><retries>3</retries></dead_peer_detection>
    </ipsec>
  </ipsec_tunnel>"""


def aws_xml(*, is_bgp: bool = True) -> str:
    kind = "" if is_bgp else "<vpn_connection_attributes>NoBGPVPNConnection"
    kind += "" if is_bgp else "</vpn_connection_attributes>"
    tunnels = "\n".join(aws_tunnel(at, is_bgp=is_bgp) for at in (0, 1))
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<vpn_connection id="vpn-0abc12de">
  <customer_gateway_id>cgw-0e11f167</customer_gateway_id>
  <vpn_gateway_id>vgw-9a4cacf3</vpn_gateway_id>
  <vpn_connection_type>ipsec.1</vpn_connection_type>{kind}
{tunnels}
</vpn_connection>
"""


def aws_text() -> str:
    parts = [
        f"""
IPSec Tunnel #{at + 1}
================================================================================
#1: Internet Key Exchange Configuration

Configure the IKE SA as follows:
  - IKE version              : IKEv2
  - Authentication Method    : Pre-Shared Key
  - Pre-Shared Key           : {KEYS[at]}
  - Authentication Algorithm : sha2-256
  - Encryption Algorithm     : aes-256-cbc
  - Lifetime                 : 28800 seconds
  - Phase 1 Negotiation Mode : main
  - Diffie-Hellman           : Group 14
  - Perfect Forward Secrecy  : Diffie-Hellman Group 14

#2: IPSec Configuration

Configure the IPSec SA as follows:
  - Protocol                 : esp
  - Authentication Algorithm : hmac-sha2-256-128
  - Encryption Algorithm     : aes-256-cbc
  - Lifetime                 : 3600 seconds
  - Mode                     : tunnel
  - Perfect Forward Secrecy  : Diffie-Hellman Group 14

#3: Tunnel Interface Configuration

Outside IP Addresses:
  - Customer Gateway         : 192.0.2.1
  - Virtual Private Gateway  : {OUTER[at]}

Inside IP Addresses
  - Customer Gateway         : {INNER[at].rpartition(".")[0]}.{4 * at + 2}/30
  - Virtual Private Gateway  : {INNER[at].rpartition(".")[0]}.{4 * at + 1}/30

#4: Border Gateway Protocol (BGP) Configuration:

BGP Configuration Options:
  - Customer Gateway ASN     : 65010
  - Virtual Private  Gateway ASN : 64512
  - Neighbor IP Address      : {INNER[at].rpartition(".")[0]}.{4 * at + 1}
  - Neighbor Hold Time       : 30
"""
        for at in (0, 1)
    ]
    head = "Amazon Web Services\nYour VPN Connection ID : vpn-0abc12de\n"
    return head + "".join(parts)


def azure_site(*, is_bgp: bool = False) -> dict[str, object]:
    bgp = {"Asn": 65515, "BgpPeeringAddresses": {"Instance0": "10.1.0.4", "Instance1": "10.1.0.5"}}
    custom = {"Instance0": "169.254.21.2", "Instance1": "169.254.21.6"}
    if is_bgp:
        bgp["CustomBgpPeeringAddresses"] = custom
    return {
        "configurationVersion": {"LastUpdatedTime": "2026-01-01T00:00:00Z", "Version": "1"},
        "vpnSiteConfiguration": {
            "Name": "site-1",
            "IPAddress": "192.0.2.1",
            "BgpSetting": {"Asn": 65010, "BgpPeeringAddress": "169.254.21.1"},
        },
        "vpnSiteConnections": [
            {
                "hubConfiguration": {
                    "AddressSpace": "10.1.0.0/24",
                    "Region": "West Europe",
                    "ConnectedSubnets": ["10.2.0.0/16", "10.3.0.0/16"],
                },
                "gatewayConfiguration": {
                    "IpAddresses": {"Instance0": OUTER[0], "Instance1": OUTER[1]},
                    "BgpSetting": bgp,
                },
                "connectionConfiguration": {
                    "IsBgpEnabled": is_bgp,
                    "PSK": KEYS[0],
                    "IPsecParameters": {
                        "SADataSizeInKilobytes": 102400000,
                        "SALifeTimeInSeconds": 3600,
                    },
                },
            }
        ],
    }


def azure_json(*, is_bgp: bool = False) -> str:
    return json.dumps([azure_site(is_bgp=is_bgp)])


AZURE_SCRIPT = f"""! Microsoft Corporation
! [1] Resource names
!   > Public IP addresses:
!     + Public IP 1:         {OUTER[0]}
!     + Public IP 2:         {OUTER[1]}
!   > Virtual network address space:
!     + CIDR:10.2.0.0/16, prefix:10.2.0.0, netmask:255.255.0.0, wildcard:0.0.255.255
!   > Local network gateway: office
!   > On-premises VPN IP:    192.0.2.1
!   > On-premises address prefixes:
!     + CIDR:10.20.0.0/16, prefix:10.20.0.0, netmask:255.255.0.0, wildcard:0.0.255.255
!
! [2] IPsec/IKE parameters
!
!   > IKE version:             IKEv2
!     + Encryption algorithm:  aes-cbc-256
!     + Integrityalgorithm:    sha256
!     + Diffie-Hellman group:  14
!     + SA lifetime (seconds): 3600
!     + Pre-shared key:        {KEYS[0]}
!     + UsePolicyBasedTS:      False
!
!   > IPsec
!     + Encryption algorithm:  esp-gcm 256
!     + Integrity algorithm:
!     + PFS Group:             none
!     + SA lifetime (seconds): 3600
!     + SA lifetime (KB):      102400000
!
! [3] BGP parameters - Azure VPN gateway
!
!   > Azure virtual network
!     + Enable BGP:            False
"""
