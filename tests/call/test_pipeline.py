from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest

from extrecon.call.pipeline import run_job
from extrecon.errors import (
    DeviceError,
    ExtreconError,
    MapError,
    OutputError,
    RegularizerError,
    SafeguardError,
    StarError,
)
from extrecon.fourier.compute import TorchCompute
from extrecon.maps import HalfMap, read_map, write_map
from extrecon.options import Options, resolve
from extrecon.record import Record
from tests.jobs import BOX, PIXEL_SIZE, JobFiles, blobs, noisy_blobs, write_job, write_previous

pytestmark = pytest.mark.usefixtures("plugins")


def options(folder: Path, *set_: str, **flags: Any) -> Options:
    return resolve({"gate_wait": 0.0, "half_wait": 0.3, **flags}, set_, {}, None, folder)


def run(files: JobFiles, *set_: str, **flags: Any) -> tuple[Record, list[str]]:
    said: list[str] = []
    record = run_job(files.request(options(files.folder, *set_, **flags)), said.append)
    return record, said


def difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.linalg.norm(first - second) / np.linalg.norm(second))


def plain_of(files: JobFiles, tmp_path: Path) -> np.ndarray:
    copy = write_job(tmp_path / "plain")
    run(copy, apply="never")
    return read_map(copy.result).density


def test_a_plain_call(tmp_path: Path) -> None:
    files = write_job(tmp_path, order=2)
    record, said = run(files, regularizer="smooth")
    written = read_map(files.result)
    assert written.pixel_size_angstrom == pytest.approx(PIXEL_SIZE)
    assert difference(written.density, files.density) < 0.02
    assert record.outcome == "plain"
    assert len(said) == 1
    assert said[0].startswith(
        "extrecon it005 half1 class001: plain map (global search: HEALPix order 2 is below 4), "
    )
    assert not files.beside("_plain.mrc").exists()


def test_a_regularized_call(tmp_path: Path) -> None:
    files = write_job(tmp_path / "job")
    record, said = run(files, "sigma=1.0", regularizer="smooth")
    plain = read_map(files.beside("_plain.mrc")).density
    assert np.array_equal(plain, plain_of(files, tmp_path))
    result = read_map(files.result).density
    assert not np.array_equal(result, plain)
    # 1e8 times the grey scale came back by the shell scale.
    assert 0.5 < np.linalg.norm(result) / np.linalg.norm(plain) <= 1.0
    assert record.outcome == "regularized"
    assert said[0].startswith("extrecon it005 half1 class001: regularized with smooth (local search: ")
    assert said[1:] == ["extrecon it005 half1 class001: warning: smoothed"]
    assert read_map(files.beside("_removed.mrc")).box == BOX


def test_the_record_tells_everything(tmp_path: Path) -> None:
    files = write_job(tmp_path, fsc=np.where(np.arange(BOX // 2 + 1) < 8, 1.0, 0.0))
    run(files, "sigma=1.0", regularizer="smooth")
    told = json.loads(files.record.read_text())
    expected = {
        "outcome": "regularized",
        "iteration": 5,
        "half": 1,
        "kind": "class",
        "number": 1,
        "joined": False,
        "healpix_order": 4,
        "local_healpix_order": 4,
        "box": BOX,
        "pixel_size_angstrom": PIXEL_SIZE,
        "map_term": True,
        "facts": {"told": 1},
        "warnings": ["smoothed"],
        "error": None,
    }
    assert {key: told[key] for key in expected} == expected
    assert told["regularizer"] == {"name": "smooth", "version": "1", "settings": {"sigma": 1.0}}
    assert told["safeguards"]["fsc_cutoff"] == 7
    assert len(told["safeguards"]["shell_scale"]) == BOX // 2 + 1
    assert set(told["seconds"]) >= {"read", "reconstruct", "regularize", "safeguards", "write"}
    assert told["origins"]["regularizer"] == "flag"
    assert told["origins"]["set.sigma"] == "flag"


def test_identity_gives_the_plain_map_to_the_bit(tmp_path: Path) -> None:
    fsc = np.where(np.arange(BOX // 2 + 1) < 1, 1.0, 0.05)
    files = write_job(tmp_path / "job", fsc=fsc)
    record, _ = run(files, regularizer="identity")
    assert record.outcome == "regularized"
    assert record.safeguards == {"unchanged": True}
    assert np.array_equal(read_map(files.result).density, read_map(files.beside("_plain.mrc")).density)


def test_the_joined_iteration_stays_plain_with_the_regularized_map_beside_it(tmp_path: Path) -> None:
    files = write_job(tmp_path / "job", name="run_it005_class001")
    record, said = run(files, regularizer="smooth")
    assert record.outcome == "plain"
    assert record.joined
    assert np.array_equal(read_map(files.result).density, plain_of(files, tmp_path))
    assert not np.array_equal(read_map(files.beside("_regularized.mrc")).density, read_map(files.result).density)
    assert not files.beside("_plain.mrc").exists()
    assert "joined iteration" in said[0]


def test_half1_does_not_change_when_half2_does(tmp_path: Path) -> None:
    results = []
    for index, seed in enumerate((1, 2)):
        folder = tmp_path / str(index)
        first = write_job(folder, density=noisy_blobs(seed=7))
        write_job(folder, name="run_it005_half2_class001", density=noisy_blobs(seed=seed))
        record, _ = run(first, regularizer="localdeblur")
        assert record.outcome == "regularized"
        results.append(read_map(first.result).density)
    assert np.array_equal(results[0], results[1])


FAILURES = [
    ("raises", ValueError, "this plugin cannot"),
    ("nan", SafeguardError, "1 of 13824 values that are NaN"),
    ("wrong-shape", SafeguardError, "22×22×22 voxels for a half-map of 24×24×24"),
    ("shifts", SafeguardError, "shifted the map by 1.00 px"),
    ("greedy", MemoryError, "allocate"),
    ("both", RegularizerError, "half2 did not come within 0.3 s"),
    ("broken-import", RegularizerError, "cannot be loaded"),
    ("no-such", RegularizerError, "'no-such' is not installed. Installed: "),
]


@pytest.mark.parametrize(("name", "_error", "told"), FAILURES)
def test_whatever_a_plugin_does_relion_gets_the_plain_map(
    name: str, _error: type[Exception], told: str, tmp_path: Path
) -> None:
    files = write_job(tmp_path / "job")
    record, said = run(files, regularizer=name)
    assert np.array_equal(read_map(files.result).density, plain_of(files, tmp_path))
    assert record.outcome == "fallback"
    assert told in record.reason
    assert "WARNING: PLAIN MAP RETURNED" in said[0]
    assert told in said[0]
    saved = json.loads(files.record.read_text())
    assert saved["outcome"] == "fallback"
    assert "Traceback" in saved["error"]["traceback"]
    assert not files.beside("_plain.mrc").exists()


@pytest.mark.parametrize(("name", "error", "told"), FAILURES)
def test_or_fails_if_the_user_wants_it(name: str, error: type[Exception], told: str, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    with pytest.raises(error, match=None) as raised:
        run(files, regularizer=name, on_error="fail")
    assert told in str(raised.value)
    assert not files.result.exists()
    assert json.loads(files.record.read_text())["outcome"] == "failed"


def test_an_unusable_regularizer_is_told_from_the_first_iteration_on(tmp_path: Path) -> None:
    files = write_job(tmp_path, order=2)
    _, said = run(files, regularizer="no-such")
    told = "the regularizer cannot be used when its time comes: The regularizer 'no-such' is not installed"
    assert f"warning: {told}" in said[1]
    _, said = run(files, "sgma=2", regularizer="smooth")
    assert "has no parameter 'sgma'. Did you mean 'sigma'? It has: sigma" in said[1]
    with pytest.raises(RegularizerError):
        run(files, regularizer="no-such", on_error="fail")


def test_settings_out_of_range_fall_back_with_what_is_allowed(tmp_path: Path) -> None:
    record, _ = run(write_job(tmp_path), "sigma=11", regularizer="smooth")
    assert record.outcome == "fallback"
    assert "the largest value allowed is 9" in record.reason


def test_a_mask_is_the_users_or_relions_or_made(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    assert run(files, regularizer="masked")[0].mask == "made from the half-map"
    mask = np.zeros((BOX,) * 3, np.float32)
    mask[4:-4, 4:-4, 4:-4] = 1.0
    write_map(tmp_path / "relion.mrc", HalfMap(mask, PIXEL_SIZE))
    write_map(tmp_path / "mine.mrc", HalfMap(np.sqrt(mask), PIXEL_SIZE))
    optimiser = files.previous("optimiser")
    optimiser.write_text(optimiser.read_text().replace("None", "relion.mrc"))
    assert run(files, regularizer="masked")[0].mask == "relion.mrc (RELION's solvent mask)"
    assert run(files, regularizer="masked", mask="mine.mrc")[0].mask == "mine.mrc (--mask)"


@pytest.mark.parametrize(
    ("box", "scale", "told"),
    [(16, 1.0, "the mask is 16³ voxels, but the half-map is 24³"), (24, 7.0, "runs from 0 to 7")],
)
def test_a_mask_that_does_not_fit_is_told(box: int, scale: float, told: str, tmp_path: Path) -> None:
    mask = np.zeros((box,) * 3, np.float32)
    mask[4:-4] = scale
    write_map(tmp_path / "mask.mrc", HalfMap(mask, PIXEL_SIZE))
    record, _ = run(write_job(tmp_path), regularizer="masked", mask="mask.mrc")
    assert record.outcome == "fallback"
    assert told in record.reason


def test_an_unknown_pixel_size_means_the_plain_map(tmp_path: Path) -> None:
    files = write_job(tmp_path, version="3.1")
    files.previous("half1_model").unlink()
    record, _ = run(files, regularizer="smooth")
    assert record.outcome == "fallback"
    assert "the pixel size is unknown" in record.reason


def test_without_the_tau2_table_the_map_term_is_left_out_and_told(tmp_path: Path) -> None:
    files = write_job(tmp_path, tau2=False)
    record, said = run(files, apply="never")
    assert record.map_term is False
    assert "without the MAP term" in said[1]
    assert difference(read_map(files.result).density, files.density) < 0.02


@pytest.mark.parametrize(
    ("version", "command", "iterated"),
    [
        ("3.1.3", "", True),
        ("3.1.3-commit-0c3f0b", " --pad 1 --skip_gridding", False),
        ("4.0.1", "", False),
        ("5.0.1", " --pad 1", False),
        ("5.0.1", " --dont_skip_gridding", True),
        ("10.0", "", False),
        ("unknown", "", True),
    ],
)
def test_gridding_is_iterated_where_relion_would(
    version: str, command: str, iterated: bool, tmp_path: Path
) -> None:
    def reconstructed(name: str, **flags: Any) -> np.ndarray:
        weight = 1.0 + 99.0 * np.random.default_rng(0).random((2 * BOX, 2 * BOX, BOX + 1))
        files = write_job(tmp_path / name, weight=weight)
        write_previous(files.folder, "run", command=f"{command} --auto_refine")
        optimiser = files.previous("optimiser")
        optimiser.write_text(optimiser.read_text().replace("version 3.1.3", f"version {version}"))
        record, _ = run(files, apply="never", **flags)
        assert record.gridding is not None
        made[name] = record.gridding
        return read_map(files.result).density

    made: dict[str, bool] = {}
    auto, on, off = (reconstructed(word, gridding=word) for word in ("auto", "on", "off"))
    assert made == {"auto": iterated, "on": True, "off": False}
    assert difference(on, off) > 0.01
    assert np.array_equal(auto, on if iterated else off)


def test_a_refinement_by_gradient_is_warned_of(tmp_path: Path) -> None:
    files = write_job(tmp_path, name="run_it005_class001", split=0, fsc=np.zeros(BOX // 2 + 1))
    optimiser = files.previous("optimiser")
    written = optimiser.read_text()
    for value, warned in ((0, False), (1, True)):
        label = f"_rlnDoGradientRefine   {value}\n_rlnOutputRootName"
        optimiser.write_text(written.replace("_rlnOutputRootName", label))
        assert ("refines by gradient" in " ".join(run(files)[1])) is warned


def test_two_dimensional_references_are_reconstructed(tmp_path: Path) -> None:
    density = blobs()[BOX // 2]
    files = write_job(tmp_path, name="run_it005_class002", density=density, split=0)
    record, _ = run(files, regularizer="smooth", apply="always")
    assert record.outcome == "plain"
    assert difference(mrcfile.read(files.result), density) < 0.05


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What a call has waited for, s, without the wait."""
    waited: list[float] = []
    now = time.monotonic
    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.setattr(time, "monotonic", lambda: now() + sum(waited))
    return waited


@pytest.mark.parametrize(("apply", "is_waited_for"), [("never", False), ("always", False), ("local-search", True)])
def test_what_decides_nothing_is_not_waited_for(
    apply: str, is_waited_for: bool, waits: list[float], tmp_path: Path
) -> None:
    files = write_job(tmp_path)
    files.previous("sampling").unlink()
    run(files, regularizer="identity", gate_wait=20.0, apply=apply)
    assert bool(waits) is is_waited_for


def test_a_two_dimensional_job_waits_for_nothing(waits: list[float], tmp_path: Path) -> None:
    files = write_job(tmp_path, name="run_it005_class001", density=blobs()[BOX // 2], split=0)
    for kind in ("sampling", "optimiser", "half1_model"):
        files.previous(kind).unlink()
    run(files, gate_wait=20.0)
    assert waits == []


def test_a_class_without_half_maps_keeps_all_its_shells(tmp_path: Path) -> None:
    files = write_job(tmp_path, name="run_it005_class002", split=0, fsc=np.zeros(BOX // 2 + 1))
    record, said = run(files, "sigma=0.3", regularizer="smooth", apply="always")
    assert record.outcome == "regularized"
    assert any("no half-map FSC is known" in line for line in said)
    plain, result = (mrcfile.read(path) for path in (files.beside("_plain.mrc"), files.result))
    assert np.corrcoef(plain.ravel(), result.ravel())[0, 1] > 0.99


def test_what_the_map_term_has_damped_is_no_signal_of_a_class(tmp_path: Path) -> None:
    """Whatever a regularizer leaves in shells that are next to nothing, it is judged by the others."""
    shells = np.arange(BOX // 2 + 1)
    files = write_job(tmp_path, name="run_it005_class002", split=0, fsc=np.zeros(shells.size))
    damped = files.star.read_text()
    for shell in shells[6:]:
        damped = damped.replace(f"{shell:12d} {1e3:e}", f"{shell:12d} {1e-7 / 4**shell:e}")
    files.star.write_text(damped)
    mask = np.zeros((BOX,) * 3, np.float32)
    mask[6:-6, 6:-6, 6:-6] = 1.0
    write_map(tmp_path / "mask.mrc", HalfMap(mask, PIXEL_SIZE))
    record, _ = run(files, regularizer="masked", mask="mask.mrc", apply="always")
    assert record.outcome == "regularized"
    assert record.safeguards["signal_shells"] == 5


def test_stale_results_are_removed_before_work_starts(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    stale = [files.beside(end) for end in (".mrc", "_out.star", "_plain.mrc", "_regularized.mrc", "_extrecon.json")]
    for path in [*stale, files.folder / f".{files.stem.name}.mrc.1.tmp"]:
        path.write_text("old")
    files.beside("_weight.mrc").write_bytes(b"broken")
    with pytest.raises(MapError):
        run(files)
    assert not any(path.exists() for path in stale[:-1])
    assert json.loads(stale[-1].read_text())["outcome"] == "failed"
    assert not list(files.folder.glob(".*.tmp"))


def test_a_regularizers_maps_of_an_earlier_attempt_are_removed(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    run(files, regularizer="smooth")
    assert files.beside("_removed.mrc").exists()
    other = tmp_path / "mine.mrc"
    other.write_text("precious")
    told = json.loads(files.record.read_text())
    files.record.write_text(json.dumps({**told, "maps": [*told["maps"], "mine.mrc", "../mine.mrc", 3]}))
    run(files, regularizer="identity")
    assert not files.beside("_removed.mrc").exists()
    assert other.read_text() == "precious"


def test_a_missing_mask_is_told_from_the_first_iteration_on(tmp_path: Path) -> None:
    _, said = run(write_job(tmp_path, order=2), regularizer="masked", mask="absent.mrc")
    assert "--mask absent.mrc: no such file" in said[1]


def damage_truncate(files: JobFiles) -> None:
    path = files.beside("_data_imag.mrc")
    path.write_bytes(path.read_bytes()[:5000])


def damage_size(files: JobFiles) -> None:
    other = write_job(files.folder / "other", density=blobs(16))
    other.beside("_weight.mrc").replace(files.beside("_weight.mrc"))


def damage_nan(files: JobFiles) -> None:
    path = files.beside("_data_real.mrc")
    content = bytearray(path.read_bytes())
    content[2000:2004] = np.array([np.nan], np.float32).tobytes()
    path.write_bytes(bytes(content))


def damage_missing(files: JobFiles) -> None:
    files.beside("_weight.mrc").unlink()


def damage_star(files: JobFiles) -> None:
    files.star.write_text(files.star.read_text()[:300])


def damage_star_missing(files: JobFiles) -> None:
    files.star.unlink()


@pytest.mark.parametrize(
    ("damage", "error", "told"),
    [
        (damage_truncate, MapError, "data_imag.mrc: not a readable MRC file"),
        (damage_size, MapError, "32×32×17 points, but images of 24 px with padding 2 have 48×48×25"),
        (damage_nan, MapError, "data_real.mrc: 1 of 57600 values are NaN or infinite"),
        (damage_missing, MapError, "weight.mrc: no such file"),
        (damage_star, StarError, "construct.star"),
        (damage_star_missing, StarError, "no such file"),
    ],
)
def test_damaged_input_is_told_and_leaves_no_map(
    damage: Any, error: type[ExtreconError], told: str, tmp_path: Path
) -> None:
    files = write_job(tmp_path)
    damage(files)
    said: list[str] = []
    with pytest.raises(error) as raised:
        run_job(files.request(options(tmp_path)), said.append)
    assert told in str(raised.value)
    assert not files.result.exists()
    assert "ERROR: no map returned" in said[0]
    assert json.loads(files.record.read_text())["outcome"] == "failed"


@pytest.mark.parametrize("kind", ["sampling", "optimiser"])
@pytest.mark.parametrize(
    "text", ["", "data_sampling_general\n\n_rlnHealpixOrder", "data_x\n\n_rlnHealpixOrder nonsense\n"]
)
def test_damaged_search_files_mean_the_plain_map(kind: str, text: str, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    files.previous(kind).write_text(text)
    record, _ = run(files, regularizer="smooth")
    assert record.outcome == "plain"
    assert "the HEALPix order is unknown" in record.reason


def test_a_missing_device_means_the_cpu_and_a_warning(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    record, said = run(files, regularizer="identity", device="cuda:63")
    assert record.outcome == "regularized"
    assert record.device is not None
    assert record.device.startswith("cpu")
    assert "warning: working on the CPU: --device cuda:63: " in said[1]
    with pytest.raises(DeviceError):
        run(files, regularizer="identity", device="cuda:63", on_error="fail")


def test_a_device_that_runs_out_of_memory_means_the_cpu_and_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDevice(TorchCompute):
        def rfft(self, array: Any, length: int, axis: int) -> Any:
            raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr("extrecon.call.pipeline.compute_for", lambda device, threads: FullDevice("cpu"))
    files = write_job(tmp_path / "job", order=2)
    record, said = run(files, regularizer="identity")
    assert record.outcome == "plain"
    assert "reconstructed on the CPU, because cpu failed: CUDA out of memory" in said[1]
    monkeypatch.undo()
    assert np.array_equal(read_map(files.result).density, plain_of(files, tmp_path))


@pytest.mark.parametrize(("text", "outcome"), [("CUDA out of memory", "regularized"), ("a bug", "fallback")])
def test_a_device_too_full_for_a_regularizer_means_the_cpu_and_a_warning(
    text: str, outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extrecon.call.pipeline.compute_for", lambda device, threads: TorchCompute("cpu"))
    files = write_job(tmp_path / "job")
    do = f"if not c.compute.on_host: raise RuntimeError('{text}')\nr = R(smooth(d))"
    record, said = run(files, f"do={do}", regularizer="does")
    assert record.outcome == outcome
    if outcome == "regularized":
        assert "regularized on the CPU, because cpu failed: CUDA out of memory" in said[1]
        assert record.device is not None
        assert record.device.startswith("cpu, ")


def test_a_missing_output_folder_is_told(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    files.star.write_text(
        files.star.read_text().replace(files.result.name + "\n", "gone/" + files.result.name + "\n")
    )
    with pytest.raises(OutputError, match="cannot be written"):
        run(files, apply="never")


def test_halves_that_come_one_after_the_other_do_not_wait_for_each_other(
    waits: list[float], tmp_path: Path
) -> None:
    files = write_job(tmp_path)
    write_previous(tmp_path, "run", command=" --auto_refine --sequential_halves_recons")
    record, _ = run(files, regularizer="both", half_wait=20.0)
    assert waits == []
    assert record.outcome == "fallback"
    assert "--sequential_halves_recons" in record.reason
