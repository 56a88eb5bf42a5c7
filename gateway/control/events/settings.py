"""How long events and alarms that are over are kept: the setting `events`. Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, StrictInt, ValidationError

from gateway.control.changes.view import View
from gateway.model.settings import CONFIG

SETTING = ("setting", "events")


class EventSettings(BaseModel):
    """How long what has happened is kept."""

    model_config = CONFIG

    kept_days: Annotated[StrictInt, Field(ge=1, le=365)] = Field(
        default=30, description="events, and alarms that are over, are kept for so many days"
    )


def kept_days(view: View) -> int:
    """Return what is set; the default where nothing is, or what is set is of another version."""
    found = view.get(*SETTING)
    try:
        settings = EventSettings.model_validate(dict(found.spec)) if found else EventSettings()
    except ValidationError:
        settings = EventSettings()
    return settings.kept_days
