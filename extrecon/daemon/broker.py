"""The broker: accepts jobs, queues them a device at a time, and watches over who does them.

It never computes and imports nothing that does, so that it answers at once whatever its runners are up to. All that
changes the list of jobs is in this one file, though it is long, because each part of it must know of the others.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
import traceback
from contextlib import suppress

import extrecon
from extrecon.daemon.client import identity
from extrecon.daemon.idleness import Idleness
from extrecon.daemon.job import QueuedJob, may_start
from extrecon.daemon.likeness import why_unfit, why_unlike
from extrecon.daemon.listener import Listener
from extrecon.daemon.monitor import Monitor
from extrecon.daemon.place import Place
from extrecon.daemon.protocol import Channel, Message
from extrecon.daemon.warm_link import WarmLink
from extrecon.errors import DaemonError
from extrecon.system.limits import privileges
from extrecon.system.processes import name_of_signal

BEAT_SECONDS = 2.0
IN_USE_SECONDS = 600.0
WARM_SECONDS = 120.0
FORK_SECONDS = 10.0
STOPPED_SECONDS = 20.0
TURN_SECONDS = 1800.0
"""Nobody waits longer for the device: plain maps are made without the daemon then, and regularizing is given up."""
_EXHAUSTED = (OSError, RuntimeError, MemoryError)
"""No more files, threads or memory: that one call then does without the daemon."""


class Stop(Exception):  # noqa: N818  an order, not an error
    """The broker should end, for the reason given.

    Attributes
    ----------
    farewell : who is to be told at the very end, and what
    """

    def __init__(self, reason: str, farewell: tuple[Channel, Message] | None = None) -> None:
        super().__init__(reason)
        self.farewell = farewell


class Broker:
    """One broker.

    Parameters
    ----------
    place : where it listens
    idle_seconds : it ends when nobody has asked anything for so long
    """

    def __init__(self, place: Place, idle_seconds: float) -> None:
        self._place = place
        self._identity = identity(os.environ)
        self._privileges = privileges()
        self._selector = selectors.DefaultSelector()
        self._listener = Listener(place)
        self._warm = WarmLink(place)
        self._jobs: dict[int, QueuedJob] = {}
        self._served = 0
        self._idleness = Idleness(idle_seconds)
        self._wake_reader, self._wake_writer = socket.socketpair()
        for end in (self._wake_reader, self._wake_writer):
            end.setblocking(False)
        self._monitor = Monitor(self._wake)

    def serve(self) -> str:
        """Work until told to stop, and return why."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
                signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._wake_writer.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake_reader, selectors.EVENT_READ, self._on_wake)
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
        for key, _ in self._selector.select(BEAT_SECONDS):
            # One event may have closed the connection that the next one is about.
            if key.fileobj in (found.fileobj for found in self._selector.get_map().values()):
                key.data()
        self._schedule()
        self._beat()
        self._give_up_warming()
        self._give_up_forking()
        if self._jobs:
            self._idleness.at_work()
            return
        reason = self._idleness.reason_to_end({os.getpid(), self._warm.pid})
        if reason is not None:
            raise Stop(reason)

    # -- clients ---------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        channel = self._listener.accept()
        if channel is not None:
            self._idleness.asked()
            self._selector.register(channel, selectors.EVENT_READ, lambda: self._hear(channel))

    def _hear(self, channel: Channel) -> None:
        try:
            messages, ended = channel.available()
        except (OSError, ValueError):
            messages, ended = [], True
        for message in messages:
            self._idleness.asked()
            try:
                self._obey(channel, message)
            except _EXHAUSTED as error:
                self._refuse(channel, f"the daemon cannot take the call: {error}")
        if ended:
            self._lose(channel)

    def _obey(self, channel: Channel, message: Message) -> None:
        verb = message.get("verb")
        if verb == "run":
            self._take(channel, message)
        elif verb == "log":
            self._take_log(channel)
        elif verb == "cancel":
            self._cancel(channel)
        elif verb == "status":
            self._answer(channel, self._status())
        elif verb == "warm":
            self._warm_up()
            self._answer(channel, {"pid": os.getpid()})
        elif verb == "stop":
            raise Stop("the daemon was told to stop", (channel, {"stopped": os.getpid()}))
        else:
            self._answer(channel, {"verdict": "lost", "reason": f"the daemon knows no '{verb}'"})

    def _take(self, channel: Channel, message: Message) -> None:
        unfit = why_unfit(message, self._identity) or self._warm.change()
        unlike = why_unlike(message, self._privileges)
        if unfit or unlike:
            self._turn_away(channel, unfit, unlike)
            return
        try:
            job = QueuedJob(channel, message)
        except (LookupError, TypeError, ValueError) as error:
            self._answer(channel, {"verdict": "lost", "reason": f"the call is incomplete: {error!r}"})
            return
        self._warm_up()
        self._jobs[job.number] = job
        self._served += 1
        self._tell(job, {"accepted": True})

    def _take_log(self, channel: Channel) -> None:
        job = self._job_of(channel)
        try:
            descriptors = channel.take_descriptors(2)
        except ValueError as error:
            self._refuse(channel, f"RELION's log did not reach the daemon: {error}")
            return
        if job is not None and not job.has_log:
            job.take_log(descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)

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

    def _answer(self, channel: Channel, message: Message) -> None:
        with suppress(OSError):
            channel.send(message)
        self._forget(channel)

    def _forget(self, channel: Channel) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(channel)
        channel.close()

    def _refuse(self, channel: Channel, reason: str) -> None:
        """Send one client away, with whatever was begun for it; the others stay."""
        job, verdict = self._job_of(channel), {"verdict": "lost", "reason": reason}
        if job is None:
            self._answer(channel, verdict)
        else:
            job.kill()
            self._conclude(job, verdict)

    def _lose(self, channel: Channel) -> None:
        """Give up the job of a client that is gone."""
        job = self._job_of(channel)
        self._forget(channel)
        if job is not None:
            self._kill(job)

    def _cancel(self, channel: Channel) -> None:
        job = self._job_of(channel)
        if job is not None:
            self._kill(job)

    def _job_of(self, channel: Channel) -> QueuedJob | None:
        return next((job for job in self._jobs.values() if job.client is channel), None)

    def _kill(self, job: QueuedJob) -> None:
        """End a job that nobody wants any more; one that is just being forked, as soon as it is known."""
        if job.is_queued:
            self._conclude(job, {"verdict": "cancelled"})
            return
        job.cancelled = True
        job.kill()

    def _tell(self, job: QueuedJob, message: Message) -> None:
        try:
            job.client.send(message)
        except (OSError, TimeoutError):
            self._lose(job.client)

    def _conclude(self, job: QueuedJob, verdict: Message) -> None:
        """Give the client its verdict and forget the job."""
        self._jobs.pop(job.number, None)
        self._close_report(job)
        job.close()
        if verdict["verdict"] != "done":
            job.remove_temporary_files()
        self._answer(job.client, verdict)
        with suppress(*_EXHAUSTED):
            self._monitor.follow(job)

    # -- runners ---------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        for job in list(self._jobs.values()):
            if job.wants_back and may_start(job, self._jobs.values()):
                job.come_back()
            if job.seconds_waiting > TURN_SECONDS:
                self._give_up_waiting(job)
        if not self._warm.ready:
            return
        for job in list(self._jobs.values()):
            if job.is_queued and job.has_log and may_start(job, self._jobs.values()):
                self._start(job)
        if any(job.is_queued for job in self._jobs.values()):
            return
        with suppress(*_EXHAUSTED):
            wish = self._monitor.wish()
            if wish is not None:
                self._warm.load(wish[0], prepare=wish[1])

    def _give_up_waiting(self, job: QueuedJob) -> None:
        others = self._why_waiting(job) or "busy"
        reason = f"there was no turn on the device for {TURN_SECONDS:.0f} s: {others}"
        if job.is_queued:
            self._conclude(job, {"verdict": "lost", "reason": reason})
        else:
            job.come_back(refused=reason)

    def _start(self, job: QueuedJob) -> None:
        try:
            report = job.open_report()
            self._selector.register(report, selectors.EVENT_READ, lambda: self._on_report(job))
        except (OSError, MemoryError) as error:
            self._refuse(job.client, f"the daemon cannot start the job: {error}")
            return
        self._warm.fork(job)

    def _on_report(self, job: QueuedJob) -> None:
        if job.report is None:
            return
        try:
            messages, ended = job.report.available()
        except (OSError, ValueError):
            messages, ended = [], True
        for message in messages:
            if "done" in message or "lost" in message:
                self._conclude(job, _last_words(message))
                return
            job.hear(message)
        if ended:
            self._close_report(job)
            if job.cancelled:
                self._conclude(job, {"verdict": "cancelled"})

    def _close_report(self, job: QueuedJob) -> None:
        if job.report is not None:
            with suppress(KeyError, ValueError):  # it may have been the selector that failed
                self._selector.unregister(job.report)
            job.report.close()
            job.report = None

    def _warm_up(self) -> None:
        """Start the warm process unless it is there."""
        if not self._warm.is_started:
            self._selector.register(self._warm.start(), selectors.EVENT_READ, self._on_warm)

    def _on_warm(self) -> None:
        messages, ended = self._warm.hear()
        for message in messages:
            job = self._jobs.get(next((message[k] for k in ("forked", "ended", "refused") if k in message), 0))
            if job is None:
                continue
            if "forked" in message:
                self._forked(job, message)
            elif "refused" in message:
                self._conclude(job, {"verdict": "lost", "reason": message["reason"]})
            elif job.runner is not None:
                self._runner_ended(job, int(message["code"]))
        if ended:
            self._replace_warm()

    def _forked(self, job: QueuedJob, message: Message) -> None:
        job.runner = message["pid"], message["start_time"]
        self._tell(job, {"started": job.runner})
        if job.cancelled:
            job.kill()

    def _runner_ended(self, job: QueuedJob, code: int) -> None:
        if job.report is not None:
            self._on_report(job)  # its last words may still be there
        if job.number not in self._jobs:
            return
        if job.cancelled:
            self._conclude(job, {"verdict": "cancelled"})
        else:
            how = f"was killed by {name_of_signal(-code)}" if code < 0 else f"ended itself with code {code}"
            self._conclude(job, {"verdict": "died", "how": how})

    def _replace_warm(self) -> None:
        """Start another warm process, since it is gone and its runners with it, for the jobs that still wait."""
        self._selector.unregister(self._warm.channel)
        reason = f"the daemon's warm process {self._warm.ended()}"
        for job in list(self._jobs.values()):
            if not job.is_queued:
                self._conclude(job, {"verdict": "lost", "reason": reason})
        self._monitor.forget()
        if self._warm.fails_to_start:
            raise DaemonError(f"the warm process does not start; see {self._place.log}")
        if self._jobs:
            self._warm_up()

    def _give_up_warming(self) -> None:
        """Send waiting clients away from a warm process that hangs, on a file system that does not answer, say."""
        if self._warm.seconds_not_ready < WARM_SECONDS:
            return
        reason = f"the daemon's warm process has not been ready for {WARM_SECONDS:.0f} s"
        for job in [job for job in self._jobs.values() if job.is_queued]:
            self._conclude(job, {"verdict": "lost", "reason": reason})
        self._warm.kill()

    def _give_up_forking(self) -> None:
        """Send clients away from processes that somebody stopped, or that hang for another reason."""
        now = time.monotonic()
        jobs = [job for job in self._jobs.values() if not job.is_queued]
        hung = [job for job in jobs if job.runner is None and now - job.asked_at > FORK_SECONDS]
        if hung:
            self._warm.kill()  # first, so that it does not fork after all
        for job in hung:
            reason = f"the daemon's warm process did not fork for {FORK_SECONDS:.0f} s"
            self._conclude(job, {"verdict": "lost", "reason": reason})

    # -- the rest --------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            self._wake_writer.send(b"\0")

    def _on_wake(self) -> None:
        with suppress(BlockingIOError):
            received = self._wake_reader.recv(4096)
            number = next((n for n in received if n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)), None)
            if number is not None:
                raise Stop(f"the daemon was stopped by {signal.Signals(number).name}")

    def _beat(self) -> None:
        now = time.monotonic()
        for job in list(self._jobs.values()):
            if now - job.told_at >= BEAT_SECONDS:
                job.told_at = now
                if job.seconds_stopped() > STOPPED_SECONDS:
                    job.kill()
                beat = {"beat": True, "waits_for": self._why_waiting(job), "regularizing": job.regularizing}
                self._tell(job, beat)

    def _why_waiting(self, job: QueuedJob) -> str | None:
        if not job.is_queued and not job.wants_back:
            return None
        if not self._warm.ready:
            return "the daemon is importing what it needs"
        others = [o.describe() for o in self._jobs.values() if o.occupies_device and o is not job]
        return f"busy with {'; '.join(others)}" if others else None

    def _status(self) -> Message:
        jobs = list(self._jobs.values())
        return {
            "pid": os.getpid(),
            "version": extrecon.__version__,
            "python": self._identity["python"],
            "socket": str(self._place.socket),
            "seconds_up": time.monotonic() - self._idleness.began,
            "idle_seconds": 0.0 if jobs else self._idleness.seconds,
            "ends_after_idle_seconds": self._idleness.limit_seconds,
            "served": self._served,
            "warm": self._warm.describe(),
            "running": [job.describe() for job in jobs if not job.is_queued],
            "queued": [job.label for job in jobs if job.is_queued],
            "watching": self._monitor.describe(),
        }

    def _end(self, verdict: Message) -> None:
        """Stop all work, tell who waits, and leave nothing behind."""
        self._listener.close()
        for job in list(self._jobs.values()):
            job.kill()
        self._warm.stop()
        for job in list(self._jobs.values()):
            job.remove_temporary_files()
            self._answer(job.client, verdict)
        self._monitor.stop()
        self._place.clear()


def _last_words(message: Message) -> Message:
    if "lost" in message:
        return {"verdict": "lost", "reason": str(message["lost"])}
    return {"verdict": "done", "code": message["done"]}
