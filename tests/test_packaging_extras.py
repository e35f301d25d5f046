"""What works without the packages of the extras, and what is said where one of them is wanted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from extrecon.compare.arms import read_arm
from extrecon.errors import DeviceMissingError, PackageMissingError, RegularizerError
from extrecon.fourier.compute import compute_for
from extrecon.maps import HalfMap, read_map, write_map
from extrecon.regularizer import load
from extrecon.system.packages import is_installed, missing, require
from tests.jobs import PIXEL_SIZE, noisy_blobs, write_job

OPTIONAL = ("healpix", "submitit", "torch", "torch_ctf", "torch_fourier_slice")
CNN = "'cnn' needs onnxruntime, which is not installed here: pip install 'onnxruntime'"
HIDER = '''
import os, sys
class Hider:
    """Takes care that these packages cannot be found, and notes down each that is looked for."""
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in os.environ["HIDDEN"].split():
            with open(os.environ["LOOKED_FOR"], "a") as file:
                print(name, file=file)
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hider())
'''
# Runs the program once for each list of words in a JSON file, in one process: the imports take the time.
RUNNER = """
import contextlib, io, json, sys
from extrecon.cli.main import main
answers = []
for words in json.load(open(sys.argv[1])):
    told, sys.argv, code = io.StringIO(), ["extrecon", *words], 0
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
    answers.append([code, told.getvalue()])
json.dump(answers, sys.__stdout__)
"""
Words = list[str]


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hide the packages of the extras from every program that is started; return the list of those looked for."""
    folder, looked_for = tmp_path / "hider", tmp_path / "looked_for"
    folder.mkdir()
    looked_for.touch()
    (folder / "sitecustomize.py").write_text(HIDER)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("LOOKED_FOR", str(looked_for))
    monkeypatch.setenv("HIDDEN", " ".join(OPTIONAL))
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.delenv("RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE", raising=False)
    return looked_for


@pytest.fixture
def broken(bare: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hide ONNX Runtime as well, as if an installation had lost it."""
    monkeypatch.setenv("HIDDEN", " ".join([*OPTIONAL, "onnxruntime"]))
    return bare


def answers(folder: Path, *commands: Words) -> list[tuple[int, str]]:
    """Return exit code and words of each command."""
    (folder / "commands.json").write_text(json.dumps(commands))
    program = [sys.executable, "-c", RUNNER, "commands.json"]
    ran = subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    return [(code, " ".join(told.split())) for code, told in json.loads(ran.stdout)]


def hook(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "extrecon.hook", "--gate-wait", "0", *words]
    return subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def maps(folder: Path) -> list[str]:
    names = ["half1.mrc", "half2.mrc"]
    for seed, name in enumerate(names):
        write_map(folder / name, HalfMap(noisy_blobs(32, seed=0) + 0.01 * noisy_blobs(32, seed), PIXEL_SIZE))
    return names


def test_reconstructing_and_regularizing_need_no_torch(bare: Path, tmp_path: Path) -> None:
    halves, files = maps(tmp_path), write_job(tmp_path, density=noisy_blobs())
    on_the_cpu = ["--device", "cpu"]
    commands = [
        ["reconstruct", files.star.name, "-o", "map.mrc", *on_the_cpu],
        ["mask", *halves, "-o", "mask.mrc"],
        ["local-resolution", *halves, "--mask", "mask.mrc", "-o", "monores", *on_the_cpu],
        ["validate", *halves, "-o", "scores"],
        ["watch", "--once", "."],
    ]
    commands += [
        ["regularize", halves[0], "--regularizer", name, "-o", name, "--mask", "mask.mrc", *on_the_cpu]
        for name in ("identity", "fdr-mask", "profile", "cnn")
    ]
    deepres = ["--method", "deepres", "--mask", "mask.mrc", "-o", "deepres"]
    commands.append(["local-resolution", *halves, *deepres, *on_the_cpu])
    for words, answer in zip(commands, answers(tmp_path, *commands), strict=True):
        assert answer[0] == 0, (words, answer)
    cnn = ["--regularizer", "cnn", "--amplitudes", "half-map"]
    assert hook(tmp_path, *cnn, *on_the_cpu, files.star.name).returncode == 0
    assert json.loads(files.record.read_text())["outcome"] == "regularized"
    assert bare.read_text() == ""


def test_who_lacks_a_package_says_what_to_type(broken: Path, tmp_path: Path) -> None:
    halves, files = maps(tmp_path), write_job(tmp_path)
    simulate = "healpix, torch, torch_ctf and torch_fourier_slice, which are not installed here"
    compare = ["compare", "-o", "out", "--arm", "plain"]
    relion = ["--", "relion_refine_mpi", "--o", "run", "--external_reconstruct"]
    refused = [
        (["regularize", *halves, "--regularizer", "cnn", "-o", "out"], 4, CNN),
        (["local-resolution", *halves, "--mask", "m.mrc", "--method", "deepres", "-o", "out"], 4, "'onnxruntime'."),
        (["simulate", "x.pdb", "-o", "out"], 11, f"`extrecon simulate` needs {simulate}: pip install"),
        (["reconstruct", files.star.name, "-o", "x.mrc", "--device", "cuda"], 7, "[gpu]'; or use --device cpu."),
        (["run", "--regularizer", "cnn", *relion], 4, CNN),
        ([*compare, "--hold-out", "0.1", *relion], 11, f"--hold-out needs {simulate}"),
        ([*compare, *relion], 2, "The command has no --auto_refine"),
    ]
    told = answers(tmp_path, *(words for words, _, _ in refused))
    for (words, code, sentence), answer in zip(refused, told, strict=True):
        assert (answer[0], sentence in answer[1]) == (code, True), (words, answer)
        assert "Traceback" not in answer[1]
    assert not (tmp_path / "out").exists()


def test_what_is_missing_is_listed(broken: Path, tmp_path: Path) -> None:
    unchecked = ["regularize", maps(tmp_path)[0], "--regularizer", "identity", "-o", "out"]
    answered = answers(tmp_path, ["regularizers"], ["regularizers", "cnn"], ["doctor"], unchecked)
    assert [code for code, _ in answered] == [0, 0, 1, 0]
    listed, one, doctor, _ = answered
    assert "Denoises with a 3D U-Net" in listed[1]
    for _, told in (listed, one):
        assert CNN in told
    assert "A safetensors file of one's own" in one[1]
    assert "│ torch │ not installed │" in doctor[1]
    assert "│ onnxruntime │ not installed │" in doctor[1]
    assert f"│ regularizer cnn │ {CNN.replace(': pip', ' │ pip')}" in doctor[1]


def test_the_hook_gives_the_plain_map_and_says_why(broken: Path, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    ran = hook(tmp_path, "--regularizer", "cnn", files.star.name)
    assert ran.returncode == 0
    assert f"but cnn failed: {CNN}" in ran.stdout + ran.stderr
    assert json.loads(files.record.read_text())["outcome"] == "fallback"
    assert read_map(files.result).density == pytest.approx(files.density, abs=0.05)
    early = hook(tmp_path, "--regularizer", "cnn", "--apply", "never", files.star.name)
    assert (early.returncode, CNN in early.stdout) == (0, False)
    files = write_job(tmp_path / "early", order=2, local_order=4)
    early = hook(files.folder, "--regularizer", "cnn", files.star.name)
    assert early.returncode == 0
    assert f"cannot be used when its time comes: {CNN}" in early.stdout + early.stderr
    assert json.loads(files.record.read_text())["outcome"] == "plain"


def test_the_hook_gives_no_map_if_it_is_to_fail(broken: Path, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    ran = hook(tmp_path, "--regularizer", "cnn", "--on-error", "fail", files.star.name)
    assert (ran.returncode, CNN in ran.stdout + ran.stderr) == (4, True)
    assert not files.result.exists()


def test_a_gpu_without_torch_is_a_warning_to_relion(bare: Path, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    ran = hook(tmp_path, "--regularizer", "identity", "--device", "cuda", files.star.name)
    assert ran.returncode == 0
    assert "working on the CPU: --device cuda:0 needs torch, which is not installed here" in ran.stdout + ran.stderr
    assert json.loads(files.record.read_text())["outcome"] == "regularized"


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this very process find neither torch nor ONNX Runtime."""
    absent = {*OPTIONAL, "onnxruntime"}
    monkeypatch.setattr("extrecon.system.packages.is_installed", lambda package: package not in absent)


@pytest.mark.usefixtures("lacking")
def test_a_plugin_that_lacks_a_package_is_described_but_not_put_to_work() -> None:
    with pytest.raises(RegularizerError) as raised:
        load("cnn")
    assert str(raised.value) == f"{CNN}."
    assert load("cnn", to_work=False).summary.startswith("Denoises")


@pytest.mark.usefixtures("lacking")
def test_an_arm_that_could_not_work_is_refused_before_anything_is_refined() -> None:
    with pytest.raises(RegularizerError, match="'cnn' needs onnxruntime"):
        read_arm("cnn")
    assert read_arm("localdeblur").name == "localdeblur"


@pytest.mark.usefixtures("lacking")
def test_a_device_without_torch_is_not_there() -> None:
    with pytest.raises(DeviceMissingError, match="pip install 'extrecon"):
        compute_for("cuda:1")
    assert compute_for("auto").on_host


def test_one_sentence_names_what_is_missing_and_what_brings_it() -> None:
    wanted = {"numpy": "a", "no_such_1": "b[x]", "no_such_2": "b[x]", "no_such_3": "c"}
    told = "It needs no_such_1, no_such_2 and no_such_3, which are not installed here: pip install 'b[x]' 'c'"
    assert missing("It", wanted) == told
    assert missing("It", {"no_such": "d"}) == "It needs no_such, which is not installed here: pip install 'd'"
    assert missing("It", {"numpy": "a"}) == ""
    with pytest.raises(PackageMissingError, match="no_such_3"):
        require("It", wanted)
    require("It", {"numpy": "a"})


def test_a_package_is_looked_for_and_not_imported() -> None:
    program = "from extrecon.system.packages import *; print(is_installed('torch'), 'torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [str(is_installed("torch")), "False"]
