"""Where a run lies in PostgreSQL: the address of a store, and that of a run in it. A password is never part of what is shown or written.

store = parse_store("postgresql://assay@db.example/assay?sslmode=verify-full")
run = parse_run("postgresql://assay@db.example/assay#3f0c9a77")         # the run by its digest, or by its first 8 digits or more
run.text

An address may be handed about as a `Path` as well: a database must be named, so what a path folds together (`//`) can be told again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote, unquote

from assay.errors import RunFileError

STORE_VARIABLE = "ASSAY_STORE_URL"
OPTIONS = ("sslmode", "sslrootcert", "target_session_attrs", "channel_binding", "service")
"""What an address may say beside host, port, user and database. Keys and password files are named in the surroundings (PGSSLKEY,
PGPASSFILE), so that an address of others cannot make a program here read files of its choice."""
MOST = 1_000
RUN = re.compile(r"[0-9a-f]{8,64}")
_SCHEME = re.compile(r"postgres(?:ql)?:/+")
_ESCAPE = "What is special in a name or a password is written as %2F for /, %3F for ?, %40 for @; a password may be told as PGPASSWORD."
_SHAPE = "postgresql://USER@HOST[:PORT]/DATABASE"


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A database. `hosts` are names, IP addresses or socket folders, several where the server may fail over; `ports` one for all or one
    each.
    """

    user: str
    hosts: tuple[str, ...]
    ports: tuple[str, ...]
    database: str
    options: tuple[tuple[str, str], ...] = ()
    password: str = field(default="", repr=False)

    @property
    def text(self) -> str:
        """The address without its password."""
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        ports = self.ports if len(self.ports) == len(self.hosts) else self.ports * len(self.hosts)
        where = ",".join(_host(h) + (f":{p}" if p else "") for h, p in zip(self.hosts, ports or ("",) * len(self.hosts), strict=True))
        options = "&".join(f"{name}={quote(value, safe='')}" for name, value in self.options)
        database = f"/{quote(self.database, safe='')}" if self.database else "/"
        return f"postgresql://{user}{where}{database}" + (f"?{options}" if options else "")

    @property
    def is_near(self) -> bool:
        """Whether it stays on this machine: a socket or a loopback address."""
        return all(h.startswith(("/", "127.")) or h in ("localhost", "::1") for h in self.hosts) and "service" not in dict(self.options)

    def same_place(self, other: StoreAddress) -> bool:
        """Whether a password for one is meant for the other."""
        mine, theirs = (replace(a, user="", options=(), password="", ports=a.ports or ("5432",)) for a in (self, other))
        return mine == theirs and (not self.user or not other.user or self.user == other.user)


@dataclass(frozen=True, slots=True)
class RunAddress:
    """A run in a store; `run` is the digest of its registration in hexadecimal, whole or its first digits."""

    store: StoreAddress
    run: str

    @property
    def text(self) -> str:
        """The address without a password."""
        return f"{self.store.text}#{self.run}"


def is_address(place: str | Path) -> bool:
    """Whether this is an address and no path."""
    return _SCHEME.match(str(place)) is not None


def address_text(place: str | Path) -> str:
    """An address of a store or a run as it is shown: without its password. Raises `RunFileError`."""
    return parse_run(place).text if "#" in str(place) else parse_store(place).text


def parse_store(text: str | Path) -> StoreAddress:
    """The address of a store. Raises `RunFileError`, which quotes nothing of it: it may hold a password."""
    given = str(text)
    found = _SCHEME.match(given)
    if found is None:
        raise RunFileError("not the address of a store", fix=f"It looks like {_SHAPE}")
    if len(given) > MOST or not given.isprintable() or " " in given:
        raise RunFileError(f"an address is at most {MOST} characters, without spaces", fix=f"It looks like {_SHAPE}")
    if "#" in given:
        raise RunFileError("this is the address of a run, not of a store", fix="Leave out what follows the '#'.")
    rest, _, query = given[found.end() :].partition("?")
    given_options = [item.partition("=") for item in query.split("&") if item]
    options = {name: unquote(value) for name, _, value in given_options}
    if len(options) != len(given_options):
        raise RunFileError("an address says everything once")
    if "@" in query or "@" in rest.partition("/")[2]:
        raise RunFileError("an address has an '@' before its host alone", fix=f"{_ESCAPE} It looks like {_SHAPE}")
    before, slash, path = rest.partition("/")
    if not slash and found[0].count("/") != 2:  # as a path, ///DATABASE has lost its empty host
        before, path = "", before
    authority, database = before, unquote(path)
    who, _, where = authority.rpartition("@")
    name, _, password = who.partition(":")
    hosts, ports = _hosts(where)
    user = unquote(name) or options.pop("user", "")
    hosts = hosts or tuple(h for h in options.pop("host", "").split(",") if h)
    ports = ports or tuple(p for p in options.pop("port", "").split(",") if p)
    database = database or options.pop("dbname", "")
    return _checked(StoreAddress(user, hosts, ports, database, tuple(sorted(options.items())), unquote(password)))


def parse_run(text: str | Path) -> RunAddress:
    """The address of a run. Raises `RunFileError`."""
    store, found, run = str(text).rpartition("#")
    if not found or RUN.fullmatch(run) is None:
        raise RunFileError("an address of a run ends with # and 8 or more digits of the run's digest", fix="List them: assay store list")
    return RunAddress(parse_store(store), run)


def _checked(address: StoreAddress) -> StoreAddress:
    names = dict(address.options)
    unknown = sorted(set(names) - set(OPTIONS))
    if unknown:
        what = "a password in the query" if "password" in unknown else "one of these options"  # which may be a piece of a password
        raise RunFileError(
            f"an address of a store does not take {what}", fix=f"It takes {', '.join(OPTIONS)}; the rest is told as PG... variables."
        )
    if "service" in names and (address.user or address.hosts or address.ports or address.database):
        raise RunFileError("a service names everything by itself", fix="Leave host, user and database out: postgresql://?service=NAME")
    if "service" not in names and not address.database:
        raise RunFileError("the address names no database", fix=f"It looks like {_SHAPE}")
    if any(not p.isdigit() or not 0 < int(p) < 65_536 for p in address.ports) or len(address.ports) not in (0, 1, len(address.hosts)):
        raise RunFileError("a port is a number up to 65535, one for all hosts or one for each")
    if any("\0" in value or "," in value for value in (address.user, address.database, *address.hosts, *names.values())):
        raise RunFileError("the address holds a character that no name has")
    return address


def _hosts(where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    hosts, ports = [], []
    for part in where.split(",") if where else ():
        found = re.fullmatch(r"(\[[0-9a-fA-F:.%]+\]|[^:\[\]]*)(?::(\d{1,5}))?", part)
        if found is None:
            raise RunFileError("the address names no host that could be", fix=f"It looks like {_SHAPE}")
        hosts.append(unquote(found[1].strip("[]")))
        ports.append(found[2] or "")
    if any(ports) and not all(ports):
        ports = [p or "5432" for p in ports]
    return tuple(hosts), tuple(p for p in ports if p)


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("/") else quote(host, safe="")


def known_store(address: StoreAddress, surroundings: Mapping[str, str] = os.environ) -> StoreAddress | None:
    """What ASSAY_STORE_URL says, if it names the same place: its password is meant for it, and its options count, not those of a file that
    may come from others.
    """
    known = surroundings.get(STORE_VARIABLE, "")
    own = parse_store(known) if known else None
    return own if own is not None and own.same_place(address) else None


def password_for(address: StoreAddress, *, typed: bool, surroundings: Mapping[str, str] = os.environ) -> str | None:
    """The password to connect with: the address's own, or that of ASSAY_STORE_URL if it names the same place. None leaves it to PGPASSWORD
    and PGPASSFILE; the empty one to PGPASSFILE alone, where the address was read from a file (not `typed`) and PGHOST names another place.
    """
    if address.password:
        return address.password
    own = known_store(address, surroundings)
    if own is not None and own.password:
        return own.password
    return None if typed or surroundings.get("PGHOST", "").split(",") == list(address.hosts) else ""
