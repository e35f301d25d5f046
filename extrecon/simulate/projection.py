"""Projections of a map as RELION makes them, with shifts and CTF.

The central slices are torch-fourier-slice's, the CTF is torch-ctf's; both agree with ``relion_project``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

FloatArray = npt.NDArray[np.float64]
_MICROMETRES_PER_ANGSTROM = 1e-4


def project(volume: npt.NDArray[np.floating], poses: Rotation) -> FloatArray:
    """Return the projections of a map along z of each pose's frame, (poses, n, n), axes y, x.

    Parameters
    ----------
    volume : (n, n, n), axes z, y, x, origin at voxel ``n // 2``
    poses : orientations as in `extrecon.simulate.orientations`
    """
    import torch
    from torch_fourier_slice import project_3d_to_2d

    matrices = torch.as_tensor(poses.as_matrix().reshape(-1, 3, 3), dtype=torch.float32)
    density = torch.as_tensor(np.array(volume, dtype=np.float32))
    images = project_3d_to_2d(density, matrices, pad_factor=2.0, fftfreq_max=0.5)
    return np.asarray(images.numpy(), dtype=np.float64)


def shift_and_blur(
    images: FloatArray, shifts_angstrom: FloatArray, pixel_size_angstrom: float, ctf: FloatArray | None = None
) -> FloatArray:
    """Move images against their ``rlnOriginX/YAngst`` and multiply their spectra by their CTF.

    RELION's origin is what must be added to an image to centre it; so the particle lies at minus the origin.

    Parameters
    ----------
    images : (images, n, n)
    shifts_angstrom : (images, 2), x and y, Å
    ctf : (images, n, n // 2 + 1), or None
    """
    n = images.shape[-1]
    pixels = shifts_angstrom / pixel_size_angstrom
    turns = np.fft.fftfreq(n)[:, None] * pixels[:, 1, None, None] + np.fft.rfftfreq(n) * pixels[:, 0, None, None]
    spectra = np.fft.rfft2(images) * np.exp(2j * np.pi * turns)
    if ctf is not None:
        spectra *= ctf
    return np.fft.irfft2(spectra, s=(n, n))


def contrast_transfer(
    defoci: FloatArray,
    box: int,
    pixel_size_angstrom: float,
    voltage_kv: float,
    spherical_aberration_mm: float,
    amplitude_contrast: float,
    phase_shifts_degrees: FloatArray | float = 0.0,
) -> FloatArray:
    """Return each image's CTF in RELION's sign, (images, n, n // 2 + 1) in FFT order.

    Mindell & Grigorieff, J. Struct. Biol. 142, 334 (2003), with ``rlnDefocusU``, ``rlnDefocusV`` and
    ``rlnDefocusAngle`` of each image.

    Parameters
    ----------
    defoci : (3, images): the larger and the smaller defocus, Å, underfocus positive, and the angle, degrees
    phase_shifts_degrees : (images,) of a phase plate
    """
    import torch
    from torch_ctf import calculate_ctf_2d

    def tensor(values: FloatArray | float) -> torch.Tensor:
        return torch.as_tensor(values, dtype=torch.float64)

    defocus_u_angstrom, defocus_v_angstrom, angle_degrees = defoci
    mean = (defocus_u_angstrom + defocus_v_angstrom) / 2 * _MICROMETRES_PER_ANGSTROM
    spread = (defocus_u_angstrom - defocus_v_angstrom) / 2 * _MICROMETRES_PER_ANGSTROM
    ctf = calculate_ctf_2d(
        defocus=tensor(mean),
        astigmatism=tensor(spread),
        astigmatism_angle=tensor(angle_degrees),
        voltage=tensor(voltage_kv),
        spherical_aberration=tensor(spherical_aberration_mm),
        amplitude_contrast=tensor(amplitude_contrast),
        phase_shift=tensor(phase_shifts_degrees),
        pixel_size=tensor(pixel_size_angstrom),
        image_shape=(box, box),
        rfft=True,
        fftshift=False,
    )
    return np.asarray(ctf.numpy(), dtype=np.float64)
