from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import numpy.typing as npt
import pytest

from extrecon.errors import InputError
from extrecon.fourier.compute import Compute, TorchCompute, cpu
from extrecon.reconstruction import Geometry, map_damping, reconstruct
from extrecon.relion.accumulators import AccumulatorFiles
from extrecon.relion.job import read_job
from tests.jobs import InMemory, accumulators_of, blobs, write_job

Volume = npt.NDArray[np.float32]
CARRIED = Path(__file__).resolve().parent / "data" / "relion-3.1.3"


def difference(first: Volume, second: Volume) -> float:
    return float(np.linalg.norm(first - second) / np.linalg.norm(second))


def uneven_weight(shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return weights between 1 and 100 that vary smoothly and are symmetric through the origin."""
    axes = [np.minimum(np.arange(s), (s - np.arange(s)) % s) for s in shape[:-1]] + [np.arange(shape[-1])]
    squares = np.zeros(shape)
    for index, axis in enumerate(axes):
        squares += (axis.reshape([-1 if i == index else 1 for i in range(len(shape))]) * (0.2 + 0.1 * index)) ** 2
    return 1.0 + 99.0 * np.exp(-squares)


@pytest.mark.parametrize("gridding", [True, False])
@pytest.mark.parametrize(
    ("n", "padding", "dimensions"), [(24, 2, 3), (25, 2, 3), (24, 1, 3), (16, 3, 3), (32, 2, 2), (33, 2, 2)]
)
def test_a_map_comes_back(n: int, padding: int, dimensions: int, gridding: bool) -> None:
    density = blobs(n) if dimensions == 3 else blobs(n)[n // 2]
    accumulators = InMemory(*accumulators_of(density, padding, 50.0))
    found = reconstruct(
        accumulators, Geometry(n, n, padding, dimensions), tau2=None, iterate_gridding=gridding, compute=cpu()
    )
    assert found.shape == density.shape
    # The corners of Fourier space are cut, and with gridding the blob leaves a trace at the rim.
    assert difference(found, density) < (0.08 if gridding else 0.005)


def test_nothing_shifts() -> None:
    n = 24
    for where in itertools.product((9, 12, 14), repeat=3):
        density = np.zeros((n, n, n), np.float32)
        density[where] = 1.0
        accumulators = InMemory(*accumulators_of(density, 2))
        found = reconstruct(accumulators, Geometry(n, n, 2.0), tau2=None, compute=cpu(1))
        assert np.unravel_index(found.argmax(), found.shape) == where


def test_the_map_is_linear_in_the_data() -> None:
    first, second = accumulators_of(blobs(seed=1), 2)[0], accumulators_of(blobs(seed=2), 2)[0]
    weight = uneven_weight(first.shape)
    geometry, tau2 = Geometry(24, 20, 2.0), np.full(13, 1e-2)

    def run(data: npt.NDArray[np.complex128]) -> Volume:
        return reconstruct(InMemory(data, weight), geometry, tau2=tau2, compute=cpu())

    assert difference(run(2 * first - 3 * second), 2 * run(first) - 3 * run(second)) < 1e-5


def test_weights_and_data_scale_together() -> None:
    data, _ = accumulators_of(blobs(), 2)
    weight = uneven_weight(data.shape)
    geometry = Geometry(24, 24, 2.0)
    once = reconstruct(InMemory(data * weight, weight), geometry, tau2=None, compute=cpu())
    more = reconstruct(InMemory(7 * data * weight, 7 * weight), geometry, tau2=None, compute=cpu())
    assert difference(more, once) < 1e-5


def test_the_current_size_limits_the_resolution() -> None:
    n = 32
    noise = np.random.default_rng(0).normal(size=(n, n, n)).astype(np.float32)
    accumulators = InMemory(*accumulators_of(noise, 1))
    found = reconstruct(accumulators, Geometry(n, 12, 1.0), tau2=None, iterate_gridding=False, compute=cpu())
    # The centre alone: the soft mask at the rim spreads power over the shells.
    spectrum = np.abs(np.fft.fftn(found[8:24, 8:24, 8:24])) ** 2
    k = np.abs(np.fft.fftfreq(16) * 32)
    beyond = np.sqrt(k[:, None, None] ** 2 + k[None, :, None] ** 2 + k**2) > 9
    assert spectrum[beyond].mean() < 0.01 * spectrum[~beyond].mean()


def test_the_map_term_damps_as_its_formula_says() -> None:
    """With constant weight w, each shell is multiplied by w / (w + 1 / (p³ T τ²))."""
    data, weight = accumulators_of(blobs(), 2, 50.0)
    geometry, fudge, tau2 = Geometry(24, 24, 2.0), 4.0, 1e-3
    plain = reconstruct(InMemory(data, weight), geometry, tau2=None, iterate_gridding=False, compute=cpu())
    damped = reconstruct(
        InMemory(data, weight),
        geometry,
        tau2=np.full(13, tau2),
        tau2_fudge=fudge,
        iterate_gridding=False,
        compute=cpu(),
    )
    assert difference(damped, plain * (50.0 / (50.0 + 1 / (8 * fudge * tau2)))) < 1e-5


def test_the_damping_of_each_shell_is_told() -> None:
    data, _ = accumulators_of(blobs(24), 2)
    geometry, fudge, tau2 = Geometry(24, 20, 2.0), 4.0, np.geomspace(1e-1, 1e-5, 13)
    weight = np.full(data.shape, 50.0)
    weight[:, 1::2] = 0.0  # half of the points are not measured and do not count
    found = map_damping(InMemory(data, weight), geometry, tau2=tau2, tau2_fudge=fudge, compute=cpu(1))
    expected = 50.0 / (50.0 + 1 / (8 * fudge * tau2))
    assert found[:10] == pytest.approx(expected[:10], rel=1e-6)
    assert (found[11:] == 0).all()  # the images reach shell 10 in part


def test_unmeasured_regions_leave_no_trace() -> None:
    data, weight = accumulators_of(blobs(), 2, 50.0)
    data[:, :12], weight[:, :12] = 0.0, 0.0
    found = reconstruct(InMemory(data, weight), Geometry(24, 24, 2.0), tau2=None, compute=cpu())
    assert np.isfinite(found).all()
    empty = reconstruct(InMemory(0 * data, 0 * weight), Geometry(24, 24, 2.0), tau2=np.zeros(13), compute=cpu())
    assert not empty.any()


@pytest.mark.parametrize("gridding", [True, False])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_torch_gives_the_same_map(dimensions: int, gridding: bool) -> None:
    density = blobs(25) if dimensions == 3 else blobs(25)[12]
    data, _ = accumulators_of(density, 2)
    weight = uneven_weight(data.shape)
    tau2 = np.geomspace(1e-1, 1e-6, 13)
    tau2[10] = 0.0

    def run(compute: Compute) -> Volume:
        geometry = Geometry(25, 24, 2.0, dimensions)
        accumulators = InMemory(data * weight, weight)
        return reconstruct(accumulators, geometry, tau2=tau2, iterate_gridding=gridding, compute=compute)

    assert difference(run(TorchCompute("cpu")), run(cpu())) < 1e-5


def test_one_thread_or_many_give_the_same_map() -> None:
    data, _ = accumulators_of(blobs(), 2)
    weight = uneven_weight(data.shape)
    maps = [
        reconstruct(InMemory(data, weight), Geometry(24, 24, 2.0), tau2=np.full(13, 1.0), compute=cpu(threads))
        for threads in (1, 2, 5)
    ]
    assert np.array_equal(maps[0], maps[1])
    assert np.array_equal(maps[0], maps[2])


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ((0, 10, 2.0, 3), "at least 2 px"),
        ((24, 1, 2.0, 3), "at least 2 px"),
        ((24, 24, 0.5, 3), "padding factor must be 1 to 100, not 0.5"),
        ((24, 24, float("nan"), 3), "padding factor"),
        ((24, 24, 1e308, 3), "padding factor"),
        ((24, 24, 2.0, 4), "2 or 3 dimensions, not 4"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(sizes: tuple[int, int, float, int], told: str) -> None:
    with pytest.raises(InputError, match=told):
        Geometry(*sizes)


def test_accumulators_of_another_size_are_refused() -> None:
    accumulators = InMemory(*accumulators_of(blobs(24), 2))
    with pytest.raises(InputError, match=r"48×48×25 points, but an image of 32 px with padding 2 has 64×64×33"):
        reconstruct(accumulators, Geometry(32, 32, 2.0), tau2=None, compute=cpu())


@pytest.mark.parametrize("tiny", [1e-310, 1e-300, 1e-39, 1e-30])
def test_a_signal_too_small_to_invert_empties_its_shell_and_no_other(tiny: float) -> None:
    def run(signal: float, gridding: bool) -> Volume:
        sums = InMemory(*accumulators_of(blobs(), 2, 100.0))
        tau2 = np.where(np.arange(13) == 5, signal, 1e3)
        geometry = Geometry(24, 24, 2.0)
        return reconstruct(sums, geometry, tau2=tau2, iterate_gridding=gridding, compute=cpu())

    # At 1e-20 the term outweighs the data by twenty orders: the shell is empty already.
    assert difference(run(tiny, gridding=False), run(1e-20, gridding=False)) < 1e-6
    # The blob carries so large a weight into the other shells, and further the larger it is.
    assert np.isfinite(run(tiny, gridding=True)).all()


@pytest.mark.parametrize("tiny", [1e-310, 1e-39])
def test_no_signal_anywhere_gives_an_empty_map_and_not_nan(tiny: float) -> None:
    sums = InMemory(*accumulators_of(blobs(), 2, 100.0))
    found = reconstruct(sums, Geometry(24, 24, 2.0), tau2=np.full(13, tiny), compute=cpu())
    assert np.abs(found).max() < 1e-20  # NaN compares with nothing


@pytest.mark.parametrize("fudge", [0.0, -1.0, float("nan"), float("inf")])
def test_a_fudge_factor_that_is_not_above_zero_is_refused(fudge: float) -> None:
    sums = InMemory(*accumulators_of(blobs(), 2))
    with pytest.raises(InputError, match="tau2 fudge factor must be a number above 0, not"):
        reconstruct(sums, Geometry(24, 24, 2.0), tau2=np.full(13, 1.0), tau2_fudge=fudge, compute=cpu())


def reconstruct_job(star: Path, folder: Path, *, gridding: bool = True) -> Volume:
    job = read_job(star, folder)
    geometry = Geometry(job.original_size, job.current_size, job.padding_factor, job.dimensions)
    return reconstruct(
        AccumulatorFiles(job, geometry.accumulator_shape),
        geometry,
        tau2=job.tau2,
        tau2_fudge=job.tau2_fudge,
        iterate_gridding=gridding,
        compute=cpu(),
    )


def test_relions_map_that_comes_with_the_tests() -> None:
    star = CARRIED / "job" / "run_it004_half1_class001_external_reconstruct.star"
    expected = mrcfile.read(star.with_suffix(".mrc"))
    assert difference(reconstruct_job(star, CARRIED), expected) < 1e-6


@pytest.mark.parametrize("run", ["relion-3.1.3/r31", "relion-5.0.1/r50"])
@pytest.mark.parametrize("name", ["it003_half1", "it003_half2", "it004_half1", "it004_half2", "it012"])
def test_relions_own_maps(run: str, name: str, shared_fixtures: Path) -> None:
    star = shared_fixtures / run / f"run_{name}_class001_external_reconstruct.star"
    expected = mrcfile.read(star.with_suffix(".mrc"))
    assert difference(reconstruct_job(star, star.parents[1]), expected) < 1e-6


SIZES = [
    (24, 24, 2.0),
    (24, 16, 2.0),
    (25, 25, 1.0),
    (25, 13, 2.0),
    (24, 24, 1.5),
    (25, 20, 1.3),
    (30, 30, 3.0),
    (65, 65, 1.0),
    (32, 10, 2.0),
]


@pytest.mark.parametrize(("n", "current", "padding"), SIZES)
@pytest.mark.parametrize("gridding", [True, False])
def test_relions_own_program_agrees(
    n: int, current: int, padding: float, gridding: bool, relion_programs: None, tmp_path: Path
) -> None:
    geometry = Geometry(n, current, padding)
    rng = np.random.default_rng(0)
    shape = geometry.accumulator_shape
    # The transform of a real map, so that Friedel mates on the plane kx = 0 agree, under uneven weights.
    data = np.fft.rfftn(rng.normal(size=(shape[0],) * 3)) / shape[0]
    weight = uneven_weight(shape)
    star = _write_accumulators(tmp_path, data * weight, weight, geometry)
    program = shutil.which("relion_external_reconstruct")
    assert program is not None
    subprocess.run(
        [program, star.name] + ([] if gridding else ["--skip_gridding"]),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    expected = mrcfile.read(tmp_path / "rec.mrc")
    assert difference(reconstruct_job(star, tmp_path, gridding=gridding), expected) < 1e-5


@pytest.mark.parametrize(("fudge", "signal"), [(1.0, "1e-30"), (1.0, "1e-40"), (1.0, "1e-250"), (1e-200, "1.0")])
def test_relions_own_program_agrees_where_there_is_hardly_any_signal(
    fudge: float, signal: str, relion_programs: None, tmp_path: Path
) -> None:
    files = write_job(tmp_path)
    text = files.star.read_text().replace("           5 1.000000e+03", f"           5 {signal}")
    files.star.write_text(text.replace("FudgeFactor   1.000000", f"FudgeFactor   {fudge:e}"))
    program = shutil.which("relion_external_reconstruct")
    assert program is not None
    subprocess.run([program, files.star.name], cwd=tmp_path, check=True, capture_output=True)
    expected, found = mrcfile.read(files.result), reconstruct_job(files.star, tmp_path)
    assert np.isfinite(expected).all()
    # Where the whole map is as good as empty, single precision has no digits left to compare.
    assert np.abs(found - expected).max() < 1e-5 * max(1e-30, float(np.abs(expected).max()))


def _write_accumulators(
    folder: Path, data: npt.NDArray[np.complex128], weight: npt.NDArray[np.float64], geometry: Geometry
) -> Path:
    for name, values in (("data_real", data.real), ("data_imag", data.imag), ("weight", weight)):
        with mrcfile.new(folder / f"{name}.mrc") as mrc:
            mrc.set_data(values.astype(np.float32))
    shells = geometry.original_size // 2 + 1
    rows = "".join(f"{s} {np.exp(-s / shells):e} {0.5:f} \n" for s in range(shells))
    star = folder / "rec.star"
    star.write_text(
        "\n# version 30001\n\ndata_external_reconstruct_general\n\n"
        "_rlnExtReconsDataReal data_real.mrc\n_rlnExtReconsDataImag data_imag.mrc\n_rlnExtReconsWeight weight.mrc\n"
        "_rlnExtReconsResult rec.mrc\n_rlnExtReconsResultStarfile rec_out.star\n_rlnTau2FudgeFactor 2.0\n"
        f"_rlnPaddingFactor {geometry.padding_factor}\n_rlnReferenceDimensionality {geometry.dimensions}\n"
        f"_rlnOriginalImageSize {geometry.original_size}\n_rlnCurrentImageSize {geometry.current_size}\n \n\n"
        "# version 30001\n\ndata_external_reconstruct_tau2\n\nloop_ \n_rlnSpectralIndex #1 \n"
        f"_rlnReferenceTau2 #2 \n_rlnGoldStandardFsc #3 \n{rows} \n"
    )
    return star
