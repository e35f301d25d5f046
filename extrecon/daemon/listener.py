"""The daemon's door: who may come in, and what happens when there is no room."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from extrecon.daemon.place import Place
from extrecon.daemon.protocol import Channel, peer

SEND_SECONDS = 2.0
_BACKLOG = 64


class Listener:
    """Listens at a place, and turns away whom the daemon does not work for.

    Parameters
    ----------
    place : whose socket to make
    """

    def __init__(self, place: Place) -> None:
        place.socket.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        umask = os.umask(0o177)
        try:
            self._socket.bind(str(place.socket))
        finally:
            os.umask(umask)
        self._socket.listen(_BACKLOG)
        self._socket.setblocking(False)
        self._reserve = _spare_descriptor()

    def fileno(self) -> int:
        """Return the socket's descriptor, for selectors."""
        return self._socket.fileno()

    def accept(self) -> Channel | None:
        """Return a connection to a client; None if there is none after all, or it was turned away."""
        try:
            connection, _ = self._socket.accept()
        except BlockingIOError:
            return None
        except OSError as error:
            self._refuse_one(error)
            return None
        connection.settimeout(SEND_SECONDS)
        _, user, group = peer(connection)
        if (user, group) == (os.geteuid(), os.getegid()):
            return Channel(connection)
        _turn_away(connection, f"the daemon works for user {os.geteuid()}, group {os.getegid()} only")
        return None

    def close(self) -> None:
        """Let nobody in any more."""
        self._socket.close()
        os.close(self._reserve)

    def _refuse_one(self, error: OSError) -> None:
        """Send one client away with the descriptor kept for that: unanswered, it would wait and ring for ever."""
        os.close(self._reserve)
        try:
            with suppress(OSError):
                connection, _ = self._socket.accept()
                connection.settimeout(SEND_SECONDS)
                _turn_away(connection, f"the daemon can take no further call: {error.strerror}")
        finally:
            self._reserve = _spare_descriptor()


def _turn_away(connection: socket.socket, reason: str) -> None:
    channel = Channel(connection)
    with suppress(OSError):
        channel.send({"verdict": "lost", "reason": reason})
    channel.close()


def _spare_descriptor() -> int:
    return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
