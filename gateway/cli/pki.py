"""`twinspan pki`: a small CA in a directory, for tunnels that authenticate by certificates."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from gateway.pki.certificate import Certificate
    from gateway.pki.issue import Issuer
    from gateway.secret import Secret

app = typer.Typer(
    name="pki",
    help="Make and keep a small CA for tunnels that authenticate by certificates.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)
CERTIFICATE, KEY, LIST, CRL = "ca.pem", "ca.key", "issued.json", "ca.crl"
FILE_BYTES_MAX = 4 * 2**20
EXIT_REFUSED = 1


class KeyKind(StrEnum):
    """Kinds of keys: ECDSA on P-256, P-384 or P-521, Ed25519, RSA of 3072 or 4096 bits."""

    ECDSA = "ecdsa"
    ECDSA384 = "ecdsa384"
    ECDSA521 = "ecdsa521"
    ED25519 = "ed25519"
    RSA = "rsa"
    RSA4096 = "rsa4096"


_Ca = Annotated[Path, typer.Option("--ca", help="directory of the CA")]
_Out = Annotated[Path, typer.Option("--out", help="directory to make, for the new CA")]
_Parent = Annotated[
    Path | None, typer.Option("--ca", help="directory of the CA above it; without it, a root")
]
_Files = Annotated[Path | None, typer.Option("--out", help="directory; without it, the CA's")]
_Key = Annotated[KeyKind, typer.Option(help="kind of the new key")]
_Days = Annotated[int, typer.Option(min=1, max=36500, help="how long it is valid")]
_Sans = Annotated[
    list[str] | None,
    typer.Option(
        "--san", help="a host name, address or mailbox that it bears; without one, NAME itself"
    ),
]
_Subject = Annotated[
    str | None, typer.Option(help='its subject, as in "O=Example, CN=gw"; without it, CN=NAME')
]
_CrlUrls = Annotated[list[str] | None, typer.Option("--crl-url", help="where its CRL will be")]
_OcspUrls = Annotated[list[str] | None, typer.Option("--ocsp-url", help="its OCSP server")]
_Name = Annotated[str, typer.Argument(help="names the files, and the certificate in the list")]
_AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]


@app.command()
def ca(
    name: Annotated[str, typer.Option(help='its subject: a plain name, or "O=Example, CN=VPN CA"')],
    out: _Out = Path("ca"),
    parent: _Parent = None,
    key: _Key = KeyKind.ECDSA,
    days: _Days = 3650,
    crl_url: _CrlUrls = None,
    as_json: _AsJson = False,
) -> None:
    """Make a CA: a root, or one below another. Its key is needed only to issue and to revoke."""
    from gateway.pki.issue import Wish, certificate_pem, issue, make_key, private_pem
    from gateway.pki.problem import BadText

    now = datetime.now(UTC)
    try:
        above = _read_ca(parent) if parent is not None else None
        own = make_key(key.value)
        wish = Wish(name, days, is_ca=True, crl_urls=crl_url or ())
        made = issue(wish, own, above, now)
    except BadText as error:
        _refuse(str(error), as_json)
    upper = _chain(parent) if parent is not None else ()
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write_new(out / KEY, private_pem(own), as_json, is_secret=True)
    _write_new(out / CERTIFICATE, certificate_pem(made, *upper), as_json)
    _note(parent, name, made)
    _say(made, [out / CERTIFICATE, out / KEY], as_json)


@app.command()
def unpack(
    file: Annotated[Path, typer.Argument(help="a PKCS #12 file (.p12, .pfx)")],
    name: Annotated[str, typer.Option(help="names the files that are made")] = "gw",
    out: Annotated[Path, typer.Option("--out", help="directory for them")] = Path(),
    passphrase_file: Annotated[
        Path | None,
        typer.Option(
            "--passphrase-file", help="its passphrase is this file's first line, - is stdin"
        ),
    ] = None,
    as_json: _AsJson = False,
) -> None:
    """
    Take a key and its certificates out of a file that a CA has packed: NAME.pem, NAME.key, and in
    NAME-ca.pem the roots, if there are some.
    """
    from gateway.pki.issue import certificate_pem, private_pem
    from gateway.pki.packed import unpack as opened
    from gateway.pki.problem import BadText

    try:
        if "/" in name or name.startswith("."):
            raise BadText(f"{name} is no name for a file")
        found = opened(_read(file), _passphrase(passphrase_file))
    except BadText as error:
        _refuse(f"{file}: {error}", as_json)
    files = [out / f"{name}.pem", out / f"{name}.key"]
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write_new(files[1], private_pem(found.key), as_json, is_secret=True)
    _write_new(files[0], certificate_pem(*found.chain), as_json)
    if found.roots:
        files.append(out / f"{name}-ca.pem")
        _write_new(files[2], certificate_pem(*found.roots), as_json)
    _say(found.chain[0], files, as_json)


@app.command("issue")
def issue_(
    name: _Name,
    ca: _Ca = Path("ca"),
    out: _Files = None,
    san: _Sans = None,
    subject: _Subject = None,
    key: _Key = KeyKind.ECDSA,
    days: _Days = 825,
    crl_url: _CrlUrls = None,
    ocsp_url: _OcspUrls = None,
    as_json: _AsJson = False,
) -> None:
    """Make a key and a certificate for one end of a tunnel: NAME.pem and NAME.key."""
    from gateway.pki.issue import Wish, certificate_pem, issue, make_key, private_pem
    from gateway.pki.problem import BadText

    place = out or ca
    names = san if san is not None else [name]
    wish = Wish(subject or name, days, names, crl_urls=crl_url or (), ocsp_urls=ocsp_url or ())
    try:
        if "/" in name or name.startswith("."):
            raise BadText("is no name for a file")
        issuer, own = _read_ca(ca), make_key(key.value)
        made = issue(wish, own, issuer, datetime.now(UTC))
    except BadText as error:
        _refuse(f"{name}: {error}", as_json)
    between = [one for one in _chain(ca) if one.subject != one.issuer]
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = [place / f"{name}.pem", place / f"{name}.key"]
    _write_new(files[1], private_pem(own), as_json, is_secret=True)
    _write_new(files[0], certificate_pem(made, *between), as_json)
    _note(ca, name, made)
    _say(made, files, as_json)


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="certificates, a key, or a CRL, in PEM or DER")],
    as_json: _AsJson = False,
) -> None:
    """Say what is in a file: certificates with their names and dates, keys, CRLs."""
    from gateway.pki.problem import BadText

    try:
        found = _told(_read(file))
    except BadText as error:
        _refuse(f"{file}: {error}", as_json)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for one in found:
        for key, value in one.items():
            text = ", ".join(value) if isinstance(value, list) else value
            typer.echo(f"{key.replace('_', ' '):<20} {text}")
        typer.echo("")


@app.command()
def revoke(name: _Name, ca: _Ca = Path("ca"), as_json: _AsJson = False) -> None:
    """Note that a certificate is not to be trusted any more; `twinspan pki crl` tells the world."""
    listed = _listed(ca)
    fitting = [one for one in listed if name in (one["name"], one["serial"])]
    if not fitting:
        there = ", ".join(dict.fromkeys(str(one["name"]) for one in listed)) or "none"
        _refuse(f"{name}: this CA has issued none of this name; there is: {there}", as_json)
    for one in fitting:
        one["revoked_at"] = one["revoked_at"] or datetime.now(UTC).isoformat(timespec="seconds")
    _write_list(ca, listed)
    if as_json:
        typer.echo(json.dumps({"revoked": [one["serial"] for one in fitting]}, indent=2))
        return
    for one in fitting:
        typer.echo(f"{one['name']}: revoked (serial number {one['serial']})")
    typer.echo(f"next: twinspan pki crl --ca {ca}")


@app.command()
def crl(
    ca: _Ca = Path("ca"),
    days: Annotated[int, typer.Option(min=1, max=366, help="until the next one")] = 30,
    as_json: _AsJson = False,
) -> None:
    """Write the list of revoked certificates, ca.crl in DER, to be served by HTTP."""
    from gateway.pki.issue import make_crl
    from gateway.pki.problem import BadText

    now = datetime.now(UTC)
    try:
        issuer = _read_ca(ca)
    except BadText as error:
        _refuse(str(error), as_json)
    revoked = {
        int(str(one["serial"]), 16): datetime.fromisoformat(str(one["revoked_at"]))
        for one in _listed(ca)
        if one["revoked_at"]
    }
    _replace(ca / CRL, make_crl(issuer, revoked, int(now.timestamp()), now, days))
    if as_json:
        result = {"file": str(ca / CRL), "revoked": len(revoked), "days": days}
        typer.echo(json.dumps(result, indent=2))
        return
    typer.echo(f"{ca / CRL}: {len(revoked)} revoked, to be made anew within {days} days")


# ---- the directory ----


def _read_ca(place: Path) -> Issuer:
    """Return the CA in a directory. Raises BadText."""
    from gateway.pki.issue import Issuer
    from gateway.pki.keys import private_key_of
    from gateway.pki.problem import BadText

    own = _chain(place)[0]
    key = private_key_of(_read(place / KEY).decode("ascii", "replace"))
    if key.public != own.key:
        raise BadText(f"{place / KEY} is not the key of {place / CERTIFICATE}")
    return Issuer(own, key)


def _chain(place: Path) -> tuple[Certificate, ...]:
    """Return the certificate of a CA and those above it. Raises BadText."""
    from gateway.pki.certificate import certificates_of
    from gateway.pki.problem import BadText

    try:
        return certificates_of(_read(place / CERTIFICATE).decode("ascii", "replace"))
    except BadText as error:
        raise BadText(f"{place / CERTIFICATE}: {error}") from None


def _read(file: Path) -> bytes:
    from gateway.pki.problem import BadText

    try:
        with file.open("rb") as opened:
            content = opened.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise BadText(
            f"can not be read: {(error.strerror or str(error)).lower()} ({file})"
        ) from None
    if len(content) > FILE_BYTES_MAX:
        raise BadText(f"is larger than {FILE_BYTES_MAX} bytes")
    return content


def _passphrase(file: Path | None) -> Secret:
    """Return a file's passphrase, or what the terminal is asked for. Raises BadText."""
    from gateway.secret import Secret

    if file is None:
        return Secret(str(typer.prompt("passphrase", hide_input=True, default="")).encode())
    content = sys.stdin.buffer.read(4096) if str(file) == "-" else _read(file)
    return Secret(content.partition(b"\n")[0].rstrip(b"\r"))


def _listed(place: Path) -> list[dict[str, str | None]]:
    file = place / LIST
    if not file.exists():
        return []
    found: list[dict[str, str | None]] = json.loads(file.read_text())
    return found


def _note(place: Path | None, name: str, made: Certificate) -> None:
    """Put a certificate into the list of its CA; a root is in none."""
    if place is None:
        return
    entry: dict[str, str | None] = {
        "name": name,
        "subject": made.name,
        "serial": f"{made.x509.serial_number:x}",
        "ends": made.x509.not_valid_after_utc.isoformat(),
        "revoked_at": None,
    }
    _write_list(place, [*_listed(place), entry])


def _write_list(place: Path, listed: Sequence[Mapping[str, str | None]]) -> None:
    _replace(place / LIST, (json.dumps(listed, indent=1) + "\n").encode())


def _replace(file: Path, content: bytes) -> None:
    beside = file.with_name(f".{file.name}.new")
    beside.write_bytes(content)
    beside.replace(file)


def _write_new(file: Path, text: str, as_json: bool, *, is_secret: bool = False) -> None:
    """Write a file that is not there yet: a key that was used is never overwritten."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        with os.fdopen(os.open(file, flags, 0o600 if is_secret else 0o644), "w") as opened:
            opened.write(text)
    except FileExistsError:
        _refuse(f"{file}: is there already; nothing is overwritten", as_json)
    except OSError as error:
        _refuse(f"{file}: can not be written: {(error.strerror or '').lower()}", as_json)


# ---- words ----


def _refuse(problem: str, as_json: bool) -> NoReturn:
    if as_json:
        typer.echo(json.dumps({"ok": False, "problems": [problem]}, indent=2))
    else:
        typer.echo(problem, err=True)
    raise typer.Exit(EXIT_REFUSED)


def _say(made: Certificate, files: Sequence[Path], as_json: bool) -> None:
    if as_json:
        typer.echo(
            json.dumps({"ok": True, **_of(made), "files": [str(f) for f in files]}, indent=2)
        )
        return
    typer.echo(f"{made.name}: until {made.x509.not_valid_after_utc:%Y-%m-%d}")
    for file in files:
        typer.echo(f"  {file}")


def _told(content: bytes) -> list[dict[str, str | list[str]]]:
    """Return what a file holds. Raises BadText."""
    from gateway.pki.certificate import certificates_of, parse
    from gateway.pki.keys import private_key_of, public_key_of
    from gateway.pki.problem import BadText

    text = content.decode("ascii", "replace")
    if "BEGIN CERTIFICATE" in text:
        return [_of(one) for one in certificates_of(text)]
    if "PRIVATE KEY" in text:
        return [{"kind": "private key", "key": str(private_key_of(text).public)}]
    if "PUBLIC KEY" in text:
        return [{"kind": "public key", "key": str(public_key_of(text))}]
    try:
        return [_of(parse(content))]
    except BadText:
        return [_crl_of(content)]


def _of(one: Certificate) -> dict[str, str | list[str]]:
    from gateway.pki import dn
    from gateway.pki.certificate import crl_urls, ocsp_urls
    from gateway.pki.names import identities_of

    return {
        "kind": "CA certificate" if one.is_ca else "certificate",
        "subject": one.name,
        "issuer": dn.text_of(one.issuer),
        "identities": identities_of(one).split("; "),
        "serial_number": f"{one.x509.serial_number:x}",
        "valid_from": f"{one.x509.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC",
        "valid_until": f"{one.x509.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC",
        "key": str(one.key),
        "crl": list(crl_urls(one)),
        "ocsp": list(ocsp_urls(one)),
        "sha256": one.fingerprint,
    }


def _crl_of(content: bytes) -> dict[str, str | list[str]]:
    from cryptography import x509

    from gateway.pki import dn
    from gateway.pki.certificate import MALFORMED
    from gateway.pki.problem import BadText

    try:
        pem = b"BEGIN X509 CRL" in content
        found = x509.load_pem_x509_crl(content) if pem else x509.load_der_x509_crl(content)
    except MALFORMED:
        raise BadText("holds neither certificates, nor a key, nor a CRL") from None
    return {
        "kind": "CRL",
        "issuer": dn.text_of(found.issuer.public_bytes()),
        "made": f"{found.last_update_utc:%Y-%m-%d %H:%M:%S} UTC",
        "next": f"{found.next_update_utc:%Y-%m-%d %H:%M:%S} UTC" if found.next_update_utc else "",
        "revoked": [f"{one.serial_number:x}" for one in found],
    }
