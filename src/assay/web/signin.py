"""Who may use a page: people by name, with roles and languages, each with one secret token of which only the SHA-256 is kept.

tokens = TokenFile(folder / "label-tokens.json", run_digest)
links = tokens.invite([parse_person("Aisyah:ms,en", "labeller")])     # {"Aisyah": "3q2-7w..."}: shown once, never kept
tokens.who("3q2-7w...")                                               # the person, or None
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, structs

from assay.errors import AssayError
from assay.judges.labels import LABELLER
from assay.web.sessions import digest, new_token

TAG = re.compile(r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")

Role = Literal["labeller", "adjudicator"]


class Person(Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody who may sign in. No languages means all."""

    name: Annotated[str, Meta(pattern=LABELLER)]
    languages: tuple[str, ...] = ()
    roles: tuple[Role, ...] = ("labeller",)

    def reads(self, language: str) -> bool:
        """Whether texts in this language are for this person."""
        return not self.languages or language in self.languages


class _Kept(Struct, frozen=True, forbid_unknown_fields=True):
    person: Person
    sha256: str


class _Content(Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal["assay-tokens/1"]
    subject: str
    people: tuple[_Kept, ...] = ()


def parse_person(text: str, role: Role) -> Person:
    """A person from `NAME` or `NAME:tag,tag`. Raises `AssayError`."""
    name, _, tags = text.partition(":")
    name = name.strip()
    languages = tuple(dict.fromkeys(t.strip() for t in tags.split(",") if t.strip()))
    if not re.match(LABELLER, name):
        raise AssayError(f"'{name}' is no name: letters, digits, spaces and . @ ' - up to 80, beginning with a letter or digit")
    for tag in languages:
        if not TAG.match(tag):
            raise AssayError(f"'{tag}' is no language tag", where=text, fix="Write NAME:tag,tag such as 'Aisyah:ms,en'.")
    return Person(name, languages, (role,))


class TokenFile:
    """The people of one subject (a run), in a file that only its owner reads. Links stay valid until they are renewed or removed."""

    def __init__(self, path: Path, subject: str) -> None:
        self.path = path
        self._subject = subject
        self._kept: tuple[_Kept, ...] = ()
        self._version: tuple[int, int] | None = None
        self._read()

    def _read(self) -> None:
        """Take up what is in the file, if it is another than the one read last: somebody may have been let in or shut out meanwhile."""
        try:
            found = self.path.stat()
        except OSError:
            self._kept, self._version = (), None
            return
        version = (found.st_ino, found.st_mtime_ns)
        if version == self._version:
            return
        try:
            content = msgspec.json.decode(self.path.read_bytes(), type=_Content)
        except (OSError, msgspec.MsgspecError) as e:
            raise AssayError(f"the tokens cannot be read: {e}", where=str(self.path), fix="Remove the file to make new links.") from None
        self._kept = content.people if content.subject == self._subject else ()  # tokens of another run open nothing here
        self._version = version

    @property
    def people(self) -> list[Person]:
        """Everybody who may sign in, in the order in which they were invited."""
        return [k.person for k in self._kept]

    def invite(self, people: Iterable[Person], *, renew: bool = False) -> dict[str, str]:
        """Let people in; the new tokens by name. Who has a link already keeps it, with languages and roles as now given, unless `renew`:
        then everybody, also those not named, gets a new one and the old ones open nothing any more. Raises `AssayError`.
        """
        merged: dict[str, Person] = {}
        for person in people:
            before = merged.get(person.name)
            if before is not None:  # named twice: as labeller and as adjudicator
                person = structs.replace(
                    person,
                    roles=tuple(dict.fromkeys((*before.roles, *person.roles))),
                    languages=tuple(dict.fromkeys((*before.languages, *person.languages))) if before.languages and person.languages else (),
                )
            merged[person.name] = person
        old = {k.person.name: k for k in self._kept}
        everybody = {name: k.person for name, k in old.items()} | merged
        fresh = {name: new_token() for name in everybody if renew or name not in old}
        self._write(tuple(_Kept(p, digest(fresh[n]) if n in fresh else old[n].sha256) for n, p in everybody.items()))
        return fresh

    def remove(self, name: str) -> None:
        """Shut somebody out; what they did stays. Raises `AssayError` for a name that is not there."""
        if name not in [k.person.name for k in self._kept]:
            raise AssayError(f"nobody here is called '{name}'", where=str(self.path))
        self._write(tuple(k for k in self._kept if k.person.name != name))

    def who(self, token: str) -> Person | None:
        """Whose token it is. Every kept digest is compared in constant time. What another process did to the file holds at once."""
        self._read()
        given = digest(token)
        found = None
        for kept in self._kept:
            if hmac.compare_digest(kept.sha256, given):
                found = kept.person
        return found

    def _write(self, kept: tuple[_Kept, ...]) -> None:
        data = msgspec.json.format(msgspec.json.encode(_Content("assay-tokens/1", self._subject, kept)), indent=1)
        partial = self.path.with_name(f".{self.path.name}.partial")
        try:
            partial.unlink(missing_ok=True)
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.path)
        except OSError as e:
            raise AssayError(f"cannot write here: {e.strerror}", where=str(self.path)) from None
        self._read()
