"""Keep OpenVINO and NNCF from phoning home."""

import sys
from typing import Any, cast


def switch_off_telemetry() -> None:
    """Make `import openvino_telemetry` fail from here on, so that OpenVINO and NNCF use their own silent stubs.

    Both send usage data to Google Analytics unless a file in the home folder says no; without this package neither can.
    Call it before either is imported. https://docs.python.org/3/reference/import.html#the-module-cache: None means not found.
    """
    cast("dict[str, Any]", sys.modules).setdefault("openvino_telemetry", None)
