from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from extrecon.pictures.refinement import draw_refinement
from extrecon.relion.history import CallName, RefinementFolder
from extrecon.relion.quick_star import read_values
from extrecon.relion.star import read_star
from tests.jobs import write_previous


@pytest.mark.parametrize("version", ["3.1.3", "5.0.1"])
def test_quick_reading_agrees_with_the_strict_reader(version: str, shared_fixtures: Path) -> None:
    paths = [
        path
        for path in sorted((shared_fixtures / f"relion-{version}").rglob("*.star"))
        if path.name.endswith(("_sampling.star", "_optimiser.star", "_model.star"))
    ]
    assert paths
    for path in paths:
        block = path.name.removesuffix(".star").rpartition("_")[2] + "_general"
        strict = read_star(path, first_block_only=True).values(block)
        quick = read_values(path)
        assert quick.keys() == {key for key, value in strict.items() if value != ""}
        for key, text in quick.items():
            assert text == str(strict[key]) or float(text) == pytest.approx(float(strict[key]))


def test_a_continued_run_is_one_refinement(tmp_path: Path) -> None:
    write_previous(tmp_path, "run", order=2)
    for path in sorted(tmp_path.glob("run_it004_*")):
        continued = path.with_name(path.name.replace("run_it004", "run_ct4_it005"))
        continued.write_text(path.read_text().replace("_rlnHealpixOrder   2", "_rlnHealpixOrder   3"))
    write_previous(tmp_path, "other", order=7)
    found = RefinementFolder(tmp_path, "run").iterations()
    assert [(i.number, i.root, i.healpix_order, i.local_healpix_order) for i in found] == [
        (4, "run", 2, 4),
        (5, "run_ct4", 3, 4),
    ]


def test_changed_files_are_read_again_and_damaged_ones_left_out(tmp_path: Path) -> None:
    write_previous(tmp_path, "run", order=2)
    folder = RefinementFolder(tmp_path, "run")
    assert folder.iterations()[0].healpix_order == 2
    sampling = tmp_path / "run_it004_sampling.star"
    sampling.write_text(sampling.read_text().replace("_rlnHealpixOrder   2", "_rlnHealpixOrder   3 "))
    assert folder.iterations()[0].healpix_order == 3
    sampling.write_bytes(b"\xff\xfe\x00")
    assert folder.iterations()[0].healpix_order is None
    record = tmp_path / "run_it004_half1_class001_external_reconstruct_extrecon.json"
    record.write_text('{"outcome": ')
    assert folder.iterations()[0].records == {}
    record.write_text(json.dumps({"outcome": "plain"}))
    assert folder.iterations()[0].records == {CallName(1, "class", 1): {"outcome": "plain"}}


def test_a_change_of_records_is_noticed(tmp_path: Path) -> None:
    folder = RefinementFolder(tmp_path, "run")
    assert folder.records() == {}
    record = tmp_path / "run_it004_half1_class001_external_reconstruct_extrecon.json"
    record.write_text("{}")
    first = folder.records()
    os.utime(record, ns=(1, 1))
    assert first.keys() == folder.records().keys()
    assert first != folder.records()
    assert RefinementFolder(tmp_path, "another").records() == {}


def test_a_picture_is_drawn_of_whatever_is_known(tmp_path: Path) -> None:
    write_previous(tmp_path, "run", order=2)
    for name, found in (("some", RefinementFolder(tmp_path, "run").iterations()), ("nothing", [])):
        path = tmp_path / f"{name}.png"
        draw_refinement(path, found, "title")
        assert path.read_bytes().startswith(b"\x89PNG")


def write_model(folder: Path, name: str) -> None:
    (folder / f"{name}_half1_model.star").write_text("data_model_general\n\n_rlnCurrentResolution   8.0\n")


def call_of(folder: Path, name: str) -> None:
    (folder / f"{name}_half1_class001_external_reconstruct.star").write_text("data_external_reconstruct_general\n")


def test_only_half_sets_have_a_joined_iteration(tmp_path: Path) -> None:
    def labels() -> list[str]:
        found = RefinementFolder(tmp_path, "run").iterations()
        return sorted(call.label for iteration in found for call in (*iteration.calls, *iteration.records))

    for number in (1, 2):
        stem = f"run_it003_class{number:03d}_external_reconstruct"
        (tmp_path / f"{stem}.star").write_text("data_external_reconstruct_general\n")
        (tmp_path / f"{stem}_extrecon.json").write_text('{"outcome": "plain"}')
    assert labels() == ["class001", "class001", "class002", "class002"]
    call_of(tmp_path, "run_it002")
    assert labels() == ["half1", "joined", "joined", "joined class002", "joined class002"]


def uncalled(folder: Path) -> list[int]:
    return [i.number for i in RefinementFolder(folder, "run").iterations() if i.is_uncalled]


def test_iterations_without_an_external_call_are_known(tmp_path: Path) -> None:
    for number in range(5):
        write_model(tmp_path, f"run_it{number:03d}")
    assert uncalled(tmp_path) == []  # nobody has asked for external calls yet
    call_of(tmp_path, "run_it003")
    assert uncalled(tmp_path) == [4]  # but not those before the first
    (tmp_path / "run_it005_sampling.star").touch()
    assert uncalled(tmp_path) == [4]  # the fifth is under way


def test_bodies_at_rest_need_no_call(tmp_path: Path) -> None:
    """Once the angles of all bodies are too poor, RELION keeps them fixed and skips the iteration."""
    call_of(tmp_path, "run_it002")
    for number, fixed in ((3, "0 1"), (4, "1 1")):
        rows = "".join(f"run_body{body}.mrc   20.5   {word}\n" for body, word in enumerate(fixed.split()))
        labels = "_rlnReferenceImage #1\n_rlnAccuracyRotations #2\n_rlnBodyKeepFixed #3\n"
        table = f"data_model_bodies\n\nloop_\n{labels}"
        write_model(tmp_path, f"run_it{number:03d}")
        with (tmp_path / f"run_it{number:03d}_half1_model.star").open("a") as model:
            model.write(f"\n{table}{rows}\n\ndata_model_body_1\n\nloop_\n_rlnSpectralIndex #1\n0\n")
    assert uncalled(tmp_path) == [3]


def test_calls_of_the_run_before_do_not_hide_that_the_continued_one_made_none(tmp_path: Path) -> None:
    for number in (3, 4, 5):
        write_model(tmp_path, f"run_it{number:03d}")
        call_of(tmp_path, f"run_it{number:03d}")
    newer = (tmp_path / "run_it005_half1_model.star").stat().st_mtime_ns + 10**9
    for name in ("run_ct3_it003", "run_ct3_it004"):
        write_model(tmp_path, name)
        os.utime(tmp_path / f"{name}_half1_model.star", ns=(newer, newer))
    assert uncalled(tmp_path) == [4]


def test_the_iteration_that_a_run_was_continued_from_is_the_one_that_was_called_for(tmp_path: Path) -> None:
    """RELION repeats its files under the new root, without a call."""
    write_model(tmp_path, "run_it003")
    call_of(tmp_path, "run_it003")
    newer = (tmp_path / "run_it003_half1_model.star").stat().st_mtime_ns + 10**9
    write_model(tmp_path, "run_ct3_it003")
    os.utime(tmp_path / "run_ct3_it003_half1_model.star", ns=(newer, newer))
    found = RefinementFolder(tmp_path, "run_ct3").iterations()
    assert [(i.number, i.root, len(i.calls), i.is_uncalled) for i in found] == [(3, "run", 1, False)]
    # The run before may be gone, but for an earlier call.
    for path in tmp_path.glob("run_it003_*"):
        path.rename(tmp_path / path.name.replace("it003", "it002"))
    assert uncalled(tmp_path) == []


@pytest.mark.parametrize("version", ["3.1.3", "5.0.1"])
def test_no_call_is_missed_where_relion_made_all(version: str, shared_fixtures: Path) -> None:
    folder = next(path for path in (shared_fixtures / f"relion-{version}").iterdir() if path.is_dir())
    found = RefinementFolder(folder).iterations()
    assert len(found) >= 3
    assert not any(i.is_uncalled for i in found)


def test_any_bytes_and_values_in_relions_files_are_stood(tmp_path: Path) -> None:
    write_previous(tmp_path, "run", order=2)
    optimiser = tmp_path / "run_it004_optimiser.star"
    text = optimiser.read_bytes().replace(b"# --o", b"# \xe9 --o").replace(b"Name   None", b"Name   joe's/mask.mrc")
    optimiser.write_bytes(text)
    found = RefinementFolder(tmp_path, "run").iterations()[0]
    assert (found.healpix_order, found.local_healpix_order) == (2, 4)
    sampling = tmp_path / "run_it004_sampling.star"
    for value in ("nan", "inf", "-1e999", "x"):
        sampling.write_text(f"data_sampling_general\n_rlnHealpixOrder {value}\n")
        assert RefinementFolder(tmp_path, "run").iterations()[0].healpix_order is None
    sampling.unlink()
    os.mkfifo(sampling)  # nobody will ever write into it
    assert RefinementFolder(tmp_path, "run").iterations()[0].healpix_order is None


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "3", '{"outcome": NaN}', "\x00"])
def test_a_record_of_any_shape_is_stood(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run_it004_half1_class001_external_reconstruct_extrecon.json"
    path.write_text(text)
    for iteration in RefinementFolder(tmp_path, "run").iterations():
        for record in iteration.records.values():
            assert isinstance(record.get("outcome"), str)


def test_accumulators_are_counted(tmp_path: Path) -> None:
    folder = RefinementFolder(tmp_path, "run")
    assert folder.accumulators() == (0, 0)
    for ending in ("data_real", "data_imag", "weight"):
        stem = "it004_half1_class001_external_reconstruct"
        (tmp_path / f"run_{stem}_{ending}.mrc").write_bytes(bytes(100))
        (tmp_path / f"other_{stem}_{ending}.mrc").write_bytes(bytes(100))
    (tmp_path / f"run_{stem}.mrc").write_bytes(bytes(7))
    assert folder.accumulators() == (3, 300)


def test_a_refinement_without_a_name_of_its_own_is_seen(tmp_path: Path) -> None:
    write_previous(tmp_path, "run", order=2)
    for path in tmp_path.iterdir():  # as RELION names them if its --o ends with a slash
        path.rename(path.with_name(path.name.removeprefix("run")))
    assert [(i.number, i.root, i.healpix_order) for i in RefinementFolder(tmp_path).iterations()] == [(4, "", 2)]


MODEL = """
data_model_general

_rlnCurrentResolution   8.0
_rlnPixelSize   2.0

data_model_classes

loop_
_rlnReferenceImage #1
_rlnAccuracyRotations #2
run_class001.mrc 1.5

data_model_class_1

loop_
_rlnSpectralIndex #1
_rlnGoldStandardFsc #2
{rows}

data_model_groups

loop_
_rlnGroupNumber #1
_rlnGroupName #2
1 0.5
"""


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("0 1.0\n1 0.9\n2 0.25", (1.0, 0.9, 0.25)),
        ("0 0.0\n1 0.0\n2 0.0", ()),  # a classification
        ("0 1.0\n1 0.9\n2", ()),  # still being written
        ("0 1.0\n1 x\n2 0.25", ()),
        ("0 1.0\n1 nan\n2 0.25", ()),
        ("", ()),
    ],
)
def test_the_fsc_of_the_halves_is_read(tmp_path: Path, rows: str, expected: tuple[float, ...]) -> None:
    (tmp_path / "run_it003_half1_model.star").write_text(MODEL.format(rows=rows))
    (tmp_path / "run_it003_optimiser.star").write_text(
        "data_optimiser_general\n_rlnOverallAccuracyRotations 2.5\n_rlnOverallAccuracyTranslationsAngst 999.0\n"
    )
    (found,) = RefinementFolder(tmp_path, "run").iterations()
    assert found.half_map_fsc == expected
    assert (found.accuracy_degrees, found.accuracy_angstrom) == (2.5, None)
    if rows.count("x") == 0:
        assert found.pixel_size_angstrom == 2.0


@pytest.mark.parametrize("version", ["3.1.3", "5.0.1"])
def test_both_relions_tell_the_fsc_up_to_the_joined_iteration(version: str, shared_fixtures: Path) -> None:
    folder = next(path for path in (shared_fixtures / f"relion-{version}").iterdir() if path.is_dir())
    found = RefinementFolder(folder).iterations()
    assert [len(i.half_map_fsc) for i in found] == [17] * len(found)
    assert all(i.half_map_fsc[1] > 0.9 > i.half_map_fsc[-1] for i in found)
    assert found[-1].number == 12
