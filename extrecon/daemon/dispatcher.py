"""The daemon at work: accepts calls, forks a runner for each, and answers for how it ends.

One process, which imports once what all calls need and never computes. What a job does to its own process (its
threads, its working directory, a crash, memory that is never given back) ends with it, so that the hundredth job is
as the first.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import extrecon
from extrecon.daemon.connect import identity
from extrecon.daemon.idleness import Idleness
from extrecon.daemon.job import Job
from extrecon.daemon.likeness import why_unfit, why_unlike
from extrecon.daemon.listener import Listener
from extrecon.daemon.loaded import Loaded
from extrecon.daemon.place import Place
from extrecon.daemon.protocol import Channel, Message
from extrecon.daemon.runner import label_of, run
from extrecon.daemon.signals import default_signals
from extrecon.daemon.turns import PLACES, Board
from extrecon.system.limits import privileges
from extrecon.system.processes import die_with_parent, name_of_signal, name_this_process, start_time

LOOK_SECONDS = 2.0
IN_USE_SECONDS = 600.0
_END_SECONDS = 2.0
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_EXHAUSTED = (OSError, MemoryError)
"""No more files, processes or memory: that one call then does without the daemon."""


class Stop(Exception):  # noqa: N818  an order, not an error
    """The daemon should end, for the reason given.

    Attributes
    ----------
    farewell : who is to be told at the very end, and what
    """

    def __init__(self, reason: str, farewell: tuple[Channel, Message] | None = None) -> None:
        super().__init__(reason)
        self.farewell = farewell


class Dispatcher:
    """One daemon.

    Parameters
    ----------
    place : where it listens
    lock : what holds the place's lock
    idle_seconds : it ends when nobody has asked anything for so long
    keeper : the process that clears up after it; 0 if there is none
    """

    def __init__(self, place: Place, lock: int, idle_seconds: float, keeper: int = 0) -> None:
        self._place = place
        self._lock = lock
        self._pid = os.getpid()
        self._own = {self._pid, keeper}
        self._identity = identity(os.environ)
        self._privileges = privileges()
        self._idleness = Idleness(idle_seconds)
        self._loaded = Loaded()
        self._board = Board()
        self._jobs: list[Job] = []
        self._served = 0
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        for end in (self._wake_reader, self._wake_writer):
            end.setblocking(False)
        self._listener = Listener(place)

    def serve(self) -> str:
        """Work until told to stop, and return why."""
        for number in _ENDING:
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
                signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD, signal.SIGALRM))
        signal.set_wakeup_fd(self._wake_writer.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake_reader, selectors.EVENT_READ, self._on_signal)
        try:
            while True:
                self._turn()
        except Stop as stop:
            self._end({"verdict": "lost", "reason": str(stop)})
            if stop.farewell is not None:
                self._answer(*stop.farewell)
            return str(stop)
        except BaseException as error:
            told = traceback.format_exc()
            self._end({"verdict": "lost", "reason": f"the daemon crashed: {error!r}", "traceback": told})
            raise

    def _turn(self) -> None:
        # Nobody else's work is lost if what is loaded ends or holds up this process: nothing is loaded beside it.
        has_time = self._loaded.has_wishes and not self._jobs
        events = self._selector.select(0.0 if has_time else LOOK_SECONDS)
        for key, _ in events:
            # One event may have closed the connection that the next one is about.
            if key.fileobj in (found.fileobj for found in self._selector.get_map().values()):
                key.data()
        self._reap()
        if self._jobs:
            self._idleness.at_work()
        elif has_time and not events:
            self._loaded.grant()
        else:
            reason = self._idleness.reason_to_end(self._own)
            if reason is not None:
                raise Stop(reason)

    # -- clients ---------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        channel = self._listener.accept()
        if channel is not None:
            self._idleness.heard()
            self._selector.register(channel, selectors.EVENT_READ, lambda: self._hear(channel))

    def _hear(self, channel: Channel) -> None:
        try:
            messages, ended = channel.available()
        except (OSError, ValueError):
            messages, ended = [], True
        for message in messages:
            if message.get("verb") != "status":
                self._idleness.asked()
            try:
                self._obey(channel, message)
            except _EXHAUSTED as error:
                self._refuse(channel, f"the daemon cannot take the call: {error}")
        if ended:
            self._give_up(channel)
            self._forget(channel)

    def _obey(self, channel: Channel, message: Message) -> None:
        verb = message.get("verb")
        if verb == "run":
            self._take(channel, message)
        elif verb == "log":
            self._start(channel)
        elif verb == "cancel":
            self._give_up(channel)
        elif verb == "status":
            self._answer(channel, self._status())
        elif verb == "warm":
            self._answer(channel, {"pid": self._pid})
            self._loaded.warm_up()
        elif verb == "stop":
            raise Stop("the daemon was told to stop", (channel, {"stopped": self._pid}))
        else:
            self._answer(channel, {"verdict": "lost", "reason": f"the daemon knows no '{verb}'"})

    def _take(self, channel: Channel, message: Message) -> None:
        unfit = why_unfit(message, self._identity) or self._loaded.change()
        unlike = why_unlike(message, self._privileges)
        if unfit or unlike:
            self._turn_away(channel, unfit, unlike)
            return
        if self._job_of(channel) is not None:
            self._refuse(channel, "the daemon is at work on this connection's call")
            return
        free = set(range(PLACES)) - {job.place for job in self._jobs}
        if not free:
            self._refuse(channel, "the daemon has no place for a further call")
            return
        try:
            self._jobs.append(Job(channel, message, min(free)))
        except (LookupError, TypeError, ValueError) as error:
            self._answer(channel, {"verdict": "lost", "reason": f"the call is incomplete: {error!r}"})
            return
        self._served += 1
        self._tell(channel, {"accepted": True})
        self._loaded.warm_up()

    def _turn_away(self, channel: Channel, unfit: str | None, unlike: str | None) -> None:
        """Make room for another daemon, unless this one is in use: then the client does its work itself."""
        reason = unfit or unlike
        if self._jobs:
            busy = "the daemon is another one and at work for someone else"
            self._answer(channel, {"verdict": "lost", "reason": f"{busy} ({reason})"})
        elif not unfit and self._idleness.seconds_since_work < IN_USE_SECONDS:
            # Callers of two kinds that take turns would have a daemon start, and import everything, for each call.
            self._answer(channel, {"verdict": "lost", "reason": f"the daemon works for others ({reason})"})
        else:
            # Gone before the answer: the client that reads it starts the next one.
            raise Stop(f"restart: {reason}", (channel, {"verdict": "restart", "reason": reason}))

    def _tell(self, channel: Channel, message: Message) -> None:
        with suppress(OSError):  # a client that is gone has closed its end, which is an event of its own
            channel.send(message)

    def _answer(self, channel: Channel, message: Message) -> None:
        self._tell(channel, message)
        self._forget(channel)

    def _forget(self, channel: Channel) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(channel)
        channel.close()

    def _refuse(self, channel: Channel, reason: str) -> None:
        """Send one client away, with whatever was begun for it; the others stay."""
        self._tell(channel, {"verdict": "lost", "reason": reason})
        self._give_up(channel)
        self._forget(channel)

    def _give_up(self, channel: Channel) -> None:
        """End a job that nobody wants any more."""
        job = self._job_of(channel)
        if job is None:
            return
        job.cancelled = True
        job.kill()
        if not job.pid:
            self._conclude(job, {"verdict": "cancelled"})

    def _job_of(self, channel: Channel) -> Job | None:
        return next((job for job in self._jobs if job.client is channel), None)

    # -- runners ---------------------------------------------------------------------------------------------

    def _start(self, channel: Channel) -> None:
        """Fork a runner, now that RELION's log has come."""
        job = self._job_of(channel)
        try:
            log = channel.take_descriptors(2)
        except ValueError as error:
            self._refuse(channel, f"RELION's log did not reach the daemon: {error}")
            return
        try:
            if job is not None and not job.pid:
                job.pid = self._fork(job, log)
                ticks = start_time(job.pid)
                if ticks is not None:  # else it has been killed already
                    self._tell(channel, {"started": [job.pid, ticks]})
        finally:
            for descriptor in log:
                os.close(descriptor)

    def _fork(self, job: Job, log: list[int]) -> int:
        with _no_signals():  # the child must not hear of one in its parent's way
            pid = os.fork()
            if pid == 0:
                self._become_runner(job, *log)
        return pid

    def _become_runner(self, job: Job, output: int, errors: int) -> NoReturn:
        code = 1
        try:
            die_with_parent()
            if os.getppid() != self._pid:
                os._exit(code)  # it ended before it was watched: the client knows
            name_this_process("extrecon-call")
            signal.set_wakeup_fd(-1)
            default_signals()
            self._let_go_of_all_but(job)
            for descriptor, number in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (errors, 2)):
                os.dup2(descriptor, number)
                if descriptor > 2:
                    os.close(descriptor)
            tempfile.tempdir = None
            code = run(job.request, job.client, self._board, job.place)
        except BaseException:  # noqa: BLE001  whatever it is, RELION's log must show it
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)

    def _let_go_of_all_but(self, job: Job) -> None:
        """Close what is the daemon's alone: what a plugin leaves running must not hold on to it."""
        held = [key.fileobj for key in self._selector.get_map().values()]
        self._selector.close()
        self._wake_writer.close()
        os.close(self._lock)
        for each in held:
            if each is not job.client and isinstance(each, (Channel, Listener, socket.socket)):
                each.close()

    def _on_signal(self) -> None:
        received = self._wake_reader.recv(4096)
        number = next((n for n in received if n in _ENDING), None)
        if number is not None:
            raise Stop(f"the daemon was stopped by {signal.Signals(number).name}")

    def _reap(self) -> None:
        for job in [job for job in self._jobs if job.pid]:
            pid, status = os.waitpid(job.pid, os.WNOHANG)
            if pid:
                self._runner_ended(job, os.waitstatus_to_exitcode(status))

    def _runner_ended(self, job: Job, code: int) -> None:
        """Answer for a runner; a client that has had its answer from the runner itself is gone by now, or going."""
        last = self._board.clear(job.place)
        near = last is not None and last.near_local_search
        for name, settings in job.regularizers:
            self._loaded.wish(name, settings, weights=near)
        if code:
            job.remove_temporary_files()
        how = f"was killed by {name_of_signal(-code)}" if code < 0 else f"ended itself with code {code}"
        self._conclude(job, {"verdict": "cancelled"} if job.cancelled else {"verdict": "died", "how": how})

    def _conclude(self, job: Job, verdict: Message) -> None:
        self._jobs.remove(job)
        self._answer(job.client, verdict)

    # -- the rest --------------------------------------------------------------------------------------------

    def _status(self) -> Message:
        at_work = self._board.read()
        told = [at_work[job.place] for job in self._jobs if job.place in at_work]
        return {
            "pid": self._pid,
            "version": extrecon.__version__,
            "python": self._identity["python"],
            "socket": str(self._place.socket),
            "seconds_up": time.monotonic() - self._idleness.began,
            "idle_seconds": 0.0 if self._jobs else self._idleness.seconds,
            "ends_after_idle_seconds": self._idleness.limit_seconds,
            "served": self._served,
            "warm": self._loaded.describe(),
            "running": [work.describe() for work in told if work.has_begun],
            "queued": [work.label for work in told if not work.has_begun]
            + [label_of(job.star) for job in self._jobs if job.place not in at_work],
        }

    def _end(self, verdict: Message) -> None:
        """Stop all work, tell who waits, and leave nothing behind."""
        self._listener.close()
        for job in self._jobs:
            job.kill()
        deadline = time.monotonic() + _END_SECONDS
        for job in [job for job in self._jobs if job.pid]:
            while os.waitpid(job.pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
                time.sleep(0.001)
            job.remove_temporary_files()
        for job in self._jobs:
            self._answer(job.client, verdict)
        self._place.clear()


@contextmanager
def _no_signals() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
