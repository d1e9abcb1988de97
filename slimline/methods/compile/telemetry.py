"""Keep ONNX Runtime, OpenVINO and NNCF from phoning home."""

import os
import sys
from typing import Any, cast


def switch_off_telemetry() -> None:
    """Call it before any of the three is imported: from here on none of them sends or stores usage data.

    ONNX Runtime (1.31 on Linux) collects events in ~/.cache/Microsoft and sends them to events.data.microsoft.com from a native thread
    unless ORT_DISABLE_TELEMETRY is set when its library is loaded; `disable_telemetry_events()` comes too late for the first ones.
    OpenVINO and NNCF send to Google Analytics unless a file in the home folder says no; when `import openvino_telemetry` fails they use
    their own silent stubs. https://docs.python.org/3/reference/import.html#the-module-cache: None means not found.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    cast("dict[str, Any]", sys.modules).setdefault("openvino_telemetry", None)
