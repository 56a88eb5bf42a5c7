"""The pages of docs/scenarios: what they show is what runs here, so it can not be out of date."""

from __future__ import annotations

import re

from lab.twinspan import ROOT

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(page: str, kind: str) -> list[str]:
    """Return the texts of a page's fenced blocks of that kind ("toml", "conf"), in order."""
    text = (ROOT / "docs/scenarios" / f"{page}.md").read_text()
    return [body for found, body in _FENCED.findall(text) if found == kind]
