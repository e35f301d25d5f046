"""In RELION's place: calls the external program as RELION does, and leaves the files of a finished refinement.

The poses are the true ones, off by an error that the seed decides; the maps are the true one with noise. Of own
particles, whose truth is not there, the maps are the reference with noise; iterations 1 and 2 search globally, 3
locally, where one in a folder called ``start_…`` waits to be ended, and whatever continues goes on from. Particles
that are aligned to a map have a log-likelihood of that map's largest density, and of their number.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from extrecon.maps.mrc import read_map, write_volume
from extrecon.relion.labels import ANGLES

LOCAL_FROM, LAST = 3, 4
LONGEST_WAIT_SECONDS = 20.0


def main(words: list[str]) -> int:
    given = dict(zip(words, [*words[1:], ""], strict=True))
    output = Path(given["--o"])
    sys.stdout.write("FAKE RELION at work\n")
    sys.stdout.write(f"WORDS {' '.join(words)}\n")
    if "--no_such" in words:
        sys.stdout.write("WARNING: Option --no_such\tis not a valid RELION argument\n")
    sys.stdout.flush()
    if "--skip_maximize" in words:
        largest = float(read_map(Path(given["--ref"])).density.max())
        return aligned(output, Path(given["--i"]), largest)
    if Path("truth.mrc").is_file():
        return simulated(output, int(given["--random_seed"]))
    first = 0
    if "--continue" in words:
        before = Path(given["--continue"]).read_text()
        seed, first = int(before.split("--random_seed")[1].split()[0]), LOCAL_FROM
    else:
        seed = int(given["--random_seed"])
    return own(output, seed, first, " ".join(words))


def simulated(output: Path, seed: int) -> int:
    import starfile
    from scipy.spatial.transform import Rotation

    (output.parent / "run_it000_half1_model.star").touch()
    (output.parent / "run_it001_half1_model.star").touch()
    if call("a.star"):
        return 1
    truth = read_map(Path("truth.mrc"))
    write_volume(Path(f"{output}_it001_half1_class001.mrc"), truth.density, truth.pixel_size_angstrom)
    write_maps(output, Path("truth.mrc"), seed)
    blocks = starfile.read("true.star", always_dict=True)
    particles = blocks["particles"]
    true = Rotation.from_euler("ZYZ", particles[list(ANGLES)].to_numpy(), degrees=True)
    errors = np.random.default_rng(seed).normal(0, seed, (len(true), 3))
    found = Rotation.from_rotvec(np.radians(errors)) * true
    particles[list(ANGLES)] = found.as_euler("ZYZ", degrees=True)
    particles["rlnRandomSubset"] = 1 + np.arange(len(particles)) % 2
    starfile.write(blocks, f"{output}_data.star", overwrite=True)
    finish(output)
    return 0


def own(output: Path, seed: int, first: int, words: str) -> int:
    for iteration in range(first, LAST + 1):
        write_iteration(output, iteration, words)
        if iteration > first and call(f"{output}_it{iteration:03d}_half1_class001_external_reconstruct.star"):
            return 1
        waits = output.parent.name.startswith("start_") and "never_local" not in words
        if iteration == LOCAL_FROM and waits:
            time.sleep(LONGEST_WAIT_SECONDS)
    write_maps(output, Path("reference.mrc"), seed)
    Path(f"{output}_data.star").write_text("\ndata_particles\n\nloop_\n_rlnImageName #1\n000001@a.mrcs\n\n")
    finish(output)
    return 0


def aligned(output: Path, particles: Path, score: float) -> int:
    rows = [line.split() for line in particles.read_text().splitlines() if "@" in line]
    names = [next(word for word in row if "@" in word) for row in rows]
    told = "".join(f"{name} {score + 0.01 * place}\n" for place, name in enumerate(names))
    labels = "_rlnImageName #1\n_rlnLogLikeliContribution #2\n"
    Path(f"{output}_it001_data.star").write_text(f"\ndata_particles\n\nloop_\n{labels}{told}\n")
    return 0


def call(star: str) -> int:
    command = os.environ["RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE"]
    if command != "relion_external_reconstruct" and subprocess.call(f"{command} {star}", shell=True):
        sys.stdout.write("ERROR: there was something wrong with system call\n")
        return 1
    return 0


def write_iteration(output: Path, iteration: int, words: str) -> None:
    """Write what RELION leaves of an iteration, as far as a comparison looks at it."""
    stem = f"{output}_it{iteration:03d}"
    order = 3 if iteration >= LOCAL_FROM and "never_local" not in words else 2
    contents = {
        "optimiser": f"# {words}\n\ndata_optimiser_general\n\n_rlnAutoLocalSearchesHealpixOrder 3\n\n",
        "half1_model": "\ndata_model_general\n\n_rlnCurrentResolution 20.0\n\n",
        "half2_model": "\ndata_model_general\n\n_rlnCurrentResolution 20.0\n\n",
        "data": "\ndata_particles\n\nloop_\n_rlnImageName #1\n000001@a.mrcs\n\n",
        "sampling": f"\ndata_sampling_general\n\n_rlnHealpixOrder {order}\n\n",
    }
    reference = read_map(Path("reference.mrc"))
    for half in (1, 2):
        path = Path(f"{stem}_half{half}_class001.mrc")
        write_volume(path, reference.density, reference.pixel_size_angstrom)
    for name, content in contents.items():
        Path(f"{stem}_{name}.star").write_text(content)


def write_maps(output: Path, source: Path, seed: int) -> None:
    truth = read_map(source)
    rng = np.random.default_rng(seed)
    for name in ("class001", "half1_class001_unfil", "half2_class001_unfil"):
        noisy = truth.density + 0.05 * truth.density.std() * rng.standard_normal(truth.density.shape)
        write_volume(Path(f"{output}_{name}.mrc"), noisy, truth.pixel_size_angstrom)


def finish(output: Path) -> None:
    Path(f"{output}_model.star").write_text("\ndata_model_general\n\n_rlnCurrentResolution 12.5\n\n")
    time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
