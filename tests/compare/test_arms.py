"""What an arm's text means, and what is refused before RELION is started."""

from __future__ import annotations

import os
import shlex
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from extrecon.compare import arm_code
from extrecon.compare.arm_code import regularizers_of
from extrecon.compare.arms import RELIONS_OWN_PROGRAM, Arm, read_arm, read_arms
from extrecon.errors import ExtreconError
from extrecon.regularizer import available


def test_plain_is_relions_own_program() -> None:
    arm = read_arm("plain")
    assert (arm.name, arm.command, arm.calls_hook) == ("plain", "relion_external_reconstruct", False)


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("identity", "identity", ["--regularizer", "identity"]),
        (
            "mild=--regularizer localdeblur --set K=0.01",
            "mild",
            ["--regularizer", "localdeblur", "--set", "K=0.01"],
        ),
        ("at_once= --apply always", "at_once", ["--apply", "always"]),
    ],
)
def test_a_regularizer_or_options_are_the_hooks(text: str, name: str, options: list[str]) -> None:
    arm = read_arm(text)
    program, *words = shlex.split(arm.command)
    assert (arm.name, Path(program).name, words, arm.calls_hook) == (name, "extrecon-hook", options, True)
    assert os.access(program, os.X_OK)


def test_a_command_is_taken_as_it_is() -> None:
    arm = read_arm("mine=env A='b  c' true")
    assert (arm.name, arm.command, arm.calls_hook) == ("mine", "env A='b  c' true", False)


@pytest.mark.parametrize(
    ("text", "regularizes"),
    [
        ("plain", False),
        ("identity", False),
        ("follows=--regularizer=identity --mask-each-iteration", False),
        ("late=--regularizer local=identity", False),
        ("last=--regularizer cnn --regularizer identity", False),
        ("never=--regularizer cnn --apply never", False),
        ("localdeblur", True),
        ("first=--regularizer identity --regularizer cnn", True),
        ("both=--regularizer global=identity,local=cnn", True),
        ("late=--gate-wait 1", True),
        ("mine=env EXTRECON=1 true", True),
    ],
)
def test_only_relions_program_and_identity_leave_the_maps_as_they_are(
    text: str, regularizes: bool, tmp_path: Path
) -> None:
    assert read_arm(text).regularizes(tmp_path) == regularizes


def test_a_configuration_file_may_say_that_an_arm_leaves_the_maps(tmp_path: Path) -> None:
    (tmp_path / "extrecon.toml").write_text('apply = "never"\n')
    assert not read_arm("masked=--mask-each-iteration").regularizes(tmp_path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "An arm cannot be called ''"),
        ("-x=true", "cannot be called '-x'"),
        ("a b=true", "cannot be called 'a b'"),
        ("a='true", "cannot be split into words"),
        ("a=--regularizer nonesuch", "nonesuch"),
        ("a=--regularizer localdeblur --set K=much", "K"),
        ("a=--no-such-option", "--no-such-option"),
    ],
)
def test_what_cannot_be_an_arm_is_refused(text: str, told: str) -> None:
    with pytest.raises(ExtreconError, match=told) as refused:
        read_arm(text)
    assert refused.value.exit_code in (2, 4)


def test_arms_keep_their_order_and_need_a_name_each() -> None:
    assert [arm.name for arm in read_arms(["z=true", "plain", "a=true"])] == ["z", "plain", "a"]
    with pytest.raises(ExtreconError, match="Two arms are called 'a'"):
        read_arms(["a=true", "b=true", "a=false"])
    with pytest.raises(ExtreconError, match="at least one --arm"):
        read_arms([])


def test_the_code_of_an_arms_regularizers_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "plugin"
    folder.mkdir()
    source = folder / "an_edited_plugin.py"
    source.write_text("first = 1\n")
    monkeypatch.syspath_prepend(str(folder))
    entry = EntryPoint("edited", "an_edited_plugin:Edited", "extrecon.regularizers")
    monkeypatch.setattr(arm_code, "available", lambda: {"edited": entry, **available()})
    arm = Arm("mine", "extrecon-hook --regularizer edited+identity", calls_hook=True)
    before = regularizers_of(arm, tmp_path)
    assert set(before) == {"edited", "identity"}
    source.write_text("first = 2\n")
    after = regularizers_of(arm, tmp_path)
    assert after["edited"] != before["edited"]
    assert after["identity"] == before["identity"]
    assert regularizers_of(Arm("plain", RELIONS_OWN_PROGRAM, calls_hook=False), tmp_path) == {}
    assert regularizers_of(Arm("odd", "extrecon-hook --no-such-option", calls_hook=True), tmp_path) == {}
