"""Fixtures that more than one room's tests use."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from extrecon.system.processes import STOPPING_SIGNALS

SHARED_FIXTURES = Path(__file__).resolve().parents[2] / "shared" / "fixtures"


@pytest.fixture
def shared_fixtures() -> Path:
    """Files that other programs wrote, kept beside the repository; tests that need them skip without."""
    if not SHARED_FIXTURES.is_dir():
        pytest.skip("the folder shared/fixtures is not beside the repository")
    return SHARED_FIXTURES


@pytest.fixture
def relion_programs() -> None:
    """Skip where RELION is not installed."""
    if shutil.which("relion_refine") is None:
        pytest.skip("RELION is not installed")


@pytest.fixture(scope="session", autouse=True)
def _signals_as_in_a_terminal() -> Iterator[None]:
    """Hear what shells have background jobs ignore: programs that the tests start would ignore it too."""
    ignored = [n for n in STOPPING_SIGNALS if signal.getsignal(n) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope="session", autouse=True)
def _no_daemon_unless_asked_for() -> Iterator[None]:
    """Keep the tests from starting daemons, and from finding the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXTRECON_DAEMON", "off")
        patch.setenv("EXTRECON_RUNTIME_DIR", "/nowhere/extrecon")
        yield


@pytest.fixture(scope="session", autouse=True)
def _a_regularizer_that_works_alone() -> Iterator[None]:
    """Most tests call the hook for one half, for which the default would wait: it asks the other half's map."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXTRECON_REGULARIZER", "localdeblur")
        yield


PLUGINS = Path(__file__).resolve().parent / "plugins"


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the test regularizers installed, for this process and for programs it starts."""
    monkeypatch.syspath_prepend(str(PLUGINS))
    monkeypatch.setenv("PYTHONPATH", str(PLUGINS))
    return PLUGINS
