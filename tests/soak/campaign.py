"""Many cases one after the other, counted by fault and outcome."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.soak.case import HANG_SECONDS, Case, copy_template, end_whatever_is_left, make_template
from tests.soak.kinds import Meanwhile, kinds

PLUGINS = Path(__file__).resolve().parents[1] / "plugins"
REGULARIZERS = ("smooth", "identity", "localdeblur")


@dataclass
class Tally:
    """What came out.

    Attributes
    ----------
    outcomes : number of cases by fault and outcome
    violations : a line for each rule that did not hold
    slowest_seconds : of all calls
    """

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    slowest_seconds: float = 0.0

    @property
    def cases(self) -> int:
        """How many cases there were."""
        return sum(self.outcomes.values())

    def table(self) -> str:
        """Return the counts as text."""
        columns = sorted({outcome for _, outcome in self.outcomes})
        rows = sorted({fault for fault, _ in self.outcomes})
        width = max(map(len, rows), default=0)
        lines = [" " * width + "".join(f"{column:>14}" for column in columns)]
        for row in rows:
            lines.append(f"{row:{width}}" + "".join(f"{self.outcomes[row, column]:14d}" for column in columns))
        return "\n".join(lines)


def run_campaign(
    count: int, seed: int, seconds: float = float("inf"), say: Callable[[str], None] = lambda _: None
) -> Tally:
    """Run ``count`` random faults, or as many as fit in ``seconds``; ``seed`` decides on all of them.

    ``say`` gets a line for each rule that did not hold, as it happens.
    """
    tally, faults, began = Tally(), kinds(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ext-", dir="/tmp", ignore_cleanup_errors=True) as place:
        root = Path(place)
        template = make_template(root / "template")
        environ = _environment(root / "run")
        try:
            for number in range(count):
                if time.monotonic() - began > seconds:
                    break
                rng = random.Random(f"{seed} {number}")
                fault = rng.choice(faults)
                case = copy_template(template, root / str(number), rng, environ)
                _choose_options(case)
                found = _run(case, fault.__name__, fault(case), tally)
                for each in found:
                    line = f"seed {seed} case {number} ({fault.__name__}: {case.told}; {case.options}): {each}"
                    tally.violations.append(line)
                    say(line)
                _end_stopped_daemons(root / "run")
                for path in root.glob(f"{number}*"):
                    end_whatever_is_left(path)
                    shutil.rmtree(path, ignore_errors=True)
        finally:
            _end_daemons(root / "run")
    return tally


def _choose_options(case: Case) -> None:
    rng = case.rng
    on_error = rng.choice(("plain",) * 4 + ("fail",))
    case.options = ["--daemon", rng.choice(("auto", "auto", "off")), "--on-error", on_error]
    case.options += ["--apply", rng.choice(("local-search", "always", "always", "never"))]
    case.options += ["--regularizer", rng.choice(REGULARIZERS)]


def _run(case: Case, fault: str, meanwhile: Meanwhile | None, tally: Tally) -> list[str]:
    start = time.monotonic()
    process = case.start()
    try:
        if meanwhile is not None:
            meanwhile(process)
        process.wait(HANG_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    output = case.output()
    seconds = time.monotonic() - start
    tally.slowest_seconds = max(tally.slowest_seconds, seconds)
    tally.outcomes[fault, _outcome(process.returncode, output)] += 1
    found = case.violations(process.returncode, output, seconds)
    return [f"{each}\n{output[-1500:]}" for each in found]


def _outcome(code: int, output: str) -> str:
    if code < 0:
        return "killed"
    if code > 0:
        return "no map"
    if "PLAIN MAP RETURNED" in output:
        return "fallback"
    return "regularized" if "regularized with" in output else "plain"


def _environment(runtime: Path) -> Mapping[str, str]:
    ours = {"EXTRECON_RUNTIME_DIR": str(runtime), "PYTHONPATH": str(PLUGINS), "EXTRECON_IDLE_MINUTES": "2"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EXTRECON_")}
    return {**kept, **ours, "OMP_NUM_THREADS": "1"}


def _end_daemons(runtime: Path) -> None:
    for process in _daemons(runtime):
        with suppress(psutil.Error):
            process.kill()


def _end_stopped_daemons(runtime: Path) -> None:
    """End what a fault has stopped for ever, or the cases after it would go without a daemon."""
    for process in _daemons(runtime):
        with suppress(psutil.Error):
            if process.status() == psutil.STATUS_STOPPED:
                process.kill()


def _daemons(runtime: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            same = process.environ().get("EXTRECON_RUNTIME_DIR") == str(runtime)
            if same and "extrecon.daemon." in " ".join(process.cmdline()):
                yield process
