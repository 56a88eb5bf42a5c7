"""`twinspan doctor`: what is wrong with this machine, and what mends it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.client import DEFAULT_RUNTIME_DIR, RuntimeDir
from gateway.cli.output import AsJson, Format, Json, OutputOption, View, format_of, present
from gateway.cli.process import DEFAULT_CONFIG, DEFAULT_STATE_DIR, StateDir
from gateway.cli.table import paint

if TYPE_CHECKING:
    from gateway.cli.doctor.look.document import Place
    from gateway.cli.doctor.verdict import Finding

EXIT_FAILURES = 1
_COLOURS = {"failure": "red", "warning": "yellow", "unknown": "yellow", "ok": "green"}

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help=f"the gateway's TOML document; else that of the gateway that runs, {DEFAULT_CONFIG},"
        " or what the control plane has given",
    ),
]


def doctor(
    config: Config = None,
    state_dir: StateDir = Path(DEFAULT_STATE_DIR),
    as_json: AsJson = False,
    output: OutputOption = None,
    runtime_dir: RuntimeDir = Path(DEFAULT_RUNTIME_DIR),
) -> None:
    """
    Examine this gateway VM: ports, addresses, NAT, path MTU, kernel, clock, routes, firewall,
    rights. Each finding has what was found, what is wanted, and what mends it. Changes nothing.

    -o wide shows what is well, too. Ends with status 1 if something is a failure. What only root
    can see is "unknown" without root.
    """
    # Imported here: it would make every other command start slowly.
    from gateway.cli.doctor.checkup import examine, findings

    facts = examine(place_of(config, state_dir), runtime_dir)
    answer = report(findings(facts, time.time()))
    form = format_of(output, as_json)
    lines = partial(report_lines, every=form is Format.WIDE, colours=sys.stdout.isatty())
    present(lambda: answer, View(lines, _names, lambda answer: {}), form)
    if _counts(answer)["failure"]:
        raise typer.Exit(EXIT_FAILURES)


def place_of(config: Path | None, state_dir: Path) -> Place:
    """Return where the document may be."""
    from gateway.cli.doctor.look.document import Place

    return Place(config, Path(DEFAULT_CONFIG), state_dir)


def report(found: Sequence[Finding]) -> Json:
    """Return the answer of `twinspan doctor -o json`: the findings, the worst first."""
    order = [*_COLOURS]
    ordered = sorted(found, key=lambda finding: order.index(finding.verdict))
    verdicts = [finding.verdict.value for finding in found]
    return {
        "summary": {name: verdicts.count(name) for name in order},
        "findings": [finding.as_json() for finding in ordered],
    }


def report_lines(answer: Json, *, every: bool, colours: bool) -> list[str]:
    """Return the lines of `twinspan doctor`, each finding with what mends it."""
    lines = []
    for finding in _findings(answer):
        verdict = finding["verdict"]
        if verdict == "ok" and not every:
            continue
        shown = paint(f"{verdict:<8}", _COLOURS[verdict], colours=colours)
        lines.append(f"{shown} {finding['check']}: {finding['about']}: {finding['found']}")
        if verdict != "ok":
            lines += [
                f"{'':<8} {key}: {finding[key]}" for key in ("wanted", "remedy") if finding[key]
            ]
    counts = _counts(answer)
    return [*lines, ", ".join(f"{count} {name}" for name, count in counts.items())]


def _findings(answer: Json) -> list[dict[str, str]]:
    found = answer["findings"]
    assert isinstance(found, list)
    return found


def _counts(answer: Json) -> dict[str, int]:
    found = answer["summary"]
    assert isinstance(found, dict)
    return found


def _names(answer: Json) -> list[str]:
    """Return which checks have something to say."""
    bad = [finding["check"] for finding in _findings(answer) if finding["verdict"] != "ok"]
    return list(dict.fromkeys(bad))
