"""What several tests of meta-parameters in files begin with."""

from collections.abc import Callable
from typing import Any

import pytest

import celo


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Loads a content from a file."""
    path = tmp_path_factory.mktemp("damage") / "theta"

    def call(data: bytes, **named: Any) -> Any:
        path.write_bytes(data)
        return celo.load(path, **named)

    return call
