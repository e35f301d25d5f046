"""The faults: each prepares a case, and may do something while the hook runs."""

from __future__ import annotations

import functools
import os
import resource
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tests.soak.case import PRECIOUS, Case

Meanwhile = Callable[[subprocess.Popen[bytes]], None]
_MOST_DELAY_SECONDS = 1.2

PLUGINS_THAT_MISBEHAVE = (
    "d[:] = -np.roll(d, 5, axis=2); r = R(d)",
    "import sys; sys.exit(3)",
    "raise KeyboardInterrupt",
    "os._exit(7)",
    "os._exit(0)",
    "import time; time.sleep(1e6)",
    "import signal; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 14, 15)]\nwhile True: pass",
    "os.chdir('/'); r = R(smooth(d))",
    "os.kill(os.getpid(), c.random.integers(1, 65))\nimport time; time.sleep(1e6)",
    "os.kill(os.getppid(), 0); os.kill(os.getpid(), 19)",
    "r = R(smooth(d), facts={(1, 2): {3}}, maps={'weight': d, '../x': d})",
    "f = {}; f['f'] = f; r = R(smooth(d), facts=f)",
    "raise ValueError('\\ud800')",
    "r = R(np.full_like(d, np.nan))",
    "r = R(d[:-1])",
    "r = R(d * 1e-60)",
    "r = R(d + 1j)",
    "r = R(np.roll(d, 1, 0))",
    "r = R(d[:, :, ::-1])",
    "os.close(1); os.close(2); r = R(smooth(d))",
    "[os.close(n) for n in range(3, 99) if n % 2]; r = R(smooth(d))",
    "os.closerange(0, 99); r = R(smooth(d))",
    "import threading, time; threading.Thread(target=time.sleep, args=(1e6,)).start(); r = R(smooth(d))",
    "os.fork() or os._exit(0); r = R(smooth(d))",
    "os.fork() or __import__('time').sleep(4) or os._exit(0); raise ValueError('and left a child')",
    "c.progress('x', None); c.progress(None, 'y'); c.progress('z', np.float32('nan')); r = R(smooth(d))",
    "b = np.ones((1 << 20, 1 << 20, 1 << 10))",
    "os.environ.clear(); os.umask(0o777); r = R(smooth(d))",
    "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)); r = R(smooth(d))",
    "raise type('E', (BaseException,), {'__str__': lambda s: 1 / 0})",
    "def f(n): return f(n + 1)\nf(0)",
    "import signal; signal.raise_signal(signal.SIGSEGV)",
    "import sys; sys.setrecursionlimit(70); r = R(smooth(d))",
    "r = R(smooth(d) + 3 * np.random.normal(0, d.std(), d.shape))",
)


def nothing(case: Case) -> Meanwhile | None:
    """No fault: the call must succeed."""
    case.told = "nothing"
    return None


def misbehaving_plugin(case: Case) -> Meanwhile | None:
    """A plugin does one of many bad things."""
    code = case.rng.choice(PLUGINS_THAT_MISBEHAVE)
    case.options += ["--regularizer", "does", "--apply", "always", "--set", f"do={code}"]
    case.told = f"plugin: {code!r}"
    return None


def truncated_file(case: Case) -> Meanwhile | None:
    """One of RELION's files ends at a random byte."""
    path = case.rng.choice(sorted(case.folder.iterdir()))
    content = path.read_bytes()
    length = case.rng.randrange(len(content))
    path.write_bytes(content[:length])
    case.told = f"{path.name} cut to {length} of {len(content)} bytes"
    return None


def flipped_bits(case: Case) -> Meanwhile | None:
    """Some bits of one of RELION's files are flipped: of a map's header, or anywhere in a STAR file."""
    path = case.rng.choice(sorted(case.folder.iterdir()))
    content = bytearray(path.read_bytes())
    reach = 1024 if path.suffix == ".mrc" else len(content)
    places = [case.rng.randrange(reach) for _ in range(case.rng.choice((1, 1, 2, 8)))]
    for place in places:
        content[place] ^= 1 << case.rng.randrange(8)
    path.write_bytes(content)
    case.told = f"{path.name}: bits flipped in bytes {places}"
    return None


def signalled_hook(case: Case) -> Meanwhile | None:
    """The hook gets a signal at a random moment."""
    number = case.rng.choice((signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL))
    delay = case.rng.uniform(0, _MOST_DELAY_SECONDS)
    case.killed = number in (signal.SIGKILL, signal.SIGQUIT)
    case.mute = True  # it may not even have started
    case.told = f"{signal.Signals(number).name} to the hook after {delay:.3f} s"

    def send(process: subprocess.Popen[bytes]) -> None:
        time.sleep(delay)
        process.send_signal(number)

    return send


def terminated_group(case: Case) -> Meanwhile | None:
    """A batch system's way: SIGTERM to all, and SIGKILL a moment later."""
    delay = case.rng.uniform(0, _MOST_DELAY_SECONDS)
    case.popen["start_new_session"] = True
    case.killed = True
    case.told = f"SIGTERM to the hook's group after {delay:.3f} s, then SIGKILL"

    def send(process: subprocess.Popen[bytes]) -> None:
        time.sleep(delay)
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            time.sleep(0.2)

    return send


def killed_or_stopped_helper(case: Case) -> Meanwhile | None:
    """A process that works for the hook is killed, crashes, or is stopped for ever."""
    number = case.rng.choice((signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGSTOP, signal.SIGTERM, 40))
    delay, pick = case.rng.uniform(0, _MOST_DELAY_SECONDS), case.rng.random()
    case.told = f"signal {int(number)} to a helper after {delay:.3f} s"

    def send(process: subprocess.Popen[bytes]) -> None:
        time.sleep(delay)
        helpers = _helpers_of(process, case.environ)
        if helpers:
            with suppress(psutil.Error):
                helpers[int(pick * len(helpers))].send_signal(number)

    return send


def _helpers_of(process: subprocess.Popen[bytes], environ: dict[str, str]) -> list[psutil.Process]:
    """Return the hook's own children and the daemon's processes, by process number."""
    found: set[psutil.Process] = set()
    with suppress(psutil.Error):
        found |= set(psutil.Process(process.pid).children(recursive=True))
    for other in psutil.process_iter():
        with suppress(psutil.Error):
            if "extrecon.daemon." in " ".join(other.cmdline()):
                same = other.environ().get("EXTRECON_RUNTIME_DIR") == environ["EXTRECON_RUNTIME_DIR"]
                found |= {other} if same else set()
    return sorted(found, key=lambda each: each.pid)


def limited(case: Case) -> Meanwhile | None:
    """The hook runs under a limit of memory, file size, open files or processor time."""
    rng = case.rng
    limits = (
        (resource.RLIMIT_AS, rng.randrange(20_000_000, 3_000_000_000)),
        (resource.RLIMIT_FSIZE, rng.randrange(1, 90_000)),
        (resource.RLIMIT_NOFILE, rng.randrange(3, 40)),
        (resource.RLIMIT_CPU, 1),
    )
    which, value = rng.choice(limits)
    case.popen["preexec_fn"] = functools.partial(resource.setrlimit, which, (value, value))
    case.told = f"limit {which} of {value}"
    # The kernel kills what exceeds its processor time, the hook itself included; and a program may not even start.
    case.killed = which == resource.RLIMIT_CPU
    case.mute = True
    return None


def inherited_signals(case: Case) -> Meanwhile | None:
    """Signals are blocked or ignored as the hook starts."""
    blocked = set(case.rng.sample(range(1, 32), 8)) - {signal.SIGKILL, signal.SIGSTOP}
    ignored = set(case.rng.sample(range(1, 32), 4)) - {signal.SIGKILL, signal.SIGSTOP}

    def inherit() -> None:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)

    case.popen["preexec_fn"] = inherit
    case.told = f"signals blocked {sorted(blocked)}, ignored {sorted(ignored)}"
    return None


def odd_environment(case: Case) -> Meanwhile | None:
    """Variables that nobody would set on purpose."""
    name, value = case.rng.choice(
        (
            ("EXTRECON_IDLE_MINUTES", case.rng.choice(("0", "-1", "nan", "x"))),
            ("EXTRECON_RUNTIME_DIR", case.rng.choice(("relative", "", "/nowhere/at/all", "/dev/null"))),
            ("A_LONG_ONE", "x" * case.rng.randrange(30_000, 120_000)),
            ("OMP_NUM_THREADS", case.rng.choice(("0", "-3", "many", "1,2,3"))),
            ("EXTRECON_THREADS", "1"),
            ("LANG", "tlh_QO.KOI8-Q"),
            ("TMPDIR", "/nowhere"),
            ("HOME", ""),
        )
    )
    case.environ[name] = value
    case.told = f"{name}={value[:20]}"
    return None


def full_disk(case: Case) -> Meanwhile | None:
    """The job lies on a file system with little or no room left."""
    kilobytes = case.rng.randrange(0, 200)
    used = sum(path.stat().st_size // 4096 + 1 for path in case.folder.iterdir()) * 4
    inner = (
        f"mount -t tmpfs -o size={used + kilobytes + 8}k,nr_inodes={case.rng.randrange(14, 40)} soak {{new}} && "
        'cp {old}/* {new}/ && cd {new} && "$@"; code=$?; rm -f {old}/*; cp -a {new}/. {old}/; exit $code'
    )
    new = case.folder.with_name(case.folder.name + "-disk")
    new.mkdir()
    script = inner.format(new=shlex.quote(str(new)), old=shlex.quote(str(case.folder)))
    case.before = ["unshare", "-m", "sh", "-c", script, "sh"]
    case.told = f"{kilobytes} kB left on the disk"
    return None


def another_mount_namespace(case: Case) -> Meanwhile | None:
    """Another container's project at the same path: the daemon outside must not touch what lies there."""
    twin = case.folder.with_name(case.folder.name + "-twin")
    shutil.copytree(case.folder, twin)
    old, new = (shlex.quote(str(path)) for path in (case.folder, twin))
    case.before = ["unshare", "-m", "sh", "-c", f'mount --bind {new} {old} && cd {old} && "$@"', "sh"]
    case.told = "in another mount namespace"
    case.working_directory = case.untouched = case.folder
    (case.folder / PRECIOUS).write_text("precious")
    case.folder = twin  # where the results must be
    return None


def can_unshare() -> bool:
    """Tell whether this user may make mount namespaces."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


def kinds() -> Sequence[Callable[[Case], Meanwhile | None]]:
    """Return the faults that can be had here, the common ones more than once."""
    found = [nothing, truncated_file, flipped_bits, flipped_bits, odd_environment, inherited_signals]
    found += [misbehaving_plugin] * 4 + [signalled_hook] * 2 + [killed_or_stopped_helper] * 3
    found += [terminated_group, limited]
    if can_unshare() and Path("/proc/self/ns/mnt").exists():
        found += [full_disk, another_mount_namespace]
    return found
