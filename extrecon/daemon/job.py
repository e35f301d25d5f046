"""A call that the daemon has accepted."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from extrecon.daemon.protocol import Channel, Message
from extrecon.errors import UsageError
from extrecon.options.phases import settings_of_each
from extrecon.system.files import remove_temporary_files


class Job:
    """Who asked, for what, and who does it.

    Attributes
    ----------
    client : the connection to the hook
    request : what it asked for
    star : the STAR file of the call
    regularizers : names of those that will be needed, and the settings of each as given
    place : where on the board its runner tells what it does
    pid : its runner; 0 until there is one
    cancelled : nobody wants its result any more
    """

    def __init__(self, client: Channel, request: Message, place: int) -> None:
        self.client = client
        self.request = request
        self.place = place
        self.pid = 0
        self.cancelled = False
        self.star = Path(request["working_directory"], request["star"])
        values = request["options"]["values"]
        self.regularizers: list[tuple[str, dict[str, Any]]] = []
        if values["apply"] != "never":
            with suppress(UsageError):  # the runner will tell of it
                self.regularizers = settings_of_each(str(values["regularizer"]), request["options"]["settings"])

    def kill(self) -> None:
        """End the runner, if there is one."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)  # it has not been reaped, so the number is still its own

    def remove_temporary_files(self) -> None:
        """Remove what a runner that was killed left unfinished."""
        with suppress(OSError):
            remove_temporary_files(self.star, self.pid)
