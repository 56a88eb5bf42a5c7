"""
Texts of a tenant's own: Jinja2 in a sandbox, and of its language only what fills in values. Pure.

No loops, assignments, macros, arithmetic or calls: nothing that could run long or grow large.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

TEMPLATE_MAX = 4096  # characters
TEXT_MAX = 65_536
_ALLOWED = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Filter,
    nodes.If,
    nodes.CondExpr,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Concat,
)
_FILTERS = frozenset({"default", "d", "upper", "lower", "title", "trim", "tojson", "truncate"})

_ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
_ENVIRONMENT.filters = {name: _ENVIRONMENT.filters[name] for name in _FILTERS}
# Not HTML: as JSON has it, so that a text can stand in a JSON document.
_ENVIRONMENT.filters["tojson"] = json.dumps


def judge(text: str) -> None:
    """Raise ValueError with what is wrong with a template."""
    if len(text) > TEMPLATE_MAX:
        raise ValueError(f"has {len(text)} characters, at most {TEMPLATE_MAX}")
    try:
        tree = _ENVIRONMENT.parse(text)
    except (TemplateError, RecursionError) as error:
        raise ValueError(f"is no template: {str(error)[:200]}") from None
    for node in tree.find_all(nodes.Node):
        if not isinstance(node, _ALLOWED):
            raise ValueError(f"has {type(node).__name__.lower()}: only values, filters and if")
        if isinstance(node, nodes.Filter) and node.name not in _FILTERS:
            raise ValueError(f"has the filter {node.name}; there are {', '.join(sorted(_FILTERS))}")
    try:
        rendered(text, SAMPLE)
    except ValueError as error:
        raise ValueError(f"fails with an alarm: {error}") from None


def rendered(text: str, values: Mapping[str, object]) -> str:
    """Return a template filled in. Raises ValueError."""
    try:
        made = _ENVIRONMENT.from_string(text).render(dict(values))
    except (TemplateError, TypeError, ValueError, RecursionError, AttributeError) as error:
        raise ValueError(str(error)[:200]) from None
    if len(made) > TEXT_MAX:
        raise ValueError(f"makes {len(made)} characters, at most {TEXT_MAX}")
    return made


SAMPLE: Mapping[str, object] = {
    "event": "raised",
    "id": "alarm-aaaaaaaaaa",
    "tenant": "main",
    "code": "tunnel_down",
    "title": "Tunnel down",
    "severity": "warning",
    "text": 'tunnel office-1 is down: no response to "IKE_SA_INIT"',
    "reason": "peer_unreachable",
    "hint": "is the peer running?",
    "node": "node-aaaaaaaaaa",
    "resource": {"kind": "vpn_tunnel", "name": "office-1", "id": "tun-aaaaaaaaaa"},
    "raised_at": "2026-11-25T16:00:00.000Z",
    "cleared_at": None,
    "count": 1,
}
