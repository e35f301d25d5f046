"""extrecon as a job of type External in RELION's window, with RELION's own pipeliner where it is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from extrecon.cli.main import app
from extrecon.maps import read_map
from extrecon.relion.external_job import ABORT_NOW, ABORTED, FAILURE, OUTPUT_NODES, SUCCESS, other_half_of
from extrecon.relion.star import read_star

pytestmark = pytest.mark.usefixtures("plugins")

PROGRAM = str(Path(sys.executable).with_name("extrecon"))
DEMO = Path(__file__).resolve().parents[2] / "scripts" / "demo_data"
HALF = "Refine3D/job001/run_half1_class001_unfil.mrc"
MASK = "MaskCreate/job002/mask.mrc"
JOB = "External/job003/"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a RELION project of one finished refinement and one mask, in a folder with RELION's name."""
    folder = tmp_path / "relion_project"
    for source, name in (("half1", HALF), ("half2", HALF.replace("half1", "half2")), ("mask", MASK)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(DEMO / f"{source}.mrc", folder / name)
    (folder / "default_pipeline.star").write_text(
        "\n# version 30001\n\ndata_pipeline_general\n\n_rlnPipeLineJobCounter   3\n \n"
    )
    return folder


def relion_job(project: Path, *words: str, code: int = 0) -> str:
    ran = subprocess.run(
        [PROGRAM, "relion-job", *words], cwd=project, capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return " ".join((ran.stdout + ran.stderr).split())


def nodes(project: Path) -> dict[str, tuple[str, str]]:
    star = read_star(project / JOB / OUTPUT_NODES)
    columns = [star.texts("output_nodes", f"rlnPipeLineNode{end}") for end in ("Name", "Type", "TypeLabel")]
    return {name.removeprefix(JOB): (number, label) for name, number, label in zip(*columns, strict=True)}


def endings(project: Path) -> list[str]:
    return sorted(path.name for path in (project / JOB).glob("RELION_JOB_*"))


def test_both_halves_are_regularized_and_told_to_relion(project: Path) -> None:
    words = ["--o", JOB, "--in_3dref", HALF, "--regularizer", "smooth", "--set", "sigma=2", "--shell_scale", "No"]
    told = relion_job(project, "regularize", *words, "--fsc_cutoff", "--j", "1", "--pipeline_control", JOB)
    assert "--no-shell-scale --fsc-cutoff" in told
    assert endings(project) == [SUCCESS]
    assert nodes(project) == {
        "run_half1_class001_unfil_smooth.mrc": ("6", "DensityMap.mrc"),
        "run_half2_class001_unfil_smooth.mrc": ("6", "DensityMap.mrc"),
        "logfile.pdf": ("13", "LogFile.pdf.relion"),
    }
    assert (project / JOB / "logfile.pdf").read_bytes().startswith(b"%PDF")
    # Continued in RELION's window, it is the same job again, and nothing is asked.
    (project / JOB / FAILURE).touch()
    relion_job(project, "regularize", *words, "--no_pictures", "--other_half", "none")
    assert endings(project) == [SUCCESS]
    assert list(nodes(project)) == ["run_half1_class001_unfil_smooth.mrc"]


def test_local_resolution_and_scores_are_jobs_too(project: Path) -> None:
    words = ["--o", JOB, "--in_3dref", HALF, "--in_mask", MASK, "--j", "1"]
    relion_job(project, "local-resolution", *words)
    found = nodes(project)
    assert found["local_resolution.mrc"] == ("12", "Image3D.mrc.localresmap")
    assert found["refined_mask.mrc"] == ("7", "Mask3D.mrc")
    relion_job(project, "validate", *words)
    assert nodes(project) == {"logfile.pdf": ("13", "LogFile.pdf.relion")}


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["regularize", "--in_3dref", HALF, "--regularizer", "raises", "--j", "1"], 4, "refused Refine3D"),
        (["regularize", "--in_3dref", HALF, "--j", "1"], 2, "--regularizer"),
        (["regularize", "--in_3dref", HALF, "--regularizer", "smooth", "--fsc_cutoff", "maybe"], 2, "is a switch"),
        (["regularize", "--regularizer", "smooth", "--j", "1"], 2, "as Input 3D reference"),
        (["validate", "--in_3dref", HALF, "--in_parts", "particles.star"], 2, "--in_parts is not for extrecon"),
        (["sharpen", "--in_3dref", HALF], 2, "not 'sharpen'"),
    ],
)
def test_a_failure_is_told_to_relion(
    project: Path, words: list[str], code: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    ended = CliRunner().invoke(app, ["relion-job", words[0], "--o", JOB, *words[1:]])
    assert getattr(ended.exception, "exit_code", ended.exit_code) == code
    assert told in ended.output + str(ended.exception)
    assert endings(project) == [FAILURE]
    assert not (project / JOB / OUTPUT_NODES).exists()


def test_a_broken_installation_is_told_to_relion(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = project / "broken"
    broken.mkdir()
    (broken / "numpy.py").write_text("raise ImportError('libopenblas: not found')")
    monkeypatch.setenv("PYTHONPATH", str(broken))
    relion_job(project, "regularize", "--o", JOB, "--in_3dref", HALF, "--regularizer", "identity", code=1)
    assert endings(project) == [FAILURE]


def test_a_job_that_is_aborted_in_the_window_ends(project: Path) -> None:
    words = ["regularize", "--o", JOB, "--in_3dref", HALF, "--regularizer", "sleeps", "--j", "1"]
    with subprocess.Popen([PROGRAM, "relion-job", *words], cwd=project, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()  # it has begun
        (project / JOB / ABORT_NOW).touch()
        assert running.wait(60) == 143
    assert ABORTED in endings(project)
    assert SUCCESS not in endings(project)
    assert FAILURE not in endings(project)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc"),
        ("run_it015_half2_class001.mrc", "run_it015_half1_class001.mrc"),
        ("half2_run_half1_body002_unfil.mrc", "half2_run_half2_body002_unfil.mrc"),
        ("emd_1234_half_map_1.mrc", "emd_1234_half_map_2.mrc"),
        ("run_class001.mrc", None),
        ("half12.mrc", None),
    ],
)
def test_the_other_half_is_found_by_its_name(name: str, other: str | None) -> None:
    assert other_half_of(Path("a/half1") / name) == (Path("a/half1") / other if other else None)


@pytest.mark.relion
@pytest.mark.skipif(shutil.which("relion_pipeliner") is None, reason="RELION is not installed")
def test_relions_pipeliner_runs_the_job_and_takes_its_nodes(project: Path) -> None:
    options = {
        "fn_exe": f"{PROGRAM} relion-job regularize",
        "in_3dref": HALF,
        "in_mask": MASK,
        "param1_label": "regularizer",
        "param1_value": "localdeblur",
        "param2_label": "set",
        "param2_value": "K=0.05",
        "nr_threads": "1",
    }
    told = ";".join(f"{key} == {value}" for key, value in options.items())
    for words in (["--addJob", "External", "--addJobOptions", told], ["--RunJobs", JOB, "--sec_wait_after", "1"]):
        subprocess.run(["relion_pipeliner", *words], cwd=project, check=True, capture_output=True, timeout=120)
    log = (project / JOB / "run.out").read_text() + (project / JOB / "run.err").read_text()
    pipeline = read_star(project / "default_pipeline.star")
    assert pipeline.texts("pipeline_processes", "rlnPipeLineProcessStatus") == ["2"], log  # finished
    known = pipeline.texts("pipeline_nodes", "rlnPipeLineNodeName")
    kinds = dict(zip(known, pipeline.texts("pipeline_nodes", "rlnPipeLineNodeType"), strict=True))
    result = f"{JOB}run_half2_class001_unfil_localdeblur.mrc"
    assert kinds[result] == "6"
    assert kinds[result.replace(".mrc", "_local_resolution.mrc")] == "12"
    assert kinds[f"{JOB}logfile.pdf"] == "13"
    assert read_map(project / result).box == 32
