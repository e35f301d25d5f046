from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from extrecon.cli.compare_shown import ended_by_signals
from extrecon.system.processes import STOPPING_SIGNALS, ignore_stopping_signals, signals_handled


@pytest.fixture(autouse=True)
def _handlers_put_back() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in STOPPING_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_each_signal_that_stops_is_heard_and_its_handler_put_back() -> None:
    before = [signal.getsignal(number) for number in STOPPING_SIGNALS]
    heard = []
    with signals_handled(lambda number, _: heard.append(number)):
        for number in STOPPING_SIGNALS:
            signal.raise_signal(number)
    assert heard == list(STOPPING_SIGNALS)
    assert [signal.getsignal(number) for number in STOPPING_SIGNALS] == before


def test_what_was_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    heard = []
    with signals_handled(lambda number, _: heard.append(number)):
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGTERM)
    assert heard == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_second_signal_does_not_break_off_the_stopping() -> None:
    heard = []

    def stop(number: int, _: object) -> None:
        ignore_stopping_signals()
        heard.append(number)

    with signals_handled(stop):
        for number in STOPPING_SIGNALS:
            signal.raise_signal(number)
    assert heard == [STOPPING_SIGNALS[0]]


def test_a_comparison_under_nohup_outlives_its_terminal() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with ended_by_signals():
        signal.raise_signal(signal.SIGHUP)
    with pytest.raises(SystemExit) as left, ended_by_signals():
        signal.raise_signal(signal.SIGQUIT)
    assert left.value.code == 128 + signal.SIGQUIT


def test_a_program_that_is_done_can_no_longer_be_stopped() -> None:
    program = (
        "import signal, os\n"
        "from extrecon.system.processes import ends_with_what_it_does, signals_handled\n"
        "ends_with_what_it_does()\n"
        "with signals_handled(lambda *_: None): pass\n"
        "signal.raise_signal(signal.SIGTERM)\n"
        "os._exit(3)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, env=os.environ).returncode == 3
