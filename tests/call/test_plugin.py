"""Whatever a plugin does, RELION gets a map that is right, and the record says what happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extrecon.call.pipeline import run_job
from extrecon.call.plugin import foreign
from extrecon.call.randomness import seed_of
from extrecon.errors import MapError, OutputError, RegularizerError
from extrecon.maps import read_map
from extrecon.options import resolve
from extrecon.record import Record
from tests.jobs import BOX, JobFiles, write_job

pytestmark = pytest.mark.usefixtures("plugins")

SMOOTH = "r = R(smooth(d))"


@pytest.fixture(autouse=True)
def _same_folder() -> Iterator[None]:
    before = Path.cwd()
    yield
    assert Path.cwd() == before


def run(files: JobFiles, code: str = "", **flags: Any) -> tuple[Record, list[str]]:
    said: list[str] = []
    chosen = {"gate_wait": 0.0, "half_wait": 0.3, "regularizer": "does", **flags}
    set_ = [f"do={code}"] if code else []
    record = run_job(files.request(resolve(chosen, set_, {}, None, files.folder)), said.append)
    return record, said


def density(path: Path) -> np.ndarray:
    return np.asarray(read_map(path).density)


def plain_density(tmp_path: Path, **how: Any) -> np.ndarray:
    files = write_job(tmp_path / "plain", **how)
    run(files, apply="never")
    return density(files.result)


def test_a_map_altered_in_place_is_compared_with_what_was_handed_out(tmp_path: Path) -> None:
    files = write_job(tmp_path / "job")
    record, said = run(files, "d[:] = -np.roll(d, 5, axis=2); r = R(d)")
    assert record.outcome == "fallback"
    assert "WARNING: PLAIN MAP RETURNED" in said[0]
    assert np.array_equal(density(files.result), plain_density(tmp_path))


def test_an_honest_plugin_may_work_in_place(tmp_path: Path) -> None:
    results = []
    for name, code in (("a", SMOOTH), ("b", "d[:] = smooth(d); c.half_map_fsc[:] = 0; r = R(d)")):
        files = write_job(tmp_path / name)
        record, _ = run(files, code)
        assert record.outcome == "regularized"
        assert record.safeguards["fsc_cutoff"] == BOX // 2
        results.append(density(files.result))
        assert np.array_equal(density(files.beside("_plain.mrc")), plain_density(tmp_path))
    assert np.array_equal(results[0], results[1])


RANDOM_SOURCES = {
    "numpy": "n = np.random.normal(size=d.shape)",
    "random": "import random; n = np.array([random.gauss(0, 1) for _ in range(d.size)]).reshape(d.shape)",
    "torch": "import torch; n = torch.randn(d.shape).numpy()",
    "context": "n = c.random.normal(size=d.shape)",
    "own": "n = self.generator.normal(size=d.shape)",
    "own, of the old kind": "n = self.old.normal(size=d.shape)",
    "module's": "import extrecon_test_plugins; n = extrecon_test_plugins.GENERATOR.normal(size=d.shape)",
}


@pytest.mark.parametrize("source", RANDOM_SOURCES)
def test_random_numbers_differ_between_halves_and_repeat_with_the_call(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = pytest.importorskip("extrecon_test_plugins")
    noises: dict[str, np.ndarray] = {}
    for half in ("half1", "half2", "half1"):
        # Each call starts from the same state of everything, as processes forked from one parent do.
        np.random.seed(1)  # noqa: NPY002
        monkeypatch.setattr(module, "GENERATOR", np.random.default_rng(1), raising=False)
        monkeypatch.setattr(module.Does, "__init__", _with_generators)
        files = write_job(tmp_path / half, name=f"run_it005_{half}_class001")
        code = f"{RANDOM_SOURCES[source]}; r = R(smooth(d), maps={{'noise': n}})"
        record, _ = run(files, code)
        assert record.outcome == "regularized", record.reason
        assert record.seed == seed_of(files.stem.name)
        noise = density(files.beside("_noise.mrc"))
        if half in noises:
            assert np.array_equal(noise, noises[half])
        noises[half] = noise
    correlation = np.corrcoef(noises["half1"].ravel(), noises["half2"].ravel())[0, 1]
    assert abs(correlation) < 5 / np.sqrt(BOX**3)


def _with_generators(self: Any) -> None:
    self.generator = np.random.default_rng(1)
    self.old = np.random.RandomState(1)


def test_the_users_own_random_numbers_go_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.normal(size=2)  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    run(write_job(tmp_path), "np.random.normal(size=3); r = R(smooth(d))")
    assert np.array_equal(np.random.normal(size=2), expected)  # noqa: NPY002


def test_torch_is_seeded_even_if_a_plugin_imports_it_only_then() -> None:
    program = (
        "import sys; from extrecon.call.randomness import own_random_numbers\n"
        "assert 'torch' not in sys.modules\n"
        "with own_random_numbers(77, object.__new__(type('P', (), {}))):\n"
        "    import torch\n"
        "    assert torch.initial_seed() == 77 and torch.nn\n"
        "assert not [f for f in sys.meta_path if 'Seeder' in type(f).__name__]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


ENDINGS = {
    "sys.exit(3)": "import sys; sys.exit(3)",
    "a keyboard interrupt": "raise KeyboardInterrupt",
    "a generator's exit": "raise GeneratorExit",
    "text that cannot be encoded": "raise ValueError('\\ud800 is no character')",
    "an error without a text": "class E(Exception):\n  def __str__(self): raise TypeError\nraise E",
    "another kind of answer": "r = d",
    "complex numbers": "r = R(d * (1 + 0.1j))",
    "words": "r = R(np.full(d.shape, 'density'))",
    "almost nothing": "r = R(d.astype(float) * 1e-60)",
    "a constant": "r = R(np.full_like(d, d.max()))",
    "a bad change of folder": "os.chdir('/'); raise ValueError('from elsewhere')",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_however_a_plugin_ends_there_is_the_plain_map(ending: str, tmp_path: Path) -> None:
    files = write_job(tmp_path / "job")
    record, said = run(files, ENDINGS[ending])
    assert record.outcome == "fallback"
    assert "WARNING: PLAIN MAP RETURNED" in said[0]
    said[0].encode()
    assert np.array_equal(density(files.result), plain_density(tmp_path))
    assert json.loads(files.record.read_text())["outcome"] == "fallback"


@pytest.mark.parametrize("ending", ENDINGS)
def test_or_no_map_at_all_if_the_user_prefers_that(ending: str, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    with pytest.raises(Exception) as raised:  # noqa: PT011  of whatever kind
        run(files, ENDINGS[ending], on_error="fail")
    assert raised.value is not None
    assert not files.result.exists()
    assert json.loads(files.record.read_text())["outcome"] == "failed"


ODD_FACTS = {
    "a tuple as key": "f = {(1, 2): 3}",
    "a cycle": "f = {}; f['f'] = f",
    "a lone surrogate": "f = {'\\ud800': '\\udfff'}",
    "great depth": "f = {}\nfor _ in range(5000): f = {'f': f}",
    "not a number": "f = {'x': float('nan'), 'y': np.float32('inf')}",
    "a whole map": "f = {'map': np.zeros((99, 99, 99))}",
    "an object with a bad text": "class O:\n  def __str__(self): raise TypeError\nf = {'o': O()}",
    "no mapping": "f = [1, 2]",
    "NumPy's numbers": "f = {'n': np.int64(3), 'a': np.arange(3), 'b': np.bool_(True)}",
}


@pytest.mark.parametrize("kind", ODD_FACTS)
def test_facts_of_any_kind_are_written(kind: str, tmp_path: Path) -> None:
    files = write_job(tmp_path)
    record, _ = run(files, f"{ODD_FACTS[kind]}\nr = R(smooth(d), facts=f)")
    assert record.outcome == "regularized"
    told = json.loads(files.record.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert told["outcome"] == "regularized"
    assert files.record.stat().st_size < 100_000
    if kind == "NumPy's numbers":
        assert told["facts"] == {"n": 3, "a": [0, 1, 2], "b": True}


def test_a_plugin_that_changes_the_folder_leaves_results_where_they_belong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_job(tmp_path / "job")
    monkeypatch.chdir(files.folder)
    files.star = Path(files.star.name)
    record, _ = run(files, "os.chdir('/'); os.umask(0); r = R(smooth(d))")
    assert record.outcome == "regularized"
    assert (tmp_path / "job" / files.result.name).exists()
    umask = os.umask(0o022)
    os.umask(umask)
    assert umask != 0


@pytest.mark.parametrize(
    "name", ["weight", "data_real", "plain", "out", "../evil", "", "a/b", "x" * 99, "a b", "."]
)
def test_a_plugins_map_cannot_bear_a_name_of_relions_or_ours(name: str, tmp_path: Path) -> None:
    files = write_job(tmp_path / "job")
    before = {path: path.read_bytes() for path in files.folder.glob("*_external_reconstruct_*.mrc")}
    record, said = run(files, f"r = R(smooth(d), maps={{{name!r}: d, 'fine': d}})")
    assert record.outcome == "regularized"
    assert record.maps == [files.beside("_fine.mrc").name]
    assert any(f"the regularizer's map '{name}' was not written" in line for line in said)
    assert {path: path.read_bytes() for path in before} == before
    assert not (tmp_path / "evil.mrc").exists()


@pytest.mark.parametrize("values", ["None", "'words'", "d[0]", "d + 1j", "np.array([object()])"])
def test_a_map_that_is_none_does_not_cost_the_result(values: str, tmp_path: Path) -> None:
    record, said = run(write_job(tmp_path), f"r = R(smooth(d), maps={{'extra': {values}}})")
    assert record.outcome == "regularized"
    assert any("map 'extra' was not written" in line for line in said)


def test_a_damaged_record_never_makes_relions_files_disappear(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    names = [path.name for path in files.folder.glob("*_external_reconstruct_*.mrc")]
    assert len(names) == 3
    files.record.write_text(json.dumps({"maps": names}))
    record, _ = run(files, SMOOTH)
    assert record.outcome == "regularized"
    files.record.write_text("[" * 100_000)
    assert run(files, SMOOTH)[0].outcome == "regularized"


def test_an_accumulator_that_bears_a_name_of_ours_is_not_removed(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    odd = files.beside("_plain.mrc")
    files.beside("_weight.mrc").rename(odd)
    files.star.write_text(files.star.read_text().replace("_weight.mrc", "_plain.mrc"))
    before = odd.read_bytes()
    record, _ = run(files, apply="never")
    assert record.outcome == "plain"
    assert odd.read_bytes() == before


@pytest.mark.parametrize("name", ["exits-when-loaded", "checks-badly"])
def test_a_plugin_that_fails_before_its_time_does_not_cost_a_plain_map(name: str, tmp_path: Path) -> None:
    files = write_job(tmp_path, order=2)
    record, said = run(files, regularizer=name)
    assert record.outcome == "plain"
    assert any("the regularizer cannot be used when its time comes" in line for line in said)
    assert files.result.exists()


def test_a_record_that_cannot_be_written_does_not_cost_the_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(record: Record, path: Path) -> None:
        raise OutputError(f"{path}: cannot be written: No space left on device.")

    monkeypatch.setattr(Record, "write", fails)
    for flags, outcome in (({}, "regularized"), ({"apply": "never"}, "plain")):
        files = write_job(tmp_path / outcome)
        record, said = run(files, SMOOTH, **flags)
        assert record.outcome == outcome
        assert files.result.exists()
        assert sum("warning: the record could not be written" in line for line in said) == 1


def test_empty_accumulators_give_an_empty_map_and_nobody_is_blamed(tmp_path: Path) -> None:
    files = write_job(tmp_path, density=np.zeros((BOX,) * 3, np.float32))
    for end in ("_data_real.mrc", "_data_imag.mrc", "_weight.mrc"):
        content = bytearray(files.beside(end).read_bytes())
        content[1024:] = bytes(len(content) - 1024)
        files.beside(end).write_bytes(content)
    record, said = run(files, SMOOTH)
    assert record.outcome == "plain"
    assert record.regularizer is None
    assert "plain map (no particles here: the accumulators are empty" in said[0]
    assert not density(files.result).any()


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")  # as NumPy says beforehand
def test_a_reconstruction_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    files = write_job(tmp_path)
    path = files.beside("_data_real.mrc")
    content = path.read_bytes()
    path.write_bytes(content[:1024] + np.full((len(content) - 1024) // 4, 3e38, np.float32).tobytes())
    with pytest.raises(MapError, match=r"the reconstruction has \d+ of 13824 values that are NaN or infinite"):
        run(files, SMOOTH)
    assert not files.result.exists()


def test_accumulators_are_removed_after_success_alone(tmp_path: Path) -> None:
    ends = ("_data_real.mrc", "_data_imag.mrc", "_weight.mrc")
    cases: tuple[tuple[str, str, dict[str, Any], bool], ...] = (
        ("fine", SMOOTH, {}, False),
        ("plain", SMOOTH, {"apply": "never"}, False),
        ("bad", "r = 1", {}, True),
    )
    for name, code, flags, kept in cases:
        files = write_job(tmp_path / name)
        run(files, code, remove_accumulators=True, **flags)
        assert [files.beside(end).exists() for end in ends] == [kept] * 3
        assert files.result.exists()
    files = write_job(tmp_path / "default")
    run(files, SMOOTH)
    assert all(files.beside(end).exists() for end in ends)


def test_foreign_code_cannot_end_the_program() -> None:
    with pytest.raises(RegularizerError, match=r"tried to end the program \(SystemExit: 3\)"):
        foreign(lambda: sys.exit(3))
