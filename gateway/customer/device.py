"""What a device module is made of: the device, what it says, and what helps to say it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import NoReturn

from gateway.customer.sheet import Sheet, SheetTunnel, device_lifetime
from gateway.customer.suites import Suite, Words, first_fitting
from gateway.customer.text import templates, text_or_hex
from gateway.errors import ConfigError
from gateway.model.settings import TunnelSettings
from gateway.model.types import AnyNetwork

PLAIN_IDENTITY = re.compile(r"[A-Za-z0-9._+:@-]*")
NAME_IDENTITY = re.compile(r"[A-Za-z0-9.]+=[A-Za-z0-9 =,._@:/*()-]+")  # a distinguished name
EVERY_MODE = frozenset({"bgp", "static", "policy"})


@dataclass(frozen=True, slots=True)
class Options:
    """
    What the document does not know of the device. `None` and no entries are the device's usual.

    `wan` are the names of its outside interfaces, in the order of the customer's addresses; `lan`
    is the inside one. `first_number` numbers tunnel interfaces where a device numbers them.
    `announced` are the prefixes behind the device, where the connection names none.
    """

    secrets: bool = False
    wan: tuple[str, ...] = ()
    lan: str | None = None
    first_number: int = 1
    announced: tuple[AnyNetwork, ...] = ()


DEFAULTS = Options()


@dataclass(frozen=True, slots=True)
class File:
    """One file for the device, or for the person who sets it up."""

    name: str
    text: str
    is_secret: bool = False


@dataclass(frozen=True, slots=True)
class Rendered:
    """A connection for one device: its files, and what a person should know of them."""

    files: tuple[File, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Device:
    """
    A kind of device. `version` is what the texts are for; `words` its algorithms, for IKE and ESP.

    `modes` are the ways of routing it can have, `ipv6` whether the texts know IPv6 inside and out,
    `selectors` whether they may have ranges, protocols and ports, `tcp_ao` whether BGP may.
    """

    name: str
    title: str
    version: str
    render: Callable[[Job], list[File]]
    ike_words: Words
    esp_words: Words
    modes: frozenset[str] = EVERY_MODE
    ipv6: bool = False
    selectors: bool = False
    tcp_ao: bool = False
    key_ids: bool = True
    ppk: bool = False  # post-quantum pre-shared keys (RFC 8784)
    auths: frozenset[str] = frozenset({"psk"})  # what it may authenticate by, as in `auth`
    words: bool = True  # values stand in commands, where quotes and signs mean something
    one_pair: bool = True  # one pair of prefixes in each Child SA
    unsaid: tuple[str, ...] = ()  # settings of a tunnel that it has no word for
    notes: tuple[str, ...] = ()
    wan: str = "eth0"
    lan: str = "eth1"
    longest_ike_s: int = 86400
    longest_child_s: int = 86400
    kilobytes: tuple[int, int] = (1, 1 << 32)  # the least and the most that a Child SA may carry
    bgp_key: str = ".*"  # what a BGP password may be, as a regular expression


@dataclass(slots=True)
class Job:
    """One sheet on its way to a device; `notes` grow while it is made."""

    device: Device
    sheet: Sheet
    options: Options
    notes: list[str] = field(default_factory=list)

    def refuse(self, place: str, text: str) -> NoReturn:
        """Say what this device can not be given. Raises ConfigError."""
        where = f"vpn_connection[{self.sheet.connection}]"
        raise ConfigError([f"{where}.{place}: {self.device.title} {text}"])

    def note(self, text: str) -> None:
        """Tell the person something, once."""
        if text not in self.notes:
            self.notes.append(text)

    def ike(self, tunnel: SheetTunnel) -> Suite:
        """Return the suite for IKE. Raises ConfigError if the device has none of the list."""
        return self._suite(tunnel, "ike_proposals", tunnel.ike, self.device.ike_words)

    def esp(self, tunnel: SheetTunnel) -> Suite:
        """Return the suite for ESP. Raises ConfigError if the device has none of the list."""
        return self._suite(tunnel, "esp_proposals", tunnel.esp, self.device.esp_words)

    def _suite(
        self, tunnel: SheetTunnel, key: str, suites: tuple[Suite, ...], words: Words
    ) -> Suite:
        found = first_fitting(suites, words)
        if found is None:
            lacking = dict.fromkeys(words.lacks(suite) or "" for suite in suites)
            wanted = ", ".join(str(suite) for suite in suites[:3])
            more = f" and {len(suites) - 3} more" if len(suites) > 3 else ""
            self.refuse(
                f"tunnel[{tunnel.name}].{key}",
                f"has no {', '.join(lacking)}: add a proposal that it can do ({wanted}{more})",
            )
        if found != suites[0]:
            self.note(
                f"{key}: instead of {suites[0]}, which this device can not do, it is given {found},"
                " which the gateway takes too"
            )
        return found

    def psk(self, tunnel: SheetTunnel) -> str:
        """Return the pre-shared key as it stands in the document, or a word in its place."""
        if self.options.secrets:
            return tunnel.psk.get_secret_value()
        return f"REPLACE-WITH-THE-KEY-OF-{tunnel.name}"

    def ppk(self, tunnel: SheetTunnel) -> str | None:
        """Return the post-quantum key as the document has it, or a word; None if it has none."""
        if tunnel.ppk is None:
            return None
        if self.options.secrets:
            return tunnel.ppk.get_secret_value()
        return f"REPLACE-WITH-THE-PPK-OF-{tunnel.name}"

    def plain_psk(self, tunnel: SheetTunnel, allowed: str = r"[!-~]+") -> str:
        """
        Return the key as characters that the device takes, by a regular expression for them.

        Raises ConfigError for a key of other characters, or of bytes.
        """
        text = self.psk(tunnel)
        if re.fullmatch(allowed, text) and not text.startswith(("0x", "0s")):
            return text
        self.refuse(
            f"tunnel[{tunnel.name}].psk",
            "takes no such key: use letters and digits, as `twinspan genpsk` gives",
        )

    def psk_or_hex(self, tunnel: SheetTunnel, allowed: str) -> tuple[str, bool]:
        """Return the key as characters, or as hexadecimal digits, and whether it is the latter."""
        return text_or_hex(self.psk(tunnel), allowed)

    def password(self, tunnel: SheetTunnel) -> str | None:
        """Return the BGP session's password, or a word in its place; None if it has none."""
        bgp = tunnel.bgp
        if bgp is None or bgp.password is None:
            return None
        if self.options.secrets:
            return bgp.password.get_secret_value()
        return f"REPLACE-WITH-THE-BGP-PASSWORD-OF-{tunnel.name}"

    def plain_password(self, tunnel: SheetTunnel) -> str:
        """Return the BGP password, of characters that the device takes. Raises ConfigError."""
        text = self.password(tunnel) or ""
        if self.options.secrets and not re.fullmatch(self.device.bgp_key, text):
            self.refuse(
                f"tunnel[{tunnel.name}].bgp_password",
                "takes no such password: use letters and digits, at most 25",
            )
        return text

    def kilobytes(self, tunnel: SheetTunnel) -> int:
        """Return how many kilobytes a Child SA may carry at the device."""
        least, most = self.device.kilobytes
        return max(least, device_lifetime(tunnel.child_lifetime_bytes / 1000, most))

    def wan(self, tunnel: SheetTunnel) -> str:
        """Return the name of the outside interface that a tunnel leaves by."""
        if not self.options.wan:
            name = self.device.wan
            self.note(f"the outside interface is taken for {name}: --wan-interface names another")
        names = self.options.wan or (self.device.wan,)
        addresses = list(dict.fromkeys(one.device_address for one in self.sheet.tunnels))
        return names[min(addresses.index(tunnel.device_address), len(names) - 1)]

    def pairs(self, tunnel: SheetTunnel) -> list[tuple[AnyNetwork, AnyNetwork]]:
        """Return each pair of the device's and the cloud's prefix that a Child SA is for."""
        found = [
            (ip_network(device), ip_network(cloud))
            for devices, clouds in tunnel.selectors
            for device in devices
            for cloud in clouds
        ]
        same = [pair for pair in found if pair[0].version == pair[1].version]
        return same if self.device.ipv6 else [pair for pair in same if pair[0].version == 4]

    def ike_lifetime(self, tunnel: SheetTunnel) -> int:
        """Return the seconds that an IKE SA lives at the device."""
        return device_lifetime(tunnel.cloud_ike_lifetime_s, self.device.longest_ike_s)

    def child_lifetime(self, tunnel: SheetTunnel) -> int:
        """Return the seconds that a Child SA lives at the device."""
        return device_lifetime(tunnel.cloud_child_lifetime_s, self.device.longest_child_s)

    @property
    def ike_words(self) -> Words:
        """Return the device's words for the algorithms of IKE."""
        return self.device.ike_words

    @property
    def esp_words(self) -> Words:
        """Return the device's words for the algorithms of ESP."""
        return self.device.esp_words

    def cloud_prefixes(self, family: int = 4) -> list[AnyNetwork]:
        """Return what is behind the gateway, of one IP version."""
        return [prefix for prefix in self.sheet.cloud_prefixes if prefix.version == family]

    def own_prefixes(self, family: int = 4) -> list[AnyNetwork]:
        """Return what is behind the device, of one IP version."""
        return [prefix for prefix in self.device_prefixes if prefix.version == family]

    @property
    def lan(self) -> str:
        """Return the name of the inside interface."""
        if self.options.lan is None:
            name = self.device.lan
            self.note(f"the inside interface is taken for {name}: --lan-interface names another")
        return self.options.lan or self.device.lan

    def number(self, tunnel: SheetTunnel) -> int:
        """Return the number of a tunnel's interface."""
        return self.options.first_number + tunnel.number - 1

    @property
    def device_prefixes(self) -> tuple[AnyNetwork, ...]:
        """Return the prefixes behind the device. Raises ConfigError if nobody names them."""
        found = self.sheet.device_prefixes or self.options.announced
        if not found:
            self.refuse(
                "remote_cidrs",
                "must be told what is behind it: name it there, or give --announce",
            )
        return found

    def text(self, template: str, **values: object) -> str:
        """Return a template filled in; `job`, `sheet` and the tunnels are always at hand."""
        found = templates().get_template(f"{template}.j2")
        return found.render(job=self, sheet=self.sheet, tunnels=self.sheet.tunnels, **values)

    def title(self) -> list[str]:
        """Return the lines at the head of each file."""
        return [
            f"VPN Connection {self.sheet.connection} of gateway {self.sheet.gateway}, for"
            f" customer {self.sheet.customer}.",
            f"For {self.device.title} ({self.device.version}).",
        ]


def make(device: Device, sheet: Sheet, options: Options) -> Rendered:
    """Return the files of `sheet` for `device`. Raises ConfigError with what it can not do."""
    job = Job(device, sheet, options)
    _judge(job)
    files = device.render(job)
    for text in device.notes:
        job.note(text)
    _remark(job)
    return Rendered(tuple(files), tuple(job.notes))


def _judge(job: Job) -> None:
    device, sheet = job.device, job.sheet
    if sheet.mode not in device.modes:
        modes = " or ".join(sorted(device.modes))
        job.refuse("routing", f"can not do {sheet.mode} over these tunnels, only {modes}")
    for tunnel in sheet.tunnels:
        place = f"tunnel[{tunnel.name}]"
        if not device.ipv6 and _has_ipv6(tunnel):
            job.refuse(place, "is given IPv4 only, inside and outside")
        if not device.selectors and (odd := _odd_selector(tunnel)):
            text = f"is given prefixes as traffic selectors, no ranges, protocols or ports ({odd})"
            job.refuse(f"{place}.local_ts", text)
        if tunnel.bgp and tunnel.bgp.password and tunnel.bgp.auth != "md5" and not device.tcp_ao:
            job.refuse(f"{place}.bgp_auth", f"is not given TCP-AO here ({tunnel.bgp.auth})")
        if tunnel.auth not in device.auths:
            text = f"is made with pre-shared keys only here, and auth is {tunnel.auth}"
            job.refuse(f"{place}.auth", f"{text}: --device generic has all other values")
        if tunnel.ppk is not None and not device.ppk:
            if tunnel.ppk_required:
                text = "is given no such key here: ppk_required = false lets it go without"
                job.refuse(f"{place}.ppk", text)
            job.note(f"{tunnel.name}: ppk: this device goes without it")
        for identity in (tunnel.cloud_id, tunnel.device_id or ""):
            is_known = device.key_ids or not identity.startswith("keyid:")
            # The user's part of an e-mail address may have quotes, and more that ends a word.
            is_name = "certificate" in device.auths and NAME_IDENTITY.fullmatch(identity)
            is_plain = is_name or not device.words or PLAIN_IDENTITY.fullmatch(identity)
            if not is_known or not is_plain:
                job.refuse(place, f"has no identities of this kind ({identity})")


def _odd_selector(tunnel: SheetTunnel) -> str | None:
    """Return a traffic selector of a tunnel that is more than a prefix, if there is one."""
    texts = (text for pair in tunnel.selectors for side in pair for text in side)
    return next((text for text in texts if "[" in text or "-" in text), None)


def _has_ipv6(tunnel: SheetTunnel) -> bool:
    outer = (tunnel.cloud_address, tunnel.device_address)
    inner = tunnel.device_inner
    return any(one is not None and one.version == 6 for one in (*outer, inner))


def _remark(job: Job) -> None:
    """Add the notes that hold for every device."""
    tunnels = job.sheet.tunnels
    if not job.options.secrets:
        job.note("keys are left out: put them in, or make this again with the keys (--secrets)")
    for tunnel in tunnels:
        if tunnel.is_probed:
            job.note(
                f"{tunnel.name}: the gateway watches the tunnel by pings: let the device answer"
                f" those to {tunnel.device_inner.ip if tunnel.device_inner else 'its address'}"
            )
        if not tunnel.is_up:
            job.note(f"{tunnel.name}: is switched off at the gateway (admin = down)")
    unsaid = [key for key in job.device.unsaid if any(_is_set(one, key) for one in tunnels)]
    if unsaid:
        job.note(f"{', '.join(unsaid)}: this device has no word for it, the gateway alone keeps it")
    if job.device.one_pair and job.sheet.mode == "policy" and _shares_child(tunnels):
        job.note(
            "this device has one pair of prefixes in each Child SA: where there are more, write"
            " them as rules of the connection"
        )


def _is_set(tunnel: SheetTunnel, key: str) -> bool:
    return bool(getattr(tunnel, key) != TunnelSettings.model_fields[key].default)


def _shares_child(tunnels: Sequence[SheetTunnel]) -> bool:
    return any(
        len(device) > 1 or len(cloud) > 1 for one in tunnels for device, cloud in one.selectors
    )
