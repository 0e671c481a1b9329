"""pytest: a release gate as a test. Loaded by pytest wherever Assay is installed; it imports Assay only when a gate runs.

    @pytest.mark.assay_gate(plan="plan.yaml", target="http://127.0.0.1:8080/v1#my-model")
    def test_the_model_may_go_out(assay_result): ...

The plan is run before the test's body. Approve passes; delay (unless `allow_delay=True`) and halt fail the test with the reasons;
whatever keeps the plan from being run is an error, never a skip. A test has one gate: a second mark, of its class or module, stops the
collection. Without the plug-in a mark is a word that pytest does not know: have it refuse those (`strict_markers`). docs/ci.md.
"""

from __future__ import annotations

import hashlib
import re
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from assay.api import Result

MARK = "assay_gate"
FIXTURE = "assay_result"
_TAKEN = ("plan", "target", "allow_delay", "out")
_RESULT = pytest.StashKey["Result"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The three options; a marker's own words come before them."""
    group = parser.getgroup("assay", "release gates (Assay)")
    group.addoption("--assay-plan", metavar="PLAN", help="plan of gates that name none: a file, or a built-in name")
    group.addoption("--assay-target", metavar="TARGET", help="target of gates that name none, as `assay run --target` takes it")
    group.addoption("--assay-out", metavar="DIR", help="keep the runs of gates that name no folder in DIR/TEST-TIME")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    line = f"{MARK}(plan, target, allow_delay, out): run this plan against this target first; the test fails unless Assay approves"
    config.addinivalue_line("markers", line)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every marked test takes the fixture, asked for or not. Raises `pytest.UsageError` for marks that cannot be carried out."""
    for item in items:
        marks = list(item.iter_markers(MARK))
        if not marks:
            continue
        if len(marks) > 1:
            raise pytest.UsageError(f"{item.nodeid}: {MARK}: {len(marks)} gates, and a test has one (those of its class and module count)")
        (mark,) = marks
        names = getattr(item, "fixturenames", None)
        wrong = sorted(set(mark.kwargs) - set(_TAKEN))
        if mark.args or wrong or names is None:
            what = f"unknown: {', '.join(wrong)}" if wrong else "name its arguments" if mark.args else "it gates test functions only"
            raise pytest.UsageError(f"{item.nodeid}: {MARK}: {what} (it takes {', '.join(_TAKEN)})")
        if not isinstance(mark.kwargs.get("allow_delay", False), bool):
            raise pytest.UsageError(f"{item.nodeid}: {MARK}: allow_delay is True or False")
        if FIXTURE not in names:
            # a list of its own, since tests of one function share theirs; last, after what the test's other fixtures start
            item.fixturenames = [*names, FIXTURE]  # type: ignore[attr-defined]


@pytest.fixture
def assay_result(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The `assay.Result` of the test's gate: its decision, run folder, bundle and report."""
    from assay.errors import AssayError

    item: pytest.Item = request.node
    mark = item.get_closest_marker(MARK)
    if mark is None:
        # a gate that nobody looks at would pass on halt
        pytest.fail(f"{FIXTURE} is the result of a test's own gate, and this test has none: mark it {MARK}(...)", pytrace=False)
    result, wrong = None, ""
    try:
        result = _evaluated(item, mark, tmp_path_factory)
    except AssayError as e:
        wrong = str(e)
    if result is None:
        # at setup this is an error of the test, not its failure; what an AssayError says is all that there is to say, so not within the
        # except above, where pytest would show the chain
        pytest.fail(f"Assay could not decide: {wrong}", pytrace=False)
    if result.bundle is None:
        raise KeyboardInterrupt(f"Assay was interrupted; to go on: assay run --resume --out {result.run}")
    with result.bundle.open("rb") as file:
        bundle = hashlib.file_digest(file, "sha256").hexdigest()
    item.stash[_RESULT] = result
    item.user_properties += [
        ("assay_verdict", result.decision.verdict),
        ("assay_bundle", f"sha256:{bundle}"),
        ("assay_run", str(result.run)),
    ]
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Before the body: fail on halt and on delay, with the reasons and no traceback."""
    marks = list(item.iter_markers(MARK))
    if not marks:
        return
    result = item.stash.get(_RESULT, None)
    if result is None:
        pytest.fail(f"the gate of {item.nodeid} was not evaluated", pytrace=False)
    if len(marks) > 1:  # one was added since the collection
        pytest.fail(f"{item.nodeid} has {len(marks)} gates, and one was evaluated", pytrace=False)
    allowed = ("approve", "delay") if marks[0].kwargs.get("allow_delay", False) else ("approve",)
    if result.decision.verdict not in allowed:
        pytest.fail(_reasons(result), pytrace=False)


def _evaluated(item: pytest.Item, mark: pytest.Mark, folders: pytest.TempPathFactory) -> Result:
    from assay import api
    from assay.errors import PlanError

    option, given = item.config.getoption, mark.kwargs
    plan, target = given.get("plan"), given.get("target")
    plan = _found(plan, item) if plan is not None else option("--assay-plan")
    if plan is None:
        raise PlanError("no plan", where=item.nodeid, fix="Name one: assay_gate(plan=...), or pytest --assay-plan PLAN.")
    if target is None:
        target = option("--assay-target")
    kept = given.get("out") or option("--assay-out")
    folder = _free(Path(kept), item.name) if kept else folders.mktemp("assay", numbered=True) / "run"
    return api.evaluate(plan, target, out=folder)


def _found(plan: Any, item: pytest.Item) -> Any:
    """A plan's file beside the test, or from pytest's root; any other word is left as it is."""
    if not isinstance(plan, str | Path):
        return plan
    places = (item.path.parent / plan, item.config.rootpath / plan)
    return next((place for place in places if place.is_file()), plan)


def _free(parent: Path, name: str) -> Path:
    """A new folder in `parent`, which nobody else takes."""
    parent.mkdir(parents=True, exist_ok=True)
    stem = f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', name)[:80].strip('-.') or 'gate'}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    for i in count(1):
        folder = parent / (stem if i == 1 else f"{stem}-{i}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError


def _reasons(result: Result) -> str:
    from assay.cli.words import decision_lines, plain

    lines = [plain(line) for line in decision_lines(result.decision)]
    return "\n".join([*lines, "", f"  Report  {result.report}", f"  Bundle  {result.bundle}", "", f"Next: assay verify {result.bundle}"])
