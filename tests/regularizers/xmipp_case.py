"""What Xmipp 3 made of one simulated map: MonoRes' resolution whole, LocalDeblur's map in some planes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from extrecon.maps import HalfMap

CASE = Path(__file__).parent / "data" / "xmipp_case.npz"


class XmippCase:
    """A simulated map in noise, 64 voxels wide, and the reference programs' answers.

    Attributes
    ----------
    half_map : what was given to MonoRes (4 to 20 Å, step 0.25) and, with its answer, to LocalDeblur
    mask, refined_mask : given to MonoRes, and what it left of it
    resolution : MonoRes' answer, Å
    planes, sharp : planes along z, and LocalDeblur's map there
    """

    def __init__(self) -> None:
        with np.load(CASE) as held:
            self.half_map = HalfMap(held["full"], float(held["pixel_size"]))
            self.mask = held["mask"].astype(np.float32)
            self.refined_mask = held["refined_mask"].astype(np.float32)
            self.resolution: npt.NDArray[np.float32] = held["resolution"]
            self.planes: npt.NDArray[np.int64] = held["planes"]
            self.sharp: npt.NDArray[np.float32] = held["sharp"]
