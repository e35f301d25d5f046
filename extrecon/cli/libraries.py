"""Libraries that may be missing, or be built for another computer: part of ``extrecon doctor``."""

from __future__ import annotations

import os
import subprocess
import sys

from extrecon.cli.finding import Finding, State
from extrecon.system.packages import is_installed

_IMPORT_SECONDS = 120.0


def torch() -> Finding:
    """Tell whether torch, which only some of the work needs, can be imported."""
    if not is_installed("torch"):
        return Finding("torch", "note", "not installed", "simulate and GPUs need it; all else does not")
    return _tried("torch", "note", "GPU work and simulate need it: pip install torch")


def onnxruntime() -> Finding:
    """Tell whether ONNX Runtime, on which the networks run, can be imported."""
    repair = "the regularizer cnn and the method deepres need it: pip install --force-reinstall onnxruntime"
    if not is_installed("onnxruntime"):
        return Finding("onnxruntime", "bad", "not installed", repair)
    return _tried("onnxruntime", "bad", repair)


def _tried(package: str, if_broken: State, advice: str) -> Finding:
    """Import a package in another process first: one that was built for another CPU ends whoever imports it."""
    program = f"import {package}; print({package}.__version__)"
    try:
        tried = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_IMPORT_SECONDS,
            check=False,
            env=os.environ | {"ORT_DISABLE_TELEMETRY": "1"},  # or ONNX Runtime reports it
        )
    except subprocess.TimeoutExpired:
        told = f"its import takes more than {_IMPORT_SECONDS:.0f} s"
    else:
        if tried.returncode == 0:
            return Finding(package, "good", tried.stdout.strip().rpartition("\n")[2])
        lines = [line for line in tried.stderr.splitlines() if line.strip()]
        told = lines[-1] if lines else f"its import ends Python with code {tried.returncode}"
    sys.modules[package] = None  # type: ignore[assignment]  # what needs it says so, and does not die of it
    return Finding(package, if_broken, f"cannot be imported: {told}", advice)
