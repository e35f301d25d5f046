"""ONNX Runtime, imported so that it tells nobody of its use."""

from __future__ import annotations

import importlib
import os
from typing import Any

SILENCE = "ORT_DISABLE_TELEMETRY"
"""From 1.29 on the wheels for Linux report sessions, models and the computer to Microsoft, unless this is set
before the import: then no thread is started, and neither an identifier nor a file is left in the home folder."""


def onnx_runtime() -> Any:
    """Import ONNX Runtime, a module without types, with its reports switched off."""
    os.environ[SILENCE] = "1"
    return importlib.import_module("onnxruntime")
