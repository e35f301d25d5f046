"""Regularizers that behave in every way a plugin can, good and bad."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import scipy.ndimage

from extrecon.maps import HalfMap
from extrecon.regularizer import Context, Regularized, Regularizer, Treatment
from extrecon.settings import setting


class _Plugin(Regularizer):
    name: ClassVar[str] = "test"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "For tests"

    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:
        raise NotImplementedError


@dataclass(frozen=True)
class SmoothSettings:
    sigma: float = setting(0.7, "Width.", unit="px", minimum=0.0, maximum=9.0)


@dataclass(frozen=True)
class CodeSettings:
    do: str = setting("", "Python code")


class Smooth(_Plugin):
    """A real one: smooths, at 1e8 times the grey scale, and keeps what it took away."""

    settings_type: ClassVar[type[Any]] = SmoothSettings

    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:
        smooth = scipy.ndimage.gaussian_filter(half_map.density, context.settings.sigma, mode="wrap")
        return Regularized(1e8 * smooth, {"told": 1}, {"removed": half_map.density - smooth}, ["smoothed"])


class Sharpens(_Plugin):
    """Sharpens by a B factor of -80 Å²."""

    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:
        n = half_map.box
        squares = (np.fft.fftfreq(n) / half_map.pixel_size_angstrom) ** 2
        gain = np.exp(80.0 / 4 * (squares[:, None, None] + squares[:, None] + squares))
        return Regularized(np.fft.ifftn(np.fft.fftn(half_map.density) * gain).real)


class ByOther(Smooth):
    """Would have the other half tell how strong each shell is."""

    treatment_inside_refinement: ClassVar[Treatment] = Treatment(amplitudes="other-half")


class Raises(_Plugin):
    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:
        raise ValueError("this plugin cannot")


class ReturnsNan(_Plugin):
    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:
        density = half_map.density.copy()
        density[0, 0, 0] = np.nan
        return Regularized(density)


class WrongShape(_Plugin):
    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:
        return Regularized(half_map.density[:-2, :-2, :-2])


class Shifts(_Plugin):
    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:
        return Regularized(np.roll(half_map.density, 1, axis=2))


class Killed(_Plugin):
    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class Crashes(_Plugin):
    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:
        os.kill(os.getpid(), signal.SIGSEGV)
        raise AssertionError


class Torch(_Plugin):
    """Computes with torch, on weights that were loaded before the fork."""

    def __init__(self) -> None:
        self._layer: Any = None

    def prepare(self, settings: Any) -> Sequence[Path]:
        import torch

        torch.manual_seed(1)
        self._layer = torch.nn.Conv3d(1, 64, 5, padding=2)
        with torch.no_grad():
            self._layer.weight.fill_(1 / 125)
        return ()

    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:
        import torch

        if self._layer is None:
            self.prepare(None)
        with torch.no_grad():
            smooth = self._layer(torch.from_numpy(half_map.density)[None, None]).mean(dim=(0, 1))
        return Regularized(smooth.numpy(), {"threads": torch.get_num_threads()})


class LeavesAChild(_Plugin):
    """Is killed, and something that it started lives on with everything it had open."""

    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:
        if os.fork() == 0:
            time.sleep(4)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class Sleeps(_Plugin):
    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:
        Path("asleep").touch()
        time.sleep(60)
        raise AssertionError


class Greedy(_Plugin):
    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:
        return Regularized(np.ones((1 << 20, 1 << 20, 1 << 10)))


class NeedsBoth(_Plugin):
    """A real one: leans a little towards the other half."""

    needs_both_halves: ClassVar[bool] = True

    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:
        assert context.other_half is not None
        return Regularized(0.75 * half_map.density + 0.25 * context.other_half.density)


class Waits(_Plugin):
    """Says that it is at work, and goes on when a file tells it to."""

    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:
        Path("waiting").write_text(str(os.getpid()))
        while not Path("go").exists():
            time.sleep(0.02)
        return Regularized(scipy.ndimage.gaussian_filter(half_map.density, 0.7, mode="wrap"))


class Tells(_Plugin):
    """Tells what it sees of the process it runs in."""

    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:
        print("printed by a plugin")  # noqa: T201  as plugins do
        umask = os.umask(0)
        os.umask(umask)
        facts = {
            "folder": str(Path.cwd()),
            "umask": umask,
            "compute": context.compute.name,
            "cores": sorted(os.sched_getaffinity(0)),
            "variable": os.environ.get("A_VARIABLE"),
        }
        return Regularized(half_map.density, facts)


class Weighted(_Plugin):
    """Has weights: loaded ahead of time if somebody asks for it, else when they are needed."""

    def __init__(self) -> None:
        self._weight: float | None = None
        self._prepared_by = 0

    def prepare(self, settings: Any) -> Sequence[Path]:
        path = Path(__file__).with_name("weights.txt")
        self._weight = float(path.read_text())
        self._prepared_by = os.getpid()
        return [path]

    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:
        warm = self._weight is not None
        if not warm:
            self.prepare(None)
        return Regularized(half_map.density, {"weight": self._weight, "warm": warm, "by": self._prepared_by})


class Masked(_Plugin):
    uses_mask: ClassVar[bool] = True

    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:
        assert context.mask is not None
        return Regularized(half_map.density * context.mask, {"inside": float(context.mask.mean())})


class Does(_Plugin):
    """Does what it is told, with half-map h, its density d, context c, and itself; leaves its answer in r."""

    settings_type: ClassVar[type[Any]] = CodeSettings

    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:
        names: dict[str, Any] = {
            "h": half_map,
            "d": half_map.density,
            "c": context,
            "R": Regularized,
            "np": np,
            "os": os,
            "self": self,
            "smooth": lambda d: scipy.ndimage.gaussian_filter(d, 0.7, mode="wrap"),
        }
        exec(context.settings.do, names)
        answer: Regularized = names["r"]
        return answer


class TakesTurns(_Plugin):
    """Spoils its map in place in one iteration, ends the program in the next, and never returns in the third."""

    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:
        newest = max(Path("job").glob("run_it*_external_reconstruct.star"), key=lambda path: path.stat().st_mtime)
        turn = int(newest.name.partition("_it")[2][:3]) % 3
        if turn == 0:
            half_map.density[:] = -np.roll(half_map.density, 5, axis=2)
            return Regularized(half_map.density)
        if turn == 1:
            raise SystemExit(3)
        time.sleep(1e6)
        raise AssertionError


class ExitsWhenLoaded(_Plugin):
    def __init__(self) -> None:
        raise SystemExit(3)


class ChecksBadly(_Plugin):
    def check(self, settings: Any) -> None:
        raise ZeroDivisionError("its check is broken")


class _Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("this has no text")

    def __float__(self) -> float:
        raise RuntimeError("this has no value")


class OddProgress(_Plugin):
    """Reports its progress with whatever comes to its mind."""

    def regularize(self, half_map: HalfMap, context: Context) -> Regularized:
        told: Any = context.progress
        odd: tuple[Any, ...] = (None, np.float32(0.5), np.nan, np.inf, "half", [], 10**400, 1j)
        for number, fraction in enumerate(odd):
            told(f"stage {number}", fraction)
        for stage in (None, 7, "\udc80", "x" * 1_000_000, "load regularizer", _Unprintable()):
            told(stage, _Unprintable())
        return Regularized(scipy.ndimage.gaussian_filter(half_map.density, 0.7, mode="wrap"))
