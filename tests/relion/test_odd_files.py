"""What stands where a STAR file should, and is none, is refused at once and with a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from extrecon.errors import StarError
from extrecon.relion.job import read_job
from extrecon.relion.search import _from_optimiser
from extrecon.relion.star import StarFile, read_star
from tests.jobs import write_job


def test_a_pipe_as_star_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "run_it004_half1_class001_external_reconstruct.star"
    os.mkfifo(pipe)
    code = f"from pathlib import Path; from extrecon.relion.star import read_star; read_star(Path({str(pipe)!r}))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=10, check=False)
    assert "StarError" in ended.stderr
    assert "no regular file" in ended.stderr


def test_a_folder_or_device_as_star_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/null")):
        with pytest.raises(StarError, match="no regular file"):
            read_star(path)


def test_a_table_of_signal_without_rows_is_refused(tmp_path: Path) -> None:
    star = write_job(tmp_path).star
    text = star.read_text(encoding="utf-8")
    head, loop, table = text.rpartition("loop_")
    names = [line for line in table.splitlines() if line.startswith("_")]
    star.write_text(head + loop + "\n" + "\n".join(names) + "\n\n", encoding="utf-8")
    with pytest.raises(StarError, match=str(star.name)):
        read_job(star, tmp_path)


@pytest.mark.parametrize(
    ("words", "sequential"),
    [
        (" --sequential_halves_recons --o run", True),
        (" --x --sequential_halves_recons", True),
        (" --o run", False),
    ],
)
def test_halves_that_come_one_after_the_other_are_known_from_the_command_line(words: str, sequential: bool) -> None:
    general = {
        "rlnSolventMaskName": "None",
        "rlnAutoLocalSearchesHealpixOrder": 4,
        "rlnDoSplitRandomHalves": 1,
        "rlnParticleDiameter": 100.0,
    }
    star = StarFile(Path("x"), {"optimiser_general": general}, f"# RELION optimiser\n#{words}\n# more")
    assert _from_optimiser(star)["sequential_halves"] is sequential
