"""What the project says of itself is said alike everywhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

import extrecon
from extrecon.regularizer import LOCAL_RESOLUTION_GROUP, REGULARIZER_GROUP, available, load
from extrecon.system.packages import SIMULATING

ROOT = Path(__file__).resolve().parents[1]
with (ROOT / "pyproject.toml").open("rb") as _file:
    PROJECT: dict[str, Any] = tomllib.load(_file)["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def distributions(lines: list[str]) -> set[str]:
    """Return the names of packages as they are imported."""
    return {re.split(r"[^A-Za-z0-9_-]", line)[0].replace("-", "_") for line in lines}


def test_the_citation_is_of_this_version() -> None:
    cited = re.findall(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited == [extrecon.__version__]
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc|\.dev)\d+)?", extrecon.__version__)


def test_a_tag_names_the_version_it_stands_at() -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no clone, or git is not installed")
    command = ["git", "tag", "--points-at", "HEAD", "--list", "v[0-9]*"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ran.returncode or not ran.stdout.strip():
        pytest.skip("no version's tag stands here")
    assert ran.stdout.split() == [f"v{extrecon.__version__}"]


def test_the_least_installation_has_no_torch() -> None:
    assert distributions(PROJECT["dependencies"]) & {"torch", *SIMULATING, "submitit"} == set()


def test_installing_brings_what_the_shipped_plugins_need() -> None:
    assert distributions(EXTRAS["simulate"]) == set(SIMULATING)
    for group in (REGULARIZER_GROUP, LOCAL_RESOLUTION_GROUP):
        for name, entry_point in available(group).items():
            if not entry_point.value.startswith("extrecon_regularizers."):
                continue
            needed = load(name, group, to_work=False).needs_packages
            assert set(needed) <= distributions(PROJECT["dependencies"])


def test_all_brings_every_extra_and_development_all() -> None:
    assert EXTRAS["all"] == ["extrecon[gpu,simulate,cluster]"]
    assert set(EXTRAS) == {"gpu", "simulate", "cluster", "all", "dev", "docs"}
    assert "extrecon[all]" in EXTRAS["dev"]
