"""Waiting for the other half: both orders, nobody coming, a death, and two hosts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extrecon.call import halves
from extrecon.call.halves import HalfExchange, Whereabouts
from extrecon.errors import RegularizerError
from extrecon.fourier.compute import cpu
from extrecon.fourier.shells import Shells, correlation, power
from extrecon.maps import read_map
from tests.jobs import BOX, JobFiles, blobs, write_job

HOOK = str(Path(sys.executable).with_name("extrecon-hook"))


def both(tmp_path: Path) -> list[JobFiles]:
    noisy = [blobs() + 0.02 * np.random.default_rng(half).normal(size=(BOX,) * 3) for half in (1, 2)]
    return [
        write_job(tmp_path, name=f"run_it005_half{half}_class001", density=density.astype(np.float32))
        for half, density in enumerate(noisy, 1)
    ]


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def hook(files: JobFiles, *options: str) -> subprocess.Popen[bytes]:
    words = [HOOK, "--regularizer", "both", "--gate-wait", "0", "--half-wait", "60", *options, files.star.name]
    return subprocess.Popen(words, cwd=files.folder, stdout=subprocess.PIPE)


def record(files: JobFiles) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files.record.read_text())
    return found


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_each_half_gets_the_others_plain_map(order: tuple[int, int], plugins: Path, tmp_path: Path) -> None:
    files = both(tmp_path)
    first = hook(files[order[0]])
    folder = tmp_path / "run_it005_class001_extrecon_halves"
    wait_for(folder.exists)
    second = hook(files[order[1]])
    for process in (first, second):
        process.communicate(timeout=120)
        assert process.returncode == 0
    plain = [read_map(one.beside("_plain.mrc")).density for one in files]
    for index, one in enumerate(files):
        assert record(one)["outcome"] == "regularized"
        assert record(one)["other_half"]["waited_seconds"] >= 0
        result = read_map(one.result).density
        assert not np.array_equal(result, plain[index])
        mixed = 0.75 * plain[index] + 0.25 * plain[1 - index]
        assert np.corrcoef(result.ravel(), mixed.ravel())[0, 1] > 0.999
    assert not folder.exists()


def test_a_half_that_never_arrives_means_the_plain_map(plugins: Path, tmp_path: Path) -> None:
    files = both(tmp_path)[0]
    hook(files, "--half-wait", "0.5").communicate(timeout=60)
    assert record(files)["outcome"] == "fallback"
    assert "half2 did not come within 0.5 s" in record(files)["reason"]
    assert files.result.is_file()
    assert not list(tmp_path.glob("*_extrecon_halves"))


def test_a_classified_map_has_no_other_half(plugins: Path, tmp_path: Path) -> None:
    files = write_job(tmp_path, name="run_it005_class001", split=0)
    hook(files, "--apply", "always").communicate(timeout=60)
    assert record(files)["outcome"] == "fallback"
    assert "this call is not one of two halves" in record(files)["reason"]


def test_the_joined_map_stays_plain_without_alarm(plugins: Path, tmp_path: Path) -> None:
    files = write_job(tmp_path, name="run_it005_class001")
    hook(files).communicate(timeout=60)
    told = record(files)
    assert told["outcome"] == "plain"
    assert "no regularized form beside it, because both needs two half-maps" in told["reason"]
    assert told["warnings"] == []


def test_amplitudes_by_the_other_half(plugins: Path, tmp_path: Path) -> None:
    files = both(tmp_path)
    running = [hook(one, "--regularizer", "smooth", "--amplitudes", "other-half") for one in files]
    for process in running:
        process.communicate(timeout=120)
        assert process.returncode == 0
    shells = Shells(BOX, cpu(1))
    plain = [shells.spectrum(read_map(one.beside("_plain.mrc")).density) for one in files]
    shared = correlation(plain[0], plain[1], shells)
    for one in files:
        told = record(one)
        assert (told["outcome"], told["warnings"]) == ("regularized", ["smoothed"])
        assert told["other_half"]["waited_seconds"] >= 0
        result = power(shells.spectrum(read_map(one.result).density), shells)
        assert (result[2:6] < 1.05 * shared[2:6]).all()
        assert (result[2:6] > 0.5 * shared[2:6]).all()  # though the regularizer multiplied by 1e8
    assert not (tmp_path / "run_it005_class001_extrecon_halves").exists()


def test_a_regularizer_may_declare_that_amplitudes_are_by_the_other_half(plugins: Path, tmp_path: Path) -> None:
    files = both(tmp_path)
    running = [hook(one, "--regularizer", "by-other") for one in files]
    for process in running:
        process.communicate(timeout=120)
        assert process.returncode == 0
    for one in files:
        assert record(one)["treatment"]["amplitudes"] == "by the other half"
        assert record(one)["other_half"]["crossed"] == "one number a shell"
    hook(files[0], "--regularizer", "by-other", "--amplitudes", "half-map").communicate(timeout=60)
    assert "amplitudes" not in record(files[0])["treatment"]
    assert record(files[0])["other_half"] is None


def test_without_the_other_half_amplitudes_are_the_half_maps_own(plugins: Path, tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    alone, classified = both(tmp_path)[0], write_job(tmp_path / "class", name="run_it005_class001", split=0)
    for files, told in (
        (alone, ["amplitudes are by the half-map itself: half2 did not come within 0.5 s"]),
        (classified, []),
    ):
        asked = ("--regularizer", "smooth", "--amplitudes", "other-half", "--half-wait", "0.5")
        hook(files, *asked).communicate(timeout=60)
        assert record(files)["outcome"] == "regularized"
        assert [text for text in record(files)["warnings"] if "amplitudes" in text] == told
        scales = record(files)["safeguards"]["shell_scale"]
        hook(files, "--regularizer", "smooth", "--amplitudes", "half-map").communicate(timeout=60)
        assert record(files)["safeguards"]["shell_scale"] == scales


def offer_and_wait(folder: Path, half: int, seconds: float, where: Whereabouts | None = None) -> str:
    mine = folder.parent / f"plain{half}.mrc"
    mine.write_text(f"map of half{half}")
    with HalfExchange(folder, half, where) as exchange:
        exchange.offer(mine)
        return exchange.await_other(seconds).read_text()


def test_what_an_earlier_attempt_left_is_not_taken_for_the_other_half(tmp_path: Path) -> None:
    folder = tmp_path / "halves"
    folder.mkdir()
    # A killed attempt left a complete status, by a process of a past boot, and an old map.
    (folder / "half2.mrc").write_text("old map")
    stale = {"token": "old", "seen": "older", "offers": True, "state": "at work", "pid": 1, "host": "h", "beat": 9}
    (folder / "half2.json").write_text(json.dumps(stale))
    with pytest.raises(RegularizerError, match="half2 did not come within"):
        offer_and_wait(folder, 1, 0.5)
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(offer_and_wait, folder, 1, 30)
        wait_for((folder / "half1.json").exists)
        late = pool.submit(offer_and_wait, folder, 2, 30)
        assert waiting.result() == "map of half2"
        assert late.result() == "map of half1"
    assert not folder.exists()


def test_a_half_that_dies_is_not_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "halves"
    program = (
        "import sys, time; from pathlib import Path; from extrecon.call.halves import HalfExchange\n"
        "with HalfExchange(Path(sys.argv[1]), 2) as exchange: exchange.await_other(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", program, str(folder)], stderr=subprocess.DEVNULL)
    with HalfExchange(folder, 1) as exchange, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(exchange.await_other, 60)
        wait_for(lambda: exchange._other().get("seen") == exchange._token)
        other.kill()
        other.wait()
        with pytest.raises(RegularizerError, match=f"half2 died: process {other.pid} is gone"):
            waiting.result()


def test_a_half_that_gives_up_is_not_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "halves"

    def fail() -> None:
        with HalfExchange(folder, 2) as exchange:
            with pytest.raises(RegularizerError):
                exchange.await_other(1.0)
            raise ValueError("as a regularizer might")

    with ThreadPoolExecutor(1) as pool, HalfExchange(folder, 1) as exchange:
        failing = pool.submit(fail)
        with pytest.raises(RegularizerError, match="half2 gave up"):
            exchange.await_other(30)
        with pytest.raises(ValueError, match="as a regularizer"):
            failing.result()


@contextmanager
def two_hosts(tmp_path: Path, delay: float) -> Iterator[tuple[Path, Path]]:
    """Yield one folder as two hosts see it: what one writes, the other sees a while later."""
    views = tmp_path / "host1" / "halves", tmp_path / "host2" / "halves"
    for view in views:
        view.mkdir(parents=True)
    ended = threading.Event()

    def carry() -> None:
        while not ended.wait(delay):
            for half, (source, target) in enumerate((views, views[::-1]), 1):
                # A network file system shows a map before, or with, the status that was written after it.
                for name in (f"half{half}.mrc", f"half{half}.json"):
                    if (source / name).exists() and target.exists():
                        shutil.copy(source / name, target / f".{name}")
                        (target / f".{name}").replace(target / name)

    thread = threading.Thread(target=carry)
    thread.start()
    try:
        yield views
    finally:
        ended.set()
        thread.join()


def far(name: str) -> Whereabouts:
    return Whereabouts(f"{name} boot", 1, 1)


def test_two_hosts_exchange_their_halves(tmp_path: Path) -> None:
    with two_hosts(tmp_path, 0.2) as views, ThreadPoolExecutor(2) as pool:
        found = [pool.submit(offer_and_wait, views[half - 1], half, 30, far(f"host{half}")) for half in (1, 2)]
        assert [one.result() for one in found] == ["map of half2", "map of half1"]


def test_a_host_that_falls_silent_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halves, "SILENT_SECONDS", 1.5)
    folder = tmp_path / "halves"
    with HalfExchange(folder, 1, far("host1")) as exchange:
        told = {"token": "b", "seen": exchange._token, "state": "at work", "beat": 3, **vars(far("host2"))}
        (folder / "half2.json").write_text(json.dumps(told))
        begin = time.monotonic()
        with pytest.raises(RegularizerError, match=r"half2 has been silent for \d+ s on host2"):
            exchange.await_other(60)
        assert time.monotonic() - begin > 1.0


def test_what_earlier_iterations_left_is_removed(plugins: Path, tmp_path: Path) -> None:
    left = tmp_path / "run_it003_class001_extrecon_halves"
    others = [tmp_path / f"run_it{n}_extrecon_halves" for n in ("003_class002", "007_class001")]
    for folder in (left, *others):
        folder.mkdir()
        (folder / "half1.mrc").touch()
    hook(both(tmp_path)[0], "--half-wait", "0.1").communicate(timeout=60)
    assert not left.exists()
    assert all(folder.exists() for folder in others)
