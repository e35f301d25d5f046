"""Values that are numbers or files only in name are refused with a sentence, wherever they come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from extrecon.errors import DeviceError, UsageError
from extrecon.fourier.compute import compute_for
from extrecon.options import OPTIONS, resolve
from extrecon.options.effective import Option

NUMBERS = [option for option in OPTIONS if type(option.default) in (int, float)]


def _from_file(text: str, folder: Path) -> None:
    (folder / "extrecon.toml").write_text(text, encoding="utf-8")
    resolve({}, [], {}, None, folder)


@pytest.mark.parametrize("option", NUMBERS, ids=[option.name for option in NUMBERS])
@pytest.mark.parametrize("word", ["nan", "inf", "-inf", "1e400", "9" * 30])
def test_a_number_that_is_not_finite_or_far_too_large_is_refused(option: Option, word: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=option.variable):
        resolve({}, [], {option.variable: word}, None, tmp_path)
    with pytest.raises(UsageError, match=option.key):
        _from_file(f"{option.key} = {word}\n", tmp_path)


@pytest.mark.parametrize("value", ["2020-01-01", "12:00:00", "[1]", "{a = 1}"])
@pytest.mark.parametrize("key", [option.key for option in OPTIONS])
def test_a_file_s_value_that_is_no_word_number_or_switch_is_refused(key: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=key):
        _from_file(f"{key} = {value}\n", tmp_path)


@pytest.mark.parametrize("value", ["2020-01-01", "12:00:00", "[1]"])
def test_a_setting_that_is_no_word_number_or_switch_is_refused(value: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="set"):
        _from_file(f"[set]\nkey = {value}\n", tmp_path)


def test_a_deeply_nested_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        _from_file("threads = " + "[" * 20000 + "]" * 20000 + "\n", tmp_path)


def test_an_unbalanced_quote_in_the_variable_for_settings_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"EXTRECON_SET.*quot"):
        resolve({}, [], {"EXTRECON_SET": "a='b"}, None, tmp_path)


@pytest.mark.parametrize("device", ["cuda:abc", "cuda:", "cuda:-1", "cuda:1.5", "cuda:" + "9" * 30])
def test_a_device_without_a_proper_number_is_refused(device: str) -> None:
    with pytest.raises(DeviceError, match=r"choose auto, cpu, cuda or cuda:N"):
        compute_for(device)
