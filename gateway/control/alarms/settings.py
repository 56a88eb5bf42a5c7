"""When alarms are raised and cleared, and where messages may go: the setting `alarms`. Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, StrictBool, StrictInt, ValidationError

from gateway.control.changes.view import View
from gateway.model.settings import CONFIG
from gateway.model.types import Prefix

SETTING = ("setting", "alarms")
Seconds = Annotated[StrictInt, Field(ge=0, le=86_400)]


class AlarmSettings(BaseModel):
    """What can be set for all alarms. A condition that is shorter than its hold raises nothing."""

    model_config = CONFIG

    tunnel_down_s: Seconds = Field(default=30, description="a tunnel is down for so long")
    connection_down_s: Seconds = Field(
        default=10, description="a connection has no working tunnel for so long"
    )
    redundancy_lost_s: Seconds = Field(
        default=60, description="a connection that could be redundant is not, for so long"
    )
    generation_late_s: Seconds = Field(
        default=60, description="a node has not applied its newest document for so long"
    )
    clear_s: Seconds = Field(
        default=10, description="an alarm is cleared when its cause is over for so long"
    )
    flapping_count: Annotated[StrictInt, Field(ge=2, le=1000)] = Field(
        default=4, description="a tunnel that goes down so often within flapping_s is flapping"
    )
    flapping_s: Annotated[StrictInt, Field(ge=10, le=86_400)] = Field(
        default=600, description="see flapping_count"
    )
    ending_days: Annotated[StrictInt, Field(ge=1, le=365)] = Field(
        default=7, description="tokens and certificates that end within so many days"
    )
    quota_percent: Annotated[StrictInt, Field(ge=1, le=100)] = Field(
        default=80, description="a quota is nearly used from here on"
    )
    target_networks: tuple[Prefix, ...] = Field(
        default=(),
        max_length=100,
        description="private, loopback or link-local networks that targets may be in",
    )
    private_of_main: StrictBool = Field(
        default=True, description="targets of the tenant main may be in private networks"
    )


def alarm_settings(view: View) -> AlarmSettings:
    """Return what is set; the defaults where nothing is, or what is set is of another version."""
    found = view.get(*SETTING)
    try:
        return AlarmSettings.model_validate(dict(found.spec)) if found else AlarmSettings()
    except ValidationError:
        return AlarmSettings()
