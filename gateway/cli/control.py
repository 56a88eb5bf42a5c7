"""`twinspan control`: the control process, and what is made once before it can start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gateway.cli.store import DEFAULT_STORE

if TYPE_CHECKING:
    from gateway.control.listen import Listening

EXIT_MISTAKES = 2  # in options or files: a restart does not mend them
DEFAULT_KEY_FILE = "/etc/twinspan/master.key"
DEFAULT_SOCKET = "/run/twinspan/control.sock"

NEXT = """
next:
  systemctl enable --now twinspan-control   (or `twinspan control`, in a terminal)
  http://127.0.0.1:8080/                    the console, which says what comes first; or by hand:
  twinspan node create NAME                 a gateway VM, and the token it registers with
  twinspan token create NAME                for scripts: the API is at http://127.0.0.1:8080/v1
"""

app = typer.Typer(
    name="control",
    help="Run the control plane: resources by API, for a fleet of gateways.",
    invoke_without_command=True,
    rich_markup_mode=None,
    add_completion=False,
)

_Store = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="TWINSPAN_STORE",
        metavar="PLACE",
        help="sqlite:PATH, or etcd:HOST:PORT,HOST:PORT",
    ),
]
_KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        envvar="TWINSPAN_KEY_FILE",
        help=f"the master keys; without it, systemd's credential or {DEFAULT_KEY_FILE}",
    ),
]
_ListenNodes = Annotated[
    str | None,
    typer.Option(
        "--listen-nodes",
        metavar="ADDRESS:PORT",
        help="where gateways of the fleet come in, as in 0.0.0.0:8444; not at all if not said",
    ),
]
_Metrics = Annotated[
    str | None,
    typer.Option(
        "--metrics",
        metavar="ADDRESS:PORT",
        help="where Prometheus asks, as in 127.0.0.1:9470; not at all if not said",
    ),
]
_Prometheus = Annotated[
    str | None,
    typer.Option(
        "--prometheus",
        metavar="URL",
        help="a Prometheus that scrapes the gateways, as in http://127.0.0.1:9090: the console"
        " asks it for charts of up to 7 days",
    ),
]


@app.callback()
def control(
    context: typer.Context,
    store: _Store = DEFAULT_STORE,
    key_file: _KeyFile = None,
    socket: Annotated[
        Path,
        typer.Option("--socket", envvar="TWINSPAN_SOCKET", help="Unix socket, for root alone"),
    ] = Path(DEFAULT_SOCKET),
    listen: Annotated[
        list[str] | None,
        typer.Option(
            "--listen",
            metavar="ADDRESS:PORT",
            help="where the API and console are, 127.0.0.1:8080 if not said; several times",
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", help="PEM certificate chain; SIGHUP reads it anew")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="PEM private key")] = None,
    behind_proxy: Annotated[
        list[str] | None,
        typer.Option(
            "--behind-proxy",
            metavar="PREFIX",
            help="a proxy in front has TLS; its X-Forwarded-For counts; several times",
        ),
    ] = None,
    listen_nodes: _ListenNodes = None,
    metrics: _Metrics = None,
    prometheus: _Prometheus = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="log more")] = False,
) -> None:
    """
    Run the control plane: resources by API, for a fleet of gateways.

    SIGTERM lets the requests on their way end first. SIGHUP reads the certificate anew.
    """
    if context.invoked_subcommand is not None:
        return
    from gateway.control.listen import DEFAULT_LISTEN, parse_listening, parse_prometheus
    from gateway.errors import ConfigError
    from gateway.prometheus.scrape import parse_place

    try:
        place = parse_place(metrics) if metrics is not None else None
        history = parse_prometheus(prometheus) if prometheus is not None else None
        listening = parse_listening(
            listen or list(DEFAULT_LISTEN),
            tls_cert,
            tls_key,
            behind_proxy or [],
            socket,
            listen_nodes,
        )
    except ConfigError as error:
        _fail(error.problems)
    raise typer.Exit(_serve(store, key_file, listening, place, history, verbose=verbose))


def _serve(
    store: str,
    key_file: Path | None,
    listening: Listening,
    metrics: tuple[str, int] | None,
    prometheus: str | None,
    *,
    verbose: bool,
) -> int:
    # Imported here: the process's modules would double the start time of every other command.
    try:
        import uvloop

        from gateway.control.service import Settings, serve
    except ModuleNotFoundError as error:
        _fail([f"needs the Python package {error.name}: pip install 'twinspan[control]'"])
    settings = Settings(store, _key_file(key_file), listening, verbose, metrics, prometheus)
    return uvloop.run(serve(settings))


def _key_file(given: Path | None) -> Path:
    from gateway.control.secrets import key_file

    return given or key_file() or Path(DEFAULT_KEY_FILE)


@app.command()
def init(
    store: _Store = DEFAULT_STORE,
    key_file: _KeyFile = None,
    admin: Annotated[
        str | None,
        typer.Option("--admin", metavar="NAME", help="the first user; asks for the password"),
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option("--password-file", help="the password is this file's first line, - is stdin"),
    ] = None,
) -> None:
    """
    Make what the control plane needs before it first starts: the master key, the store, a user.

    What is there already stays as it is.
    """
    import asyncio

    from gateway.control.setup import Admin, prepare
    from gateway.control.store.interface import StoreError
    from gateway.errors import ConfigError

    file = _key_file(key_file)
    try:
        user = Admin(admin, _password(password_file)) if admin is not None else None
        done = asyncio.run(prepare(store, file, user))
    except ConfigError as error:
        _fail(error.problems)
    except StoreError as error:
        _fail([str(error)])
    except OSError as error:
        _fail([f"{error.filename}: {(error.strerror or '').lower()}"])
    for line in done:
        typer.echo(line)
    typer.echo(NEXT)


def _password(file: Path | None) -> str:
    """Return the password of the first user: a file's, or what the terminal is asked for."""
    if file is None:
        return str(typer.prompt("password", hide_input=True, confirmation_prompt=True))
    text = typer.get_text_stream("stdin").read() if str(file) == "-" else file.read_text()
    return text.partition("\n")[0]


def _fail(problems: list[str]) -> NoReturn:
    for problem in problems:
        typer.echo(f"twinspan: {problem}", err=True)
    raise typer.Exit(EXIT_MISTAKES)
