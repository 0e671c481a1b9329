"""One PostgreSQL server for the tests of this room, and a folder whose runs lie in a file or in a store of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgres import Server, need_postgres, short_folder

PASSWORD = "s3cret word: ünïque"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    need_postgres()
    with short_folder() as folder, Server(folder / "s", PASSWORD) as running:
        yield running


@pytest.fixture
def store(server: Server) -> Iterator[str]:
    """The address of a store without runs, over the socket."""
    import psycopg

    yield server.socket_address
    with psycopg.connect(server.socket_address, autocommit=True) as db:
        db.execute("DROP SCHEMA IF EXISTS assay CASCADE")
