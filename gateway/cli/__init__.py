"""
The command line: one module per command family, each importing what is slow only when it runs.
"""

from __future__ import annotations

from functools import partial

import typer
from typer.core import TyperGroup

from gateway.cli import (
    act,
    capture,
    check,
    control,
    customer,
    diagnose,
    events,
    flow,
    importing,
    link,
    process,
    report,
    routing,
    show,
    split,
    store,
    trace,
)
from gateway.cli.lazy import lazy_group
from gateway.cli.remote import apply, audit, context, quota, setting
from gateway.cli.remote.nouns import NOUNS


def _noun(name: str) -> TyperGroup:
    from gateway.cli.remote.resources import noun_group

    return noun_group(name)


app = typer.Typer(
    cls=lazy_group({name: partial(_noun, name) for name in NOUNS}),
    name="twinspan",
    help="A site-to-site IPsec VPN gateway with twin tunnels.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

app.command()(process.gateway)
app.command()(show.status)
app.command()(show.explain)
app.command()(trace.trace)
app.command()(capture.capture)
app.command()(routing.bgp)
app.command()(routing.routes)
app.command()(flow.path)
app.command()(act.up)
app.command()(act.down)
app.command()(act.rekey)
app.command()(act.log)
app.command()(events.events)
app.command()(act.reload)
app.command()(act.stop)
app.command()(diagnose.doctor)
app.command()(report.bugreport)
app.command()(check.check)
app.command()(check.genpsk)
app.command()(check.schema)
app.command()(link.link)
app.command()(split.split)
app.command()(customer.customer_config)
app.command()(act.version)
app.command()(apply.apply)
app.command()(apply.confirm)
app.command()(apply.export)
app.command()(audit.audit)
app.add_typer(quota.app)
app.add_typer(setting.app)
app.add_typer(context.app)
app.add_typer(importing.app)
app.add_typer(store.app)
app.add_typer(control.app)
# Their own parsers read the options, so that the processes import nothing of this package's.
for each in (process.dataplane, process.netns):
    app.command(
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(each)


def main() -> None:
    """Run the command that the arguments name."""
    app()
