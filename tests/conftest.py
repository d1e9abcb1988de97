"""What many tests need: threads fixed, nothing that phones home, and the two bundled workloads."""

import os
from pathlib import Path

import pytest

os.environ.update(
    OMP_WAIT_POLICY="passive",
    OMP_NUM_THREADS="1",
    DO_NOT_TRACK="1",
    DVC_NO_ANALYTICS="1",
    GX_ANALYTICS_ENABLED="false",
    ORT_DISABLE_TELEMETRY="1",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
)

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def project() -> Path:
    """The checkout that these tests belong to."""
    return PROJECT


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
