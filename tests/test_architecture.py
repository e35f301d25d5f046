"""The rooms' import directions, read from the imports themselves."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the top: a room imports only from rooms below it.
ORDER = (
    "hook",
    "cli",
    "compare",
    "daemon",
    "call",
    "validate",
    "pictures",
    "simulate",
    "regularizer",
    "reconstruct",
    "relion",
    "atoms",
    "fourier",
    "maps",
    "options",
    "record",
    "system",
    "errors",
)
PUBLIC_TO_REGULARIZERS = {"regularizer", "atoms", "maps", "fourier", "errors"}
STANDARD_LIBRARY_ONLY = (
    "hook",
    "daemon.client",
    "call.supervisor",
    "call.fallback",
    "options",
    "options.command_line",
    "record",
    "system.relion_log",
    "system.processes",
    "system.devices",
    "system.files",
    "system.limits",
    "system.memory",
    "call.limits",
    "errors",
)


PLUGINS = "regularizers/extrecon_regularizers"


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "extrecon").parts[0].removesuffix(".py")


def imported(path: Path) -> list[str]:
    """Return the dotted names a file imports, at any depth."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            names += [f"{base}.{alias.name}" for alias in node.names]
    return names


def rooms_imported(path: Path) -> set[str]:
    parts = [name.split(".") for name in imported(path)]
    rooms = {p[1] for p in parts if p[0] == "extrecon" and len(p) > 1}
    return rooms - {"__version__"}


def test_every_room_is_in_the_order() -> None:
    rooms = {room_of(path) for path in modules("extrecon")} - {"__init__"}
    assert rooms == set(ORDER)


@pytest.mark.parametrize("path", modules("extrecon"), ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms_import_downwards(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        assert not rooms_imported(path)
        return
    allowed = set(ORDER[ORDER.index(room) :])
    assert rooms_imported(path) <= allowed


@pytest.mark.parametrize("path", modules("extrecon"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_never_imports_a_regularizer(path: Path) -> None:
    assert not [name for name in imported(path) if name.split(".")[0] == "extrecon_regularizers"]


@pytest.mark.parametrize("path", modules(PLUGINS), ids=lambda p: str(p.relative_to(ROOT)))
def test_regularizers_use_the_public_interface_alone(path: Path) -> None:
    assert rooms_imported(path) <= PUBLIC_TO_REGULARIZERS


def test_the_hook_imports_nothing_heavy() -> None:
    program = (
        "import sys; before = set(sys.modules); "
        + "; ".join(f"import extrecon.{name}" for name in STANDARD_LIBRARY_ONLY)
        + "; print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    outside = set(ran.stdout.split()) - set(sys.stdlib_module_names)
    assert outside == {"extrecon"}


@pytest.mark.parametrize(
    "path",
    [path for path in modules("extrecon") + modules(PLUGINS) if path.name == "__init__.py"],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_init_files_only_re_export(path: Path) -> None:
    for node in ast.parse(path.read_text()).body:
        assert isinstance(node, (ast.Expr, ast.ImportFrom, ast.Assign))
