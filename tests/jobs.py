"""Small complete jobs, as RELION would leave them on disk, made from a map of known density."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import numpy.typing as npt

from extrecon.call.request import Request
from extrecon.maps.planes import EVERY_PLANE
from extrecon.options import Options

BOX = 24
PIXEL_SIZE = 3.0

# Options of the hook with which a job fails, and the exit code; some of tests/plugins.
FAILING_CALLS = (
    (["--regularizer", "raises", "--on-error", "fail"], 1),
    (["--regularizer", "no-such", "--on-error", "fail"], 4),
    (["--regularizer", "nan", "--on-error", "fail"], 5),
    (["--device", "cuda:7", "--on-error", "fail"], 7),
    (["--device", "abacus"], 7),
)


def blobs(n: int = BOX, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return a few soft blobs off the centre, well inside the box."""
    rng = np.random.default_rng(seed)
    axis = np.arange(n) - n // 2
    density = np.zeros((n, n, n))
    for _ in range(6):
        centre = rng.uniform(-0.15 * n, 0.15 * n, 3)
        gaussians = [np.exp(-((axis - c) ** 2) / 3.0) for c in centre]
        density += np.einsum("i,j,k->ijk", *gaussians)
    return density.astype(np.float32)


def noisy_blobs(n: int = BOX, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return `blobs` under white noise, which what measures the noise around them cannot do without."""
    noise = np.random.default_rng(seed).normal(size=(n,) * 3)
    return (blobs(n, seed) + 0.02 * noise).astype(np.float32)


def accumulators_of(
    density: npt.NDArray[np.float32], padding: int, weight: float | npt.NDArray[np.float64] = 1.0
) -> tuple[npt.NDArray[np.complex128], npt.NDArray[np.float64]]:
    """Return data and weight that hold a map exactly, half-complex in FFT order.

    The map is multiplied by sinc² (the footprint of trilinear interpolation), padded, moved to the origin and
    transformed with the accumulators' normalisation.
    """
    n, dimensions = density.shape[0], density.ndim
    axis = np.arange(n) - n // 2
    radius = np.sqrt(sum(np.meshgrid(*[axis.astype(float) ** 2] * dimensions, indexing="ij", sparse=True)))
    size = padding * n
    padded = np.zeros((size,) * dimensions)
    start = size // 2 - n // 2
    padded[(slice(start, start + n),) * dimensions] = density * np.sinc(radius / (n * padding)) ** 2
    scale = padding**dimensions * (n if dimensions == 3 else 1) / size**dimensions
    transform = np.fft.rfftn(np.fft.ifftshift(padded)) * scale
    weights = np.broadcast_to(np.asarray(weight, dtype=np.float64), transform.shape).copy()
    return transform * weights, weights


@dataclass
class InMemory:
    """Accumulators that are on no disk."""

    data: npt.NDArray[np.complex128]
    sums: npt.NDArray[np.float64]

    def weight(self, planes: slice = EVERY_PLANE) -> npt.NDArray[np.float32]:
        return self.sums[planes].astype(np.float32)

    def data_real(self, planes: slice = EVERY_PLANE) -> npt.NDArray[np.float32]:
        return self.data.real[planes].astype(np.float32)

    def data_imag(self, planes: slice = EVERY_PLANE) -> npt.NDArray[np.float32]:
        return self.data.imag[planes].astype(np.float32)


@dataclass
class JobFiles:
    """A job on disk."""

    folder: Path
    star: Path
    density: npt.NDArray[np.float32]

    @property
    def stem(self) -> Path:
        return self.star.with_suffix("")

    def request(self, options: Options) -> Request:
        """Return what the hook would hand on."""
        return Request(self.star, options, self.folder)

    def beside(self, ending: str) -> Path:
        return self.stem.with_name(self.stem.name + ending)

    @property
    def result(self) -> Path:
        return self.beside(".mrc")

    @property
    def record(self) -> Path:
        return self.beside("_extrecon.json")

    def previous(self, kind: str) -> Path:
        return next(self.folder.glob(f"*_it004_{kind}.star"))


def write_job(
    folder: Path,
    *,
    name: str = "run_it005_half1_class001",
    version: str = "5.0",
    order: int = 4,
    local_order: int = 4,
    tau2: bool = True,
    fsc: npt.NDArray[np.float64] | None = None,
    density: npt.NDArray[np.float32] | None = None,
    padding: int = 2,
    weight: float | npt.NDArray[np.float64] = 100.0,
    split: int = 1,
) -> JobFiles:
    """Write a job of iteration 5 and what iteration 4 left behind."""
    folder.mkdir(parents=True, exist_ok=True)
    density = blobs() if density is None else density
    n, dimensions = density.shape[0], density.ndim
    data, weight = accumulators_of(density, padding, weight)
    star = folder / f"{name}_external_reconstruct.star"
    for ending, values in (("data_real", data.real), ("data_imag", data.imag), ("weight", weight)):
        with mrcfile.new(star.with_name(f"{star.stem}_{ending}.mrc"), overwrite=True) as mrc:
            mrc.set_data(values.astype(np.float32))
    shells = n // 2 + 1
    fsc = np.linspace(1.0, 0.5, shells) if fsc is None else fsc
    star.write_text(_job_star(star, n, dimensions, padding, version) + (_tau2_star(fsc) if tau2 else ""))
    root = name.partition("_it005")[0]
    write_previous(folder, root, order=order, local_order=local_order, split=split)
    return JobFiles(folder, star, density)


def write_previous(
    folder: Path, root: str, *, order: int = 4, local_order: int = 4, split: int = 1, command: str = ""
) -> None:
    """Write iteration 4's sampling, optimiser and model files."""
    stem = f"{folder / root}_it004"
    Path(f"{stem}_sampling.star").write_text(
        f"\n# version 30001\n\ndata_sampling_general\n\n_rlnIs3DSampling   1\n_rlnHealpixOrder   {order}\n"
        "_rlnSymmetryGroup   C1\n \n\n# version 30001\n\ndata_sampling_directions\n\nloop_ \n"
        "_rlnAngleRot #1 \n_rlnAngleTilt #2 \n   45.000000    80.405932 \n   56.250000    70.528779 \n \n"
    )
    Path(f"{stem}_optimiser.star").write_text(
        f"# RELION optimiser; version 3.1.3\n# --o {root}{command} \n\n"
        "# version 30001\n\ndata_optimiser_general\n\n"
        f"_rlnOutputRootName   run\n_rlnDoSplitRandomHalves   {split}\n_rlnParticleDiameter   60.000000\n"
        f"_rlnSolventMaskName   None\n_rlnAutoLocalSearchesHealpixOrder   {local_order}\n \n"
    )
    Path(f"{stem}_half1_model.star").write_text(
        f"\n# version 30001\n\ndata_model_general\n\n_rlnPixelSize   {PIXEL_SIZE:.6f}\n \n"
    )


def _job_star(star: Path, n: int, dimensions: int, padding: int, version: str) -> str:
    lines = [
        "",
        f"# version {version.replace('.', '00')}01",
        "",
        "data_external_reconstruct_general",
        "",
        *(f"_rlnExtRecons{key}   {star.stem}{end}" for key, end in _FILES),
        "_rlnTau2FudgeFactor   1.000000",
        f"_rlnPaddingFactor   {padding:.6f}",
        f"_rlnReferenceDimensionality   {dimensions}",
        f"_rlnOriginalImageSize   {n}",
        f"_rlnCurrentImageSize   {n}",
    ]
    if version >= "4.0.1":
        lines += [f"_rlnPixelSize   {PIXEL_SIZE:.6f}", "_rlnParticleDiameter   60.000000"]
    return "\n".join(lines) + "\n \n"


_FILES = (
    ("DataReal", "_data_real.mrc"),
    ("DataImag", "_data_imag.mrc"),
    ("Weight", "_weight.mrc"),
    ("Result", ".mrc"),
    ("ResultStarfile", "_out.star"),
)


def _tau2_star(fsc: npt.NDArray[np.float64]) -> str:
    rows = "".join(f"{shell:12d} {1e3:e} {value:12.6f} \n" for shell, value in enumerate(fsc))
    return (
        "\n# version 30001\n\ndata_external_reconstruct_tau2\n\nloop_ \n_rlnSpectralIndex #1 \n"
        f"_rlnReferenceTau2 #2 \n_rlnGoldStandardFsc #3 \n{rows} \n"
    )
