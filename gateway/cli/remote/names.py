"""Names and ids of resources: either is accepted on the command line, and both are completed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

from gateway.cli.client import Refused, Unreachable
from gateway.cli.remote.contexts import chosen
from gateway.cli.remote.http import COMPLETION_TIMEOUT_S, Api, ApiRefused
from gateway.cli.remote.nouns import NOUNS, Noun
from gateway.errors import ConfigError

Json = dict[str, object]


def path_of(noun: Noun, id: str) -> str:
    """Return where one resource is in the API."""
    return f"{noun.path}/{quote(id, safe='')}"


def found(api: Api, noun: Noun, text: str) -> Json:
    """Return the resource with that id or name. Raises ApiRefused: 404, or 409 for several."""
    if not noun.prefix or not noun.has_names or noun.is_id(text):
        return api.get(path_of(noun, text))
    items = list(api.pages(noun.path, {"name": text}))
    if len(items) == 1:
        return items[0]
    if items:
        ids = ", ".join(str(item["id"]) for item in items)
        raise ApiRefused(409, {"detail": f"several have the name {text!r}; give an id: {ids}"})
    raise ApiRefused(404, {"detail": f"no {noun.title} has the name or id {text!r}"})


def id_of(api: Api, noun: Noun, text: str) -> str:
    """Return the id of the resource with that id or name. Raises ApiRefused as `found` does."""
    return text if noun.is_id(text) or not noun.has_names else str(found(api, noun, text)["id"])


@dataclass(slots=True)
class Names:
    """The names of what tables show references to; each collection is asked for once."""

    api: Api
    _known: dict[str, dict[str, str]] = field(default_factory=dict)

    def of(self, noun_name: str, id: str) -> str:
        """Return the name of a resource; its id where it has none, or we may not see it."""
        if noun_name not in self._known:
            self._known[noun_name] = self._read(NOUNS[noun_name])
        return self._known[noun_name].get(id, id)

    def _read(self, noun: Noun) -> dict[str, str]:
        try:
            items = list(self.api.pages(noun.path))
        except ApiRefused:
            return {}
        return {str(one["id"]): str(one.get("name") or one["id"]) for one in items}


def completer(noun_name: str) -> Callable[[str], list[str]]:
    """Return what completes names and ids of a noun for the shell."""

    def complete(incomplete: str) -> list[str]:
        noun = NOUNS[noun_name]
        try:
            with Api(chosen(os.environ, None), COMPLETION_TIMEOUT_S) as api:
                items = list(api.pages(noun.path))
        except (Unreachable, Refused, ConfigError):
            return []
        names = [str(item["name"]) for item in items if item.get("name")]
        ids = [str(item["id"]) for item in items if item.get("id")]
        # An id is completed only from its prefix on: both of all would fill the screen.
        wanted = ids if noun.prefix and incomplete.startswith(f"{noun.prefix}-") else names
        return [text for text in dict.fromkeys(wanted) if text.startswith(incomplete)]

    return complete
