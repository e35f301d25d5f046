from __future__ import annotations

import os
from pathlib import Path

import pytest

from extrecon.errors import UsageError
from extrecon.options import OPTIONS, resolve


def test_flag_beats_variable_beats_file_beats_default(tmp_path: Path) -> None:
    (tmp_path / "extrecon.toml").write_text(
        'apply = "never"\nthreads = 3\ndevice = "cpu"\n[set]\nk = 0.01\nstep = 1\n'
    )
    environ = {"EXTRECON_APPLY": "always", "EXTRECON_DEVICE": "cuda", "EXTRECON_SET": "k=0.02 rounds=4"}
    options = resolve({"apply": "local-search", "on_error": None}, ["k=0.05"], environ, None, tmp_path)
    assert options.values["apply"] == "local-search"
    assert options.values["device"] == "cuda"
    assert options.values["threads"] == 3
    assert options.values["on_error"] == "plain"
    assert options.settings == {"k": "0.05", "rounds": "4", "step": 1}
    origins = {key: options.origins[key] for key in ("apply", "device", "threads", "on_error")}
    assert origins == {
        "apply": "flag",
        "device": "EXTRECON_DEVICE",
        "threads": "extrecon.toml",
        "on_error": "default",
    }
    assert options.origins["set.k"] == "flag"
    assert options.origins["set.rounds"] == "EXTRECON_SET"
    assert options.origins["set.step"] == "extrecon.toml"


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"EXTRECON_APPLY": "sometimes"}, "EXTRECON_APPLY: 'sometimes' is not one of local-search, always, never"),
        ({"EXTRECON_THREADS": "many"}, "EXTRECON_THREADS: 'many' is not a whole number"),
        ({"EXTRECON_GATE_WAIT": "-1"}, "EXTRECON_GATE_WAIT: the value must not be negative"),
        ({"EXTRECON_SHELL_SCALE": "perhaps"}, "EXTRECON_SHELL_SCALE: 'perhaps' is neither true nor false"),
        ({"EXTRECON_SET": "k"}, "EXTRECON_SET: 'k' is not of the form KEY=VALUE"),
        ({"EXTRECON_CONFIG": "absent.toml"}, "absent.toml: cannot be read"),
    ],
)
def test_nonsense_is_refused_with_its_origin(environ: dict[str, str], told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        resolve({}, [], environ, None, tmp_path)
    assert told in str(error.value)


@pytest.mark.parametrize("text", ["aply = 'never'", "set = 3", "[set]\nk = [1]", "apply = "])
def test_a_configuration_file_that_makes_no_sense_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "extrecon.toml").write_text(text)
    with pytest.raises(UsageError, match=r"extrecon\.toml"):
        resolve({}, [], {}, None, tmp_path)


def test_a_configuration_file_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(UsageError, match=r"pipe\.toml: cannot be read: a folder, pipe or device"):
        resolve({}, [], {}, Path("pipe.toml"), tmp_path)


def test_a_misspelt_variable_is_told(tmp_path: Path) -> None:
    options = resolve({}, [], {"EXTRECON_REGULARISER": "cnn"}, None, tmp_path)
    assert options.warnings == [
        "the environment variable EXTRECON_REGULARISER is not one of extrecon's and has no effect. "
        "Did you mean 'EXTRECON_REGULARIZER'?"
    ]


def test_switches_turn_off_by_variable(tmp_path: Path) -> None:
    options = resolve({}, [], {"EXTRECON_FSC_CUTOFF": "0"}, None, tmp_path)
    assert options.flag("fsc_cutoff") is False
    assert options.flag("shell_scale") is True


def test_every_option_has_help_and_a_default_of_its_kind() -> None:
    for option in OPTIONS:
        assert option.help.endswith(".")
        assert option.parse(option.default, "default") == option.default
