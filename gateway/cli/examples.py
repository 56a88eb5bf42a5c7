"""What people type most, for the help of each command that has more than a name to take."""

from __future__ import annotations

from collections.abc import Mapping

from typer.core import TyperCommand

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "trace": ("trace office-1", "trace office-1 --last --brief"),
    "capture": (
        "capture office-1 office-1.pcapng --seconds 30",
        "capture office-1 office-1.pcapng --packets 1000 --with-keys",
    ),
    "routes": ("routes --table effective", "routes --border-gateway main --watch"),
    "path": (
        "path 10.10.0.5 10.20.0.7",
        "path 10.10.0.5 10.20.0.7 --proto tcp --dport 443",
    ),
    "log": ("log office-1 --follow", "log -n 20 --json"),
    "events": ("events --tunnel office-1 --follow", "events --fleet --severity error -n 20"),
    "check": ("check /etc/twinspan/gateway.toml --show",),
    "link": (
        "link paris.toml oslo.toml --dry-run",
        "link paris.toml oslo.toml --name paris-oslo --routing static --tunnels 1",
        "link paris oslo --context prod",
    ),
    "split": ("split fleet.toml --node gw-a=192.0.2.1 --node gw-b=198.51.100.1 --dry-run",),
    "customer-config": (
        "customer-config --list",
        "customer-config office --device strongswan --secrets --out office",
    ),
    "apply": (
        "apply -f tree.toml --dry-run",
        "apply -f tree.toml --prune --confirm 60",
    ),
    "audit": ("audit --kind border_gateway --resource main -n 5",),
    "context set": (
        "context set prod --url https://control.example.net:8443 --token -",
        "context set prod --ca-file /etc/ssl/ours.pem --tenant acme",
    ),
    "quota set": ("quota set vpn_connection=50", "quota set vpn_connection=10 --tenant acme"),
    "import aws": ("import aws vpn-0a1b2c3d.xml --dry-run",),
    "pki ca": ('pki ca --name "O=Example, CN=VPN CA" --out ca',),
    "pki issue": ("pki issue gw-a --ca ca --san gw-a.example.net --days 365",),
    "store backup": ("store backup /var/backups/control.db",),
    "store restore": ("store restore /var/backups/control.db --replace",),
    "store rotate-key": ("store rotate-key --key-file /etc/twinspan/master.key --add",),
}


def dress(path: str, command: TyperCommand) -> None:
    """Give a command its examples, and its arguments names in capitals, as all messages do."""
    for each in command.params:
        if each.param_type_name == "argument" and each.metavar is None:
            each.metavar = (each.name or "").upper()
    lines = EXAMPLES.get(path)
    if lines:
        # \b: lines stay as they are.
        command.epilog = "\n".join(("\b", "Examples:", *(f"  twinspan {line}" for line in lines)))
