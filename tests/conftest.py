"""Fixtures that several test files share."""

from collections.abc import Iterator

import pytest
from hub_server import HubServer


@pytest.fixture(scope="session")
def hub_server() -> Iterator[HubServer]:
    """A local Hugging Face Hub; tests keep apart by using repositories of their own."""
    with HubServer() as server:
        yield server
