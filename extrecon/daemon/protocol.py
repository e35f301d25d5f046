"""What client, daemon and runners say to one another. Standard library only.

One JSON object a line over Unix sockets; file descriptors travel beside the first bytes of a line. A client opens
one connection a call and says one thing::

    {"verb": "run", "protocol": 2, "version": …, …}     the job
    {"verb": "log"}                                     once accepted: RELION's log, standard output and error
    {"verb": "cancel"}                                  later on the same connection: give it up
    {"verb": "status"} · {"verb": "stop"}               answered with one object

The daemon answers a job with ``{"accepted": true}`` and ``{"started": [pid, start time]}``. The runner goes on over
the same connection: ``{"waits_for": …}``, a clause for people, every other second that it waits for its turn, and
``{"regularizing": …}``, true or false, whenever its regularizer begins to work or to wait. It ends with one
``{"verdict": …}``, from the runner if all went well, else from the daemon; the first one counts. The verdicts:

=============  ===========================================================================================
``done``       with ``code``, the hook's exit code
``died``       the runner was killed or ended itself, see ``how``; the plain map may be on disk
``lost``       the work came to nothing for ``reason``; the client should do it itself
``restart``    the daemon ends itself for ``reason``; the client should start a new one
``cancelled``  as asked; nothing of the job runs any more
=============  ===========================================================================================

``verb``, ``protocol``, ``verdict`` and ``reason`` keep their meaning in every version, so that an old client and a
new daemon, or the reverse, understand that they do not understand each other.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any

PROTOCOL = 2
LARGEST_MESSAGE = 8 << 20
_CHUNK = 1 << 16
MOST_DESCRIPTORS = 4

Message = dict[str, Any]


class Channel:
    """One end of a connection: whole messages out, whole messages in, with the descriptors that came along."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.descriptors: list[int] = []
        self._buffer = bytearray()

    def fileno(self) -> int:
        """Return the socket's descriptor, for selectors."""
        return self.socket.fileno()

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send one message.

        Raises
        ------
        OSError : the other end is gone, or does not read.
        """
        data = json.dumps(message).encode() + b"\n"
        sent = socket.send_fds(self.socket, [data], descriptors) if descriptors else 0
        if sent < len(data):
            self.socket.sendall(memoryview(data)[sent:])

    def receive(self) -> Message | None:
        """Wait for one message; None at the end of the connection.

        Raises
        ------
        TimeoutError : the socket's time limit passed.
        ValueError : what came is no message.
        """
        while b"\n" not in self._buffer:
            if not self._read():
                return None
        return self._take()

    def available(self) -> tuple[list[Message], bool]:
        """Read once, after a selector said that there is something; return the messages and whether it is the end.

        Raises
        ------
        ValueError : what came is no message.
        """
        ended = not self._read()
        messages = []
        while b"\n" in self._buffer:
            messages.append(self._take())
        return messages, ended

    def take_descriptors(self, count: int) -> list[int]:
        """Return the descriptors that came with the next message that brings any; the caller closes them.

        A message is often read together with the beginning of the next one: who takes says how many there were.

        Raises
        ------
        ValueError : fewer came, or this process may have no more files open; all that came are closed.
        """
        taken, self.descriptors = self.descriptors[:count], self.descriptors[count:]
        if len(taken) < count:
            _close(taken)
            raise ValueError(f"{count} descriptors should have come along; are too many files open?")
        return taken

    def close(self) -> None:
        """Close the connection, and what was received but not taken."""
        _close(self.descriptors)
        self.descriptors = []
        self.socket.close()

    def _read(self) -> bool:
        try:
            data, descriptors, flags, _ = socket.recv_fds(self.socket, _CHUNK, MOST_DESCRIPTORS)
        except ConnectionResetError:
            return False
        if flags & socket.MSG_CTRUNC:  # the kernel drops what it finds no number for
            _close(descriptors)
            descriptors = []
        self.descriptors += descriptors
        self._buffer += data
        if len(self._buffer) > LARGEST_MESSAGE:
            raise ValueError("the message is too long")
        return bool(data)

    def _take(self) -> Message:
        line, _, rest = self._buffer.partition(b"\n")
        self._buffer = rest
        try:
            message = json.loads(line)
        except RecursionError:
            raise ValueError("the message is nested too deeply") from None
        if not isinstance(message, dict):
            raise ValueError("the message is not an object")  # noqa: TRY004  as all that is wrong with a message
        return message


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def peer(connection: socket.socket) -> tuple[int, int, int]:
    """Return process, user and group of the other end, as the kernel knows them."""
    size = struct.calcsize("3i")
    pid, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return pid, uid, gid
