"""A name that is nearly right is understood where it can be, else the right one is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from extrecon.cli.main import app
from extrecon.errors import ExtreconError, UsageError
from extrecon.options.command_line import parse, parse_options
from extrecon.options.suggestion import did_you_mean, with_dashes
from extrecon.regularizer import load
from extrecon.settings import read_settings

KNOWN = ["max-resolution", "min-resolution", "K", "lambda"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("max_resolution", "max-resolution"),
        ("maxresolution", "max-resolution"),
        ("MaxResolution", "max-resolution"),
        ("min-resolutoin", "min-resolution"),
        ("k", "K"),
        ("lamda", "lambda"),
        ("strength", None),
    ],
)
def test_the_nearest_name_is_told(name: str, meant: str | None) -> None:
    assert did_you_mean(name, KNOWN) == (f" Did you mean '{meant}'?" if meant else "")


def test_underscores_are_dashes_where_only_those_are_known() -> None:
    given = {"max_resolution": 1, "a_b": 2, "c_d": 3, "e-f": 4}
    assert with_dashes(given, ["max-resolution", "a_b", "a-b"]) == {
        "max-resolution": 1,
        "a_b": 2,
        "c_d": 3,
        "e-f": 4,
    }


def test_parameters_take_underscores() -> None:
    plugin = load("localdeblur")
    settings = read_settings(plugin.settings_type, {"max_resolution": "14"}, "localdeblur")
    assert settings.max_resolution == 14
    with pytest.raises(UsageError, match="Did you mean 'max-resolution'"):
        read_settings(plugin.settings_type, {"maxresolution": "14"}, "localdeblur")
    with pytest.raises(UsageError, match="Did you mean 'xmipp'"):
        read_settings(plugin.settings_type, {"variant": "xmip"}, "localdeblur")


def test_the_hook_takes_underscores(tmp_path: Path) -> None:
    (tmp_path / "a.star").touch()
    words = ["--on_error", "fail", "--no_shell_scale", "--time_limit=5", "a.star"]
    for options in (parse(words, {}, tmp_path)[1], parse_options(words[:-1], {}, tmp_path)):
        assert options.text("on_error") == "fail"
        assert not options.flag("shell_scale")
        assert options.number("time_limit") == 5


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--regulariser", "cnn"], "no option --regulariser. Did you mean '--regularizer'?"),
        (["--apply", "alwys"], "Did you mean 'always'?"),
        (["--no-fsc-cutof", "--xyz"], "no option --xyz"),
        (["--shellscale"], "Did you mean '--shell-scale'?"),
    ],
)
@pytest.mark.parametrize("star", [["a.star"], []])
def test_the_hook_tells_the_nearest_option(words: list[str], told: str, star: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.star").touch()
    read = parse if star else parse_options
    with pytest.raises(UsageError) as raised:
        read([*words, *star], {}, tmp_path)
    assert told in str(raised.value)


def test_files_and_variables_are_told_of_too(tmp_path: Path) -> None:
    (tmp_path / "extrecon.toml").write_text('regulariser = "cnn"\n')
    with pytest.raises(UsageError, match="Did you mean 'regularizer'"):
        parse_options([], {}, tmp_path)
    (tmp_path / "extrecon.toml").unlink()
    warned = parse_options([], {"EXTRECON_REGULARISER": "cnn"}, tmp_path).warnings
    assert "Did you mean 'EXTRECON_REGULARIZER'?" in warned[0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["regularise"], "regularize"),
        (["regularize", "--regulariser", "x"], "--regularizer"),
        (["regularizers", "monors"], "Did you mean 'monores'?"),
        (["regularizers", "local_deblur"], "Did you mean 'localdeblur'?"),
    ],
)
def test_commands_tell_the_nearest_name(words: list[str], told: str) -> None:
    ended = CliRunner().invoke(app, words)
    assert ended.exit_code
    assert told in " ".join(ended.output.split()) + str(ended.exception)
    assert isinstance(ended.exception, (SystemExit, ExtreconError))


def test_options_of_commands_take_underscores() -> None:
    ended = CliRunner().invoke(app, ["regularize", "a.mrc", "--regularizer", "identity", "--fsc_cutoff", "-o", "b"])
    assert "--fsc-cutoff needs both half-maps" in str(ended.exception)
