"""Whether a client is like the daemon, so that its work would come out the same."""

from __future__ import annotations

from collections.abc import Mapping

from extrecon.daemon.protocol import PROTOCOL, Message


def why_unfit(message: Message, identity: Mapping[str, str]) -> str | None:
    """Return why a daemon of this identity must not do the client's work; None if it may."""
    if message.get("protocol") != PROTOCOL:
        return f"the client speaks protocol {message.get('protocol')}, the daemon {PROTOCOL}"
    theirs = message.get("identity")
    if not isinstance(theirs, dict):
        return "the client does not say what it is"
    for what, ours in identity.items():
        if theirs.get(what) != ours:
            return f"{what} is {theirs.get(what) or 'not set'}, and was {ours or 'not set'}"
    return None


def why_unlike(message: Message, privileges: Mapping[str, str]) -> str | None:
    """Return what the client may do and this daemon may not, or the reverse; None if there is nothing."""
    theirs = message.get("privileges")
    if not isinstance(theirs, dict):
        return "the client does not say what it may do"
    for what, ours in privileges.items():
        if theirs.get(what) != ours:
            return f"{what} is {theirs.get(what)}, and is {ours} for the daemon"
    return None
