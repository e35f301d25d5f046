"""Image stacks."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import numpy.typing as npt

from extrecon.system.files import replacing


def write_stack(path: Path, images: npt.NDArray[np.floating], pixel_size_angstrom: float) -> None:
    """Write images, (particles, y, x), as an MRC stack."""
    with replacing(path) as temporary, mrcfile.new(temporary, overwrite=True) as stack:
        stack.set_data(np.ascontiguousarray(images, dtype=np.float32))
        stack.set_image_stack()
        stack.voxel_size = pixel_size_angstrom
