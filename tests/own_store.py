"""A real SeaweedFS server for the tests of one module, whatever store the user's environment names."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slimline.params import PublishParams
from slimline.storage.server import SETTINGS, store_environment


@contextmanager
def own_store(root: Path) -> Iterator[dict[str, str]]:
    """The address and the keys of the embedded server of a project, as variables."""
    with pytest.MonkeyPatch.context() as patch:
        for name in SETTINGS:
            patch.delenv(name, raising=False)
        with store_environment(root, PublishParams()) as added:
            yield added
