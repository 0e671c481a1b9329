"""One comment on a pull request (GitHub) or merge request (GitLab), made once and then kept up to date. The standard library alone.

    ASSAY_SUMMARY=summary.md GITHUB_TOKEN=... python3 -I comment.py

On GitHub the pull request is the event's; of a workflow that ran for a fork, the open ones whose head is the very commit that ran. On
GitLab it is CI_MERGE_REQUEST_IID, and the token ASSAY_GITLAB_TOKEN. Of comments that bear the mark only the token owner's own is changed,
so nobody else's words are overwritten and nobody else's comment is taken for ours. Where a fork's token may not comment, it says so and
ends well: a second workflow does it. Exit codes: 0 said, or nothing to say it on; 1 the interface refused; 2 bad input.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MOST = 64_000
PAGES = 30
TRIES = 3
TIMEOUT_S = 20
ANSWER = 16 * 1024 * 1024
BOUND = "The evidence names a target and a plan, and no commit: see that they are those of this one."
FORK = (
    "> **From a fork.** Its own job chose this evidence, and its own workflow file how that job ended. It cannot sign by a key that it "
    "does not have; it can send evidence that was signed before, of another model or commit. Hold target and plan below against it."
)


class BadInputError(Exception):
    """Something that was given cannot be used."""


class RefusedError(Exception):
    """The interface said no. `status` is HTTP's, 0 where there was no answer."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """A token is sent to the address that it is for, and to no other."""

    def redirect_request(self, *_: Any) -> None:
        """None is followed: it ends as the error that it is."""


def address(name: str) -> str:
    """A base address from the environment: HTTPS, or HTTP on the loopback."""
    url = os.environ.get(name, "").rstrip("/")
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")):
        raise BadInputError(f"{name} is no https address")
    return url


class Interface:
    """JSON over HTTP, bounded in time, size and tries."""

    def __init__(self, base: str, headers: dict[str, str]) -> None:
        self.base = base
        self.headers = {"Accept": "application/json", "User-Agent": "assay-comment", **headers}
        self.opener = urllib.request.build_opener(NoRedirects)

    def call(self, method: str, path: str, value: dict[str, str] | None = None) -> Any:
        """The answer as JSON. Raises `RefusedError`."""
        data = None if value is None else json.dumps(value).encode()
        headers = self.headers if data is None else {**self.headers, "Content-Type": "application/json"}
        request = urllib.request.Request(self.base + path, data, headers, method=method)  # noqa: S310 (`address` has looked at it)
        try:
            with self.opener.open(request, timeout=TIMEOUT_S) as answer:
                return json.loads(answer.read(ANSWER))
        except urllib.error.HTTPError as e:
            e.close()
            raise RefusedError(e.code, f"{method} {path}: HTTP {e.code}") from None
        except (OSError, ValueError, http.client.HTTPException) as e:
            raise RefusedError(0, f"{method} {path}: {type(e).__name__}") from None

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        """Every object of a list, page by page."""
        for page in range(1, PAGES + 1):
            found = self.call("GET", f"{path}{'&' if '?' in path else '?'}per_page=100&page={page}")
            if not isinstance(found, list):
                raise RefusedError(0, f"GET {path}: no list")
            yield from (each for each in found if isinstance(each, dict))
            if len(found) < 100:
                return


class GitHub:
    """Comments of a pull request."""

    def __init__(self) -> None:
        self.repository = os.environ.get("GITHUB_REPOSITORY", "")
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", self.repository):
            raise BadInputError("GITHUB_REPOSITORY is no owner/name")
        token = _secret("GITHUB_TOKEN")
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        self.interface = Interface(address("GITHUB_API_URL"), headers)
        self.author = os.environ.get("ASSAY_COMMENT_AUTHOR") or "github-actions[bot]"
        try:
            self.event = json.loads(Path(os.environ.get("GITHUB_EVENT_PATH", "")).read_text(encoding="utf-8"))
            self.fork, self.commit, self.numbers = self._requests()
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise BadInputError(f"the event is none of a pull request ({type(e).__name__})") from None
        self.reads_only = self.fork and "pull_request" in self.event

    def _requests(self) -> tuple[bool, str, Callable[[], list[int]]]:
        """Whether it comes from a fork, the commit, and a function that gives the numbers."""
        if "pull_request" in self.event:
            asked = self.event["pull_request"]
            number = int(asked["number"])
            return (asked["head"]["repo"] or {}).get("full_name") != self.repository, asked["head"]["sha"], lambda: [number]
        ran = self.event["workflow_run"]
        origin, commit = ran["head_repository"], ran["head_sha"]
        head = urllib.parse.quote(f"{origin['owner']['login']}:{ran['head_branch']}", safe="")

        def found() -> list[int]:
            pulls = self.interface.pages(f"/repos/{self.repository}/pulls?state=open&head={head}")
            return [int(p["number"]) for p in pulls if p.get("head", {}).get("sha") == commit]

        return origin["full_name"] != self.repository, commit, found

    def own(self, number: int) -> Iterator[tuple[int, str]]:
        """Id and text of our comments, oldest first."""
        for each in self.interface.pages(f"/repos/{self.repository}/issues/{number}/comments"):
            if (each.get("user") or {}).get("login") == self.author:
                yield int(each["id"]), str(each.get("body") or "")

    def create(self, number: int, text: str) -> None:
        """A new one."""
        self.interface.call("POST", f"/repos/{self.repository}/issues/{number}/comments", {"body": text})

    def change(self, number: int, comment: int, text: str) -> None:
        """Another text for one."""
        self.interface.call("PATCH", f"/repos/{self.repository}/issues/comments/{comment}", {"body": text})


class GitLab:
    """Notes of a merge request."""

    fork = reads_only = False

    def __init__(self) -> None:
        self.interface = Interface(address("CI_API_V4_URL"), {"PRIVATE-TOKEN": _secret("ASSAY_GITLAB_TOKEN")})
        project, iid = os.environ.get("CI_PROJECT_ID", ""), os.environ.get("CI_MERGE_REQUEST_IID", "")
        if not (project.isdecimal() and iid.isdecimal()):
            raise BadInputError("CI_PROJECT_ID and CI_MERGE_REQUEST_IID are numbers: is this a merge request's pipeline?")
        self.commit = os.environ.get("CI_COMMIT_SHA", "")
        self.path = f"/projects/{project}/merge_requests/{iid}/notes"
        self.iid = int(iid)

    def numbers(self) -> list[int]:
        """The merge request's."""
        return [self.iid]

    def own(self, number: int) -> Iterator[tuple[int, str]]:
        """Id and text of our notes, oldest first."""
        me = self.interface.call("GET", "/user")["id"]
        for each in self.interface.pages(f"{self.path}?sort=asc"):
            if (each.get("author") or {}).get("id") == me and not each.get("system"):
                yield int(each["id"]), str(each.get("body") or "")

    def create(self, number: int, text: str) -> None:
        """A new one."""
        self.interface.call("POST", self.path, {"body": text})

    def change(self, number: int, comment: int, text: str) -> None:
        """Another text for one."""
        self.interface.call("PUT", f"{self.path}/{comment}", {"body": text})


def _secret(name: str) -> str:
    value = os.environ.get(name, "")
    if not value or not value.isascii() or not value.isprintable():
        raise BadInputError(f"{name} is empty, or is no token")
    return value


def body(forge: GitHub | GitLab, name: str) -> str:
    """The comment: a mark that nobody sees, the summary, and of what it is."""
    try:
        with Path(os.environ.get("ASSAY_SUMMARY", "")).open(encoding="utf-8") as file:
            summary = file.read(MOST + 1)
    except (OSError, ValueError) as e:
        raise BadInputError(f"ASSAY_SUMMARY cannot be read ({type(e).__name__})") from None
    if not summary.strip() or len(summary) > MOST:
        raise BadInputError("ASSAY_SUMMARY is empty, or longer than a comment may be")
    if not re.fullmatch(r"[0-9a-f]{40,64}", forge.commit or ""):
        raise BadInputError("the commit is none")
    origin = f"{FORK}\n\n" if forge.fork else ""
    return f"{mark(name)}\n{origin}{summary.rstrip()}\n\n<sub>Written for commit {forge.commit}. {BOUND}</sub>\n"


def mark(name: str) -> str:
    """The first line, by which a comment is known again."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name):
        raise BadInputError("the name of the comment has letters, digits, _ and - only")
    return f"<!-- assay-gate: {name} -->"


def put(forge: GitHub | GitLab, number: int, text: str) -> str:
    """Make the comment, or bring it up to date; what was done."""
    first = text.split("\n", 1)[0]
    for comment, before in forge.own(number):
        if before.startswith(first):
            if before.strip() == text.strip():
                return "is up to date"
            forge.change(number, comment, text)
            return "updated"
    forge.create(number, text)
    return "written"


def say(forge: GitHub | GitLab, text: str) -> None:
    """On every pull request that this is about. Tries again where the interface is down; what was made meanwhile is found then."""
    for tried in range(1, TRIES + 1):
        try:
            numbers = forge.numbers()[:5]
            for number in numbers:
                print(f"assay: comment on #{number} {put(forge, number, text)}")
            if not numbers:
                print("assay: no open pull request has this commit at its head; nothing to say")
            return
        except RefusedError as e:
            if tried == TRIES or (0 < e.status < 500 and e.status != 429):
                raise
            time.sleep(tried)


def main() -> int:
    """The exit code."""
    try:
        forge = GitLab() if os.environ.get("GITLAB_CI") else GitHub()
        say(forge, body(forge, os.environ.get("ASSAY_COMMENT_NAME") or "gate"))
    except BadInputError as e:
        print(f"assay: {e}", file=sys.stderr)
        return 2
    except RefusedError as e:
        if forge.reads_only and e.status in (403, 404):
            print("assay: a fork's token may not comment; the workflow that runs after this one does")
            return 0
        print(f"assay: the comment was not written: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
