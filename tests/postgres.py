"""A real PostgreSQL server for tests: Debian's package, a data folder of its own, a Unix socket or loopback.

with Server(tmp_path / "s") as server:
    server.address, server.stop("immediate"), server.start()
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest


def postgres_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def need_postgres() -> None:
    """Skip the test where there is no server or no client."""
    if postgres_programs() is None:
        pytest.skip("no PostgreSQL server on this machine (Debian: postgresql)")
    pytest.importorskip("psycopg", reason="psycopg is not installed (extra postgres)")


class Server:
    """A server in this folder, whose superuser is `gate`. With a `password` it listens on loopback too, and asks for it there."""

    def __init__(self, folder: Path, password: str = "") -> None:
        programs = postgres_programs()
        assert programs is not None
        self._programs, self.folder, self._password = programs, folder, password
        self.data = folder / "data"
        self.port = 0
        self.options = ""
        self._prefix: list[str] = []

    @property
    def address(self) -> str:
        """Of its first database, over the socket, where nobody is asked for a password."""
        return f"postgresql://gate@/postgres?host={self.folder}"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:  # the server does not run as root
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._prefix = ["runuser", "-u", "postgres", "--"]
        secret = self.folder / "password"
        secret.write_text(self._password or "unused")
        secret.chmod(0o644)
        more = [f"--pwfile={secret}", "--auth-host=scram-sha-256"] if self._password else []
        self._call("initdb", "-D", self.data, "-U", "gate", "--auth-local=trust", *more, "--no-locale", "-E", "UTF8", "--no-sync")
        secret.unlink()
        if self._password:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
        self.start()
        return self

    def start(self, more: str = "") -> None:
        listen = f"-c listen_addresses=127.0.0.1 -p {self.port}" if self.port else "-c listen_addresses=''"
        fixed = f"-c unix_socket_directories='{self.folder}' -c shared_buffers=16MB -c max_connections=40"
        self._call("pg_ctl", "-D", self.data, "-w", "-l", self.folder / "log", "-o", f"{listen} {fixed} {self.options} {more}", "start")

    def stop(self, mode: str = "immediate") -> None:
        self._call("pg_ctl", "-D", self.data, "-w", "-m", mode, "stop")

    def database(self) -> str:
        """The address of a new, empty database, over the socket."""
        import psycopg

        name = f"t{time.time_ns()}"
        with psycopg.connect(self.socket_address, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.socket_address.replace("/postgres?", f"/{name}?")

    @property
    def socket_address(self) -> str:
        """The same, with the port that names the socket."""
        return self.address + (f"&port={self.port}" if self.port else "")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _call(self, program: str, *more: str | Path) -> None:
        quiet = subprocess.DEVNULL
        command = [*self._prefix, str(self._programs / program), *map(str, more)]
        subprocess.run(command, check=True, cwd=self.folder, stdout=quiet, stderr=quiet, timeout=120)


@contextmanager
def postgres_server(folder: Path) -> Iterator[str]:
    """A server of our own, on a Unix socket in this folder; the address of its database."""
    with Server(folder) as server:
        yield server.address


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder that the server's user may enter, and whose name a Unix socket can have."""
    with tempfile.TemporaryDirectory(prefix="assay-pg-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
