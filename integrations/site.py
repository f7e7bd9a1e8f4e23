"""Site: a site's rules, and what the channels make of the senders in them.

In: a rules file. Out: Rules that every channel can work with, or RulesInvalid; for an HL7 sender, the profile
its messages are read by. It joins the rules, which know no channel, and the channels, which know no rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from integrations.hl7.profiles import PROFILES, Profile, profile_of
from integrations.rules.matching import Rules, SenderRules
from integrations.rules.reading import open_rules
from worker.jobs.order import Channel

#: of an HL7 sender that names none
PROFILE: Final = "ihe-dpow"


def open_site_rules(path: Path) -> Rules:
    """Raises RulesInvalid."""
    return open_rules(path, objections=objections)


def profile_for(sender: SenderRules) -> Profile:
    """How this sender's HL7 messages are read. Raises ValueError where `objections` has something to say."""
    return profile_of(
        sender.profile or PROFILE,
        given=sender.fields,
        triggers=sender.triggers,
        scan_done=sender.scan_done,
        time_zone=ZoneInfo(sender.time_zone),
    )


def objections(sender: SenderRules) -> Iterator[tuple[tuple[str, ...], str]]:
    """What its channel has against a sender's rules: keys, and the reason."""
    if sender.channel is not Channel.HL7:
        return
    if sender.profile and sender.profile not in PROFILES:
        yield ("profile",), f"there is no such profile; there are {', '.join(PROFILES)}"
    own = {"given": sender.fields, "triggers": sender.triggers, "scan_done": sender.scan_done}
    for argument, table in own.items():
        for word, values in table.items():
            try:
                profile_of(PROFILE, **{argument: {word: values}})  # type: ignore[arg-type]
            except ValueError as error:
                yield ("fields" if argument == "given" else argument, word), str(error)
