from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrecon.errors import StarError
from extrecon.relion.names import (
    ACCUMULATORS,
    CALL_RECORD,
    MODEL,
    OPTIMISER,
    SAMPLING,
    output_stem,
    parse_file_name,
    parse_job_name,
    root_of_optimiser,
)

roots = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,20}", fullmatch=True)


@given(
    root=roots,
    iteration=st.integers(1, 1200),
    half=st.sampled_from([None, 1, 2]),
    kind=st.sampled_from(["class", "body"]),
    number=st.integers(1, 200),
)
def test_what_a_name_says_is_read_back(root: str, iteration: int, half: int | None, kind: str, number: int) -> None:
    middle = f"_half{half}" if half else ""
    path = Path(f"Refine3D/job_012/{root}_it{iteration:03d}{middle}_{kind}{number:03d}_external_reconstruct.star")
    name = parse_job_name(path)
    assert name is not None
    assert (name.root, name.iteration, name.half, name.kind, name.number) == (root, iteration, half, kind, number)
    assert name.folder == Path("Refine3D/job_012")


@given(
    root=roots,
    iteration=st.integers(0, 1200),
    half=st.sampled_from([None, 1, 2]),
    part=st.sampled_from([("", None, 0), ("_class001", "class", 1), ("_body012", "body", 12)]),
    ending=st.sampled_from([SAMPLING, OPTIMISER, MODEL, CALL_RECORD, *ACCUMULATORS]),
)
def test_every_file_of_an_iteration_is_named_by_one_rule(
    root: str, iteration: int, half: int | None, part: tuple[str, str | None, int], ending: str
) -> None:
    middle, kind, number = part
    name = parse_file_name(f"{root}_it{iteration:03d}{f'_half{half}' if half else ''}{middle}{ending}")
    assert name == (root, iteration, half, kind, number, ending)


@pytest.mark.parametrize(
    ("name", "root"),
    [
        ("run_it012_optimiser.star", "run"),
        ("run_ct3_it012_optimiser.star", "run_ct3"),
        ("run_optimiser.star", "run"),
        ("run_it012_old_optimiser.star", "run_it012_old"),
        ("run_it012_model.star", None),
    ],
)
def test_an_optimiser_file_names_its_run(name: str, root: str | None) -> None:
    assert root_of_optimiser(name) == root


def test_a_prefix_may_look_like_a_name_itself() -> None:
    name = parse_job_name(Path("my_it001_half1_class001_it012_half2_class003_external_reconstruct.star"))
    assert name is not None
    assert name.root == "my_it001_half1_class001"
    assert (name.iteration, name.half, name.number) == (12, 2, 3)


def test_a_continued_run_remembers_the_run_before() -> None:
    name = parse_job_name(Path("r/run_ct10_it011_half1_class001_external_reconstruct.star"))
    assert name is not None
    assert (name.root, name.original_root) == ("run_ct10", "run")


def test_a_label_is_short() -> None:
    name = parse_job_name(Path("run_it011_half2_body002_external_reconstruct.star"))
    assert name is not None
    assert name.label == "it011 half2 body002"


@pytest.mark.parametrize(
    "text", ["rec.star", "rec_external_reconstruct.star", "run_it1_class001_external_reconstruct.star"]
)
def test_other_names_say_nothing(text: str) -> None:
    assert parse_job_name(Path(text)) is None


def test_only_a_star_file_has_a_stem() -> None:
    assert output_stem(Path("a/b.c.star")) == Path("a/b.c")
    with pytest.raises(StarError, match=r"ends in \.star"):
        output_stem(Path("a/b.mrc"))
