"""The checks offered to authors of regularizers: each passes what is well and finds what is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from extrecon import testing
from extrecon.maps import HalfMap
from extrecon.regularizer import Context, Regularized, Regularizer, Treatment
from extrecon.settings import setting

Work = Callable[[HalfMap, Context[Any]], npt.NDArray[Any]]


def made(work: Work, **attributes: Any) -> Regularizer:
    """Return a regularizer that does this work."""

    class Made(Regularizer):
        name, version, summary = "made", "1", "For a test"

        def regularize(self, half_map: HalfMap, context: Context) -> Regularized:
            return Regularized(work(half_map, context))

    for name, value in attributes.items():
        setattr(Made, name, value)
    return Made()


def smooth(half_map: HalfMap, _context: Context[Any]) -> npt.NDArray[Any]:
    k = np.fft.fftfreq(half_map.box)
    squared = k[:, None, None] ** 2 + k[:, None] ** 2 + np.fft.rfftfreq(half_map.box) ** 2
    return np.fft.irfftn(
        np.fft.rfftn(half_map.density) * np.exp(-8 * squared), s=half_map.density.shape, axes=(0, 1, 2)
    )


CLAIMS = (
    testing.check_keeps_its_input,
    testing.check_gray_scale,
    testing.check_rotations,
    testing.check_translations,
    testing.check_is_linear,
)


@pytest.mark.parametrize("check", [*testing.CHECKS, *CLAIMS])
def test_a_filter_by_shells_passes_all(check: Callable[..., None]) -> None:
    check(made(smooth))


class Remembers:
    """Adds what it saw before."""

    def __init__(self) -> None:
        self.last: npt.NDArray[np.float32] = np.zeros(1, np.float32)

    def __call__(self, half_map: HalfMap, _context: Context[Any]) -> npt.NDArray[Any]:
        result = half_map.density + self.last
        self.last = 0.01 * half_map.density
        return result


def own_noise(seed: int | None, amount: float) -> Work:
    def work(half_map: HalfMap, _context: Context[Any]) -> npt.NDArray[Any]:
        noise: npt.NDArray[Any] = np.random.default_rng(seed).normal(size=half_map.density.shape)
        noise *= amount * half_map.density.std()
        noise += half_map.density
        return noise

    return work


def from_the_mask(half_map: HalfMap, context: Context[Any]) -> npt.NDArray[Any]:
    """Invent the same density in both halves, wherever the mask says particle."""
    assert context.mask is not None
    texture: npt.NDArray[Any] = np.random.default_rng(1).normal(size=context.mask.shape)
    texture *= half_map.density.std() * context.mask
    texture += half_map.density
    return texture


def other(half_map: HalfMap, context: Context[Any]) -> npt.NDArray[Any]:
    return half_map.density + (0 if context.other_half is None else context.other_half.density)


def spoilt(half_map: HalfMap, _context: Context[Any]) -> npt.NDArray[Any]:
    half_map.density[...] *= 2
    return half_map.density


def with_nan(half_map: HalfMap, _context: Context[Any]) -> npt.NDArray[Any]:
    half_map.density[0, 0, 0] = np.nan
    return half_map.density


def along_x(half_map: HalfMap, _context: Context[Any]) -> npt.NDArray[Any]:
    return half_map.density + 0.2 * (np.roll(half_map.density, 1, 2) + np.roll(half_map.density, -1, 2))


def in_a_fixed_place(half_map: HalfMap, _context: Context[Any]) -> npt.NDArray[Any]:
    half_map.density[: half_map.box // 2] *= 0.8
    return half_map.density


BAD: list[tuple[Callable[..., None], Regularizer, str]] = [
    (testing.check_settings, made(smooth, summary=""), "summary is missing"),
    (testing.check_result, made(lambda h, _: h.density[1:]), "of shape"),
    (testing.check_result, made(with_nan), "NaN"),
    (testing.check_result, made(lambda h, _: np.zeros_like(h.density)), "is constant"),
    (testing.check_repeats, made(own_noise(None, 0.01)), "context.random"),
    (testing.check_nothing_shifts, made(lambda h, _: np.roll(h.density, 1, 0)), "shifted by 1.00 px"),
    (testing.check_halves_stay_independent, made(Remembers()), "kept between calls"),
    (testing.check_halves_stay_independent, made(other), "needs_both_halves is False"),
    (testing.check_noise_gains_no_agreement, made(own_noise(5, 1.0)), "noise alone agrees"),
    (testing.check_noise_gains_no_agreement, made(own_noise(5, 0.35)), "mean FSC 0"),
    (testing.check_noise_gains_no_agreement, made(from_the_mask, uses_mask=True), "noise alone agrees"),
    (testing.check_works_in_refinement, made(lambda h, _: h.density[::-1]), "the plain map"),
    (testing.check_keeps_its_input, made(spoilt), "changed the density"),
    (testing.check_gray_scale, made(lambda h, _: h.density**3), "1000 times as large"),
    (testing.check_rotations, made(along_x), "turned by 90°"),
    (testing.check_translations, made(in_a_fixed_place), "shifted by 1 px"),
    (testing.check_is_linear, made(lambda h, _: np.abs(h.density)), "sum of two half-maps"),
]


@pytest.mark.parametrize(("check", "regularizer", "told"), BAD)
def test_a_check_finds_what_it_is_about(check: Callable[..., None], regularizer: Regularizer, told: str) -> None:
    with pytest.raises(testing.CheckError, match=told):
        check(regularizer)


def test_a_setting_must_accept_its_default() -> None:
    @dataclass(frozen=True)
    class Settings:
        power: float = setting(5.0, "Exponent.", maximum=4.0)

    with pytest.raises(Exception, match="largest value allowed"):
        testing.check_settings(made(smooth, settings_type=Settings))


def test_refusing_noise_is_well_but_not_everything() -> None:
    def refuse(half_map: HalfMap, context: Context[Any]) -> npt.NDArray[Any]:
        if context.half_map_fsc is None or context.half_map_fsc[1:].mean() < 0.3:
            raise ValueError("nothing to see")
        return half_map.density

    def refuse_all(half_map: HalfMap, _context: Context[Any]) -> npt.NDArray[Any]:
        raise ValueError("nothing to see")

    testing.check_noise_gains_no_agreement(made(refuse))
    with pytest.raises(ValueError, match="nothing to see"):
        testing.check_noise_gains_no_agreement(made(refuse_all))


def test_settings_and_wishes_are_those_of_set() -> None:
    @dataclass(frozen=True)
    class Settings:
        amount: float = setting(0.0, "How much to add.")

    class Adds(Regularizer[Settings]):
        name, version, summary = "adds", "1", "For a test"
        settings_type: ClassVar[type[Settings]] = Settings
        treatment_inside_refinement = Treatment(blend="all")

        def regularize(self, half_map: HalfMap, context: Context[Settings]) -> Regularized:
            return Regularized(half_map.density + np.float32(context.settings.amount))

    plain = testing.example_half_maps().half1.density
    assert testing.run(Adds, {"amount": "2", "blend": "none"}) == pytest.approx(plain + 2)
    assert testing.run(Adds, inside=False) == pytest.approx(plain)


def test_the_example_is_a_refinements() -> None:
    maps = testing.example_half_maps()
    assert maps.truth is not None
    assert maps.half1.box == 32
    assert maps.fsc[:5].min() > 0.95
    assert maps.fsc[-1] < 0.2
    assert np.corrcoef(maps.half1.density.ravel(), maps.truth.ravel())[0, 1] > 0.9
    assert np.abs(testing.noise_half_maps().fsc[4:]).max() < 0.2
