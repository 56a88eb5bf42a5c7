"""`twinspan capture`: a tunnel's packets in a file for Wireshark; with keys only if told so."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.client import (
    DEFAULT_RUNTIME_DIR,
    EXIT_REFUSED,
    Refused,
    RuntimeDir,
    TunnelName,
    Unreachable,
    ask,
    give_up,
)

if TYPE_CHECKING:
    from gateway.cli.pcap.session import Counts, KeyFiles

_MIB = 1 << 20
_MODE = 0o600


def capture(
    tunnel: TunnelName,
    file: Annotated[Path, typer.Argument(help="the pcapng file to make", dir_okay=False)],
    seconds: Annotated[float, typer.Option(min=0, help="end after so long; 0: never")] = 60.0,
    packets: Annotated[int, typer.Option(min=0, help="end after so many; 0: never")] = 0,
    max_mib: Annotated[int, typer.Option(min=0, help="end at this size; 0: never")] = 100,
    with_keys: Annotated[
        bool,
        typer.Option(
            "--with-keys",
            help="write the keys of IKE and ESP to FILE.keys, for Wireshark: whoever has them reads"
            " all that is captured. The log and the events say so",
        ),
    ] = False,
    runtime_dir: RuntimeDir = Path(DEFAULT_RUNTIME_DIR),
) -> None:
    """
    Write a tunnel's packets to a file for Wireshark: IKE and ESP as they are outside, and what is
    inside. Ends at a limit or with Ctrl-C. Needs root.

    With --with-keys the tunnel's Child SAs are rekeyed first, which loses no packet: keys of those
    that there were have left the gateway process.
    """
    # Imported here: it would make every other command start slowly.
    from gateway.cli.doctor.look.gateway import pid_of
    from gateway.cli.doctor.look.network import go_home
    from gateway.cli.pcap.session import Desk, KeyFiles, Limits
    from gateway.cli.pcap.session import capture as run
    from gateway.errors import GatewayError

    keys_directory = file.with_name(file.name + ".keys")
    made: list[Path] = []  # to be taken away again if nothing comes of it
    try:
        pid = pid_of(runtime_dir)
        if pid is not None:
            go_home(pid)
        keys = KeyFiles(keys_directory) if with_keys else None
        made += [keys_directory] if with_keys else []
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        made.append(file)
        with os.fdopen(descriptor, "wb") as out:
            desk = Desk(runtime_dir, tunnel, with_keys=with_keys)
            limits = Limits(seconds, packets, max_mib * _MIB)
            counts = run(out, desk, limits, keys, lambda: _begun(runtime_dir, tunnel, keys))
    except (Unreachable, Refused) as error:
        _take_away(made)
        give_up(error)
    except (GatewayError, OSError) as error:
        _take_away(made)
        typer.echo(f"twinspan: {error}", err=True)
        raise typer.Exit(EXIT_REFUSED) from None
    _say(counts, file, keys_directory if with_keys else None)


def _begun(runtime_dir: Path, tunnel: str, keys: KeyFiles | None) -> None:
    """Say that packets are taken; have new keys made if they are wanted."""
    typer.echo(f"{tunnel}: capturing, Ctrl-C ends it", err=True)
    if keys is not None:
        typer.echo("ITS KEYS ARE WRITTEN TOO: keep them as you keep its traffic", err=True)
        with suppress(Unreachable, Refused):  # it is down: keys come when it is set up
            list(ask(runtime_dir, {"command": "rekey", "tunnel": tunnel}))


def _take_away(made: list[Path]) -> None:
    """Remove what was made for nothing; a directory that has keys by now stays."""
    for path in made:
        with suppress(OSError):
            path.rmdir() if path.is_dir() else path.unlink()


def _say(counts: Counts, file: Path, keys: Path | None) -> None:
    from gateway.cli.pcap.wireshark import OPTIONS

    lost = f", {counts.lost} lost" if counts.lost else ""
    typer.echo(f"{file}: {counts.outer} packets outside, {counts.inner} inside{lost}")
    if keys is not None:
        typer.echo(
            f"{keys}: {counts.keys} keys; copy its files into a Wireshark profile,"
            f" as ~/.config/wireshark/profiles/twinspan, and open the capture with"
            f" wireshark -C twinspan {OPTIONS}"
        )
