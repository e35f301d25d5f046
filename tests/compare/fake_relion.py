"""In RELION's place: calls the external program as RELION does, and leaves the files of a finished refinement.

The poses are the true ones, off by an error that the seed decides; the maps are the true one with noise.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import starfile
from scipy.spatial.transform import Rotation

from extrecon.maps.mrc import read_map, write_volume
from extrecon.relion.labels import ANGLES


def main(words: list[str]) -> int:
    given = dict(zip(words, [*words[1:], ""], strict=True))
    output, seed = Path(given["--o"]), int(given["--random_seed"])
    sys.stdout.write("FAKE RELION at work\n")
    sys.stdout.write(f"WORDS {' '.join(words)}\n")
    if "--no_such" in words:
        sys.stdout.write("WARNING: Option --no_such\tis not a valid RELION argument\n")
    sys.stdout.flush()
    (output.parent / "run_it000_half1_model.star").touch()
    (output.parent / "run_it001_half1_model.star").touch()
    command = os.environ["RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE"]
    if command != "relion_external_reconstruct" and subprocess.call(f"{command} a.star", shell=True):
        sys.stdout.write("ERROR: there was something wrong with system call\n")
        return 1
    truth = read_map(Path("truth.mrc"))
    rng = np.random.default_rng(seed)
    for name in ("class001", "half1_class001_unfil", "half2_class001_unfil"):
        noisy = truth.density + 0.05 * truth.density.std() * rng.standard_normal(truth.density.shape)
        write_volume(Path(f"{output}_{name}.mrc"), noisy, truth.pixel_size_angstrom)
    write_volume(Path(f"{output}_it001_half1_class001.mrc"), truth.density, truth.pixel_size_angstrom)
    blocks = starfile.read("true.star", always_dict=True)
    particles = blocks["particles"]
    true = Rotation.from_euler("ZYZ", particles[list(ANGLES)].to_numpy(), degrees=True)
    errors = rng.normal(0, seed, (len(true), 3))
    found = Rotation.from_rotvec(np.radians(errors)) * true
    particles[list(ANGLES)] = found.as_euler("ZYZ", degrees=True)
    particles["rlnRandomSubset"] = 1 + np.arange(len(particles)) % 2
    starfile.write(blocks, f"{output}_data.star", overwrite=True)
    Path(f"{output}_model.star").write_text("\ndata_model_general\n\n_rlnCurrentResolution 12.5\n\n")
    time.sleep(0.1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
