"""What a watch may not take for well: copies of what was worse, references that were not, what changed or does not answer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from assay.errors import AssayError
from assay.watch import Endpoint, Folder, Found, News, Settings, Watch
from assay.watch.state import read_state
from assay.watch.telling import Teller, outcome_of
from tests.watch.fleet import BANK, checkpoint, fleet, small_plan


def opened(tmp_path: Path, source: Any, **given: Any) -> Watch:
    return Watch.open(Settings(tmp_path / "out", **given), source, *small_plan(tmp_path))


def settled(folder: Path) -> Folder:
    source = Folder(folder, settle_s=0)
    source.look()
    return source


def looked(watch: Watch, teller: Teller | None = None) -> list[tuple[str, str, str]]:
    return [(n.kind, n.checkpoint.name, outcome_of(watch.state, n.checkpoint)) for n in watch.look(teller) if n.kind != "found"]


def evaluated(news: list[tuple[str, str, str]]) -> dict[str, str]:
    return {name: verdict for kind, name, verdict in news if kind == "evaluated"}


def test_the_same_weights_as_a_worse_one_are_worse_and_told(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    for name, content in (("0.0", "good"), ("0.9", "bad")):
        checkpoint(weights, name, content)
    with fleet() as served, opened(tmp_path, settled(weights), target="scripted:{name}") as watch:
        teller = Teller(webhook=f"{served.url}/hook")
        assert evaluated(looked(watch, teller)) == {"0.0": "reference", "0.9": "worse"}
        checkpoint(weights, "1-copy-of-good", "good")
        checkpoint(weights, "2-copy-of-bad", "bad")
        watch._source.look()
        assert evaluated(looked(watch, teller)) == {"1-copy-of-good": "same", "2-copy-of-bad": "worse"}
        assert looked(watch, teller) == []
        page = (tmp_path / "out" / "trend.html").read_text()
    assert [(a["checkpoint"], a["verdict"], a["run"]) for a in served.heard] == [
        ("0.9", "worse", "0002-0.9"), ("2-copy-of-bad", "worse", "0002-0.9"),
    ]  # fmt: skip
    assert "2-copy-of-bad is checkpoint 2 again: 0.9 got worse than 0.0" in served.heard[1]["message"]
    assert page.count("2-copy-of-bad is checkpoint 2 again: 0.9 got worse than 0.0") >= 2


def test_the_same_weights_as_one_that_failed_are_tried_again(tmp_path: Path) -> None:
    """`x` cannot be a rate, so its evaluation fails; a copy of its weights under another name is evaluated by itself."""
    weights = tmp_path / "weights"
    checkpoint(weights, "0-x", "bytes")
    checkpoint(weights, "0.5", "bytes")
    checkpoint(weights, "0.6", "bytes")
    with opened(tmp_path, settled(weights), target="scripted:{name}", tries=2) as watch:
        assert looked(watch) == [("retry", "0-x", "waiting")]
        assert looked(watch) == [
            ("evaluated", "0-x", "failed"), ("evaluated", "0.5", "reference"), ("evaluated", "0.6", "same"),
        ]  # fmt: skip
        assert [(c.status, c.like) for c in watch.state.checkpoints] == [("failed", 0), ("done", 0), ("same", 2)]
        checkpoint(weights, "0.7", "bytes")
        watch._source.look()
        assert evaluated(looked(watch)) == {"0.7": "same"}
    assert read_state(tmp_path / "out") == watch.state


def test_the_first_is_the_reference_also_if_it_had_to_be_tried_again(tmp_path: Path) -> None:
    with fleet() as served:
        served.models, served.breaks_after = ["a-1", "leak-2"], 6
        with opened(tmp_path, Endpoint(f"{served.url}/v1", greet=False)) as watch:
            news = list(watch.look())
            assert [(n.kind, n.checkpoint.name) for n in news] == [("found", "a-1"), ("retry", "a-1")]
            assert "later ones wait" in news[-1].message
            assert "leak-2" not in served.calls
            served.breaks_after = 10**9
            assert evaluated(looked(watch)) == {"a-1": "reference", "leak-2": "worse"}
            assert watch.state.reference is not None
            assert watch.state.reference.number == 1
            assert [c.change.number for c in watch.state.checkpoints if c.change] == [1]
            served.models.append("b-3")
        with opened(tmp_path, Endpoint(f"{served.url}/v1", greet=False)) as watch:
            run, other = (tmp_path / "out" / c.run / "run.db" for c in watch.state.checkpoints)
            for end in ("", "-wal", "-shm"):
                run.with_name(f"run.db{end}").unlink(missing_ok=True)
            run.write_bytes(other.read_bytes())
            assert looked(watch) == [("retry", "b-3", "waiting")]
            assert "another run now" in watch.state.checkpoints[2].reason


def test_a_run_that_could_not_be_scored_is_no_reference(tmp_path: Path) -> None:
    with fleet() as served:
        served.models = ["mute-1", "refuse-2", "refuse-3", "mute-4"]
        teller = Teller(webhook=f"{served.url}/hook")
        with opened(tmp_path, Endpoint(f"{served.url}/v1", greet=False)) as watch:
            # in the order of their names
            assert evaluated(looked(watch, teller)) == {
                "mute-1": "unclear", "mute-4": "unclear", "refuse-2": "reference", "refuse-3": "no change",
            }  # fmt: skip
    assert [a["checkpoint"] for a in served.heard] == ["mute-1", "mute-4"]
    assert served.heard[0]["message"] == "mute-1 is not taken as the reference: 24 of 24 answers could not be scored"


def test_a_given_reference_is_a_run_of_the_same_plan_that_ended(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    checkpoint(weights, "0.0")
    with opened(tmp_path, settled(weights), target="scripted:{name}") as watch:
        looked(watch)
    run = tmp_path / "out" / "0001-0.0"

    def given(baseline: Path, **changes: Any) -> Watch:
        settings = Settings(tmp_path / "other", target="scripted:{name}", baseline=str(baseline))
        return Watch.open(settings, settled(weights), *small_plan(tmp_path, **changes))

    for changes in ({"generation": {"max_tokens": 7}}, {"bank": {"size": 13, "seed": BANK}}):
        with pytest.raises(AssayError, match="another plan"):
            given(run, **changes)
    with pytest.raises(AssayError):
        given(tmp_path / "nothing")
    moved = run.rename(tmp_path / "moved")
    with given(moved) as watch:
        assert evaluated(looked(watch)) == {"0.0": "no change"}
        assert watch.state.baseline.startswith("sha256:")
    with given(moved.rename(run)) as watch:  # known by its digest, wherever it lies
        assert looked(watch) == []
    bundle = (run / "evidence.jsonl").rename(run / "aside")
    with pytest.raises(AssayError, match="has not ended"):
        given(run)
    bundle.rename(run / "evidence.jsonl")
    early = Settings(tmp_path / "early", target="scripted:{name}")
    plan = small_plan(tmp_path, budget={"calls": 24, "tokens": 40})
    with Watch.open(early, settled(weights), *plan) as watch:
        looked(watch)
    with pytest.raises(AssayError, match="ended early"):
        given(tmp_path / "early" / "0001-0.0", budget={"calls": 24, "tokens": 40})


class Changing(Folder):
    """The weights are exchanged right after each look, with their size and times kept, until `once` more."""

    def look(self) -> list[Found]:
        found = super().look()
        for each in found[: self.changes]:
            path = each.path if each.path and each.path.is_file() else next((each.path or Path()).iterdir())
            at = path.stat()
            path.write_bytes(path.read_bytes()[:-1] + b"!")
            os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))
        self.changes = 0
        return found

    changes = 0


@pytest.mark.parametrize("target", ["", "scripted:0.1"])
@pytest.mark.parametrize("name", ["a.gguf", "a/a.gguf"])
def test_weights_that_changed_between_look_and_run_are_not_taken_for_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, name: str
) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    weights = tmp_path / "weights" / name
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"GGUF one")
    source = Changing(tmp_path / "weights", settle_s=0)
    source.look()
    source.changes = 1
    with opened(tmp_path, source, target=target, tries=1) as watch:
        assert looked(watch) == [("evaluated", "a", "failed")]
        assert watch.state.checkpoints[0].reason == "it changed since it was found"
        news = watch.look()
        assert next(news).checkpoint.number == 2  # what it is now is found anew
        if target:
            assert [n.kind for n in news] == ["evaluated"]
    assert len({c.key for c in watch.state.checkpoints}) == 2


def test_a_listed_model_that_does_not_answer_is_noted_and_waits(tmp_path: Path) -> None:
    with fleet() as served:
        served.models, served.silent = ["a-1", "b-2"], {"a-1"}
        with opened(tmp_path, Endpoint(f"{served.url}/v1")) as watch:
            assert looked(watch) == [("retry", "a-1", "waiting")]
            assert watch.state.checkpoints[0].reason == "asked for a greeting, it answers 503"
            served.silent = set()
            assert evaluated(looked(watch)) == {"a-1": "reference", "b-2": "no change"}
            served.silent = {"b-2"}
            assert looked(watch) == [("silent", "b-2", "no change")]
            assert watch.silent == {"b-2"}
            assert looked(watch) == []
            served.silent = set()
            assert (looked(watch), watch.silent) == ([], frozenset())
            served.models.append("c-3")
            served.silent = {"c-3"}
            assert [looked(watch)[-1] for _ in range(3)][-1] == ("evaluated", "c-3", "failed")
            served.silent = set()
            assert evaluated(looked(watch)) == {"c-3": "no change"}  # found for the first time
    assert [(c.name, c.status) for c in watch.state.checkpoints][2:] == [("c-3", "failed"), ("c-3", "done")]


def test_all_that_is_new_is_noted_in_one_look(tmp_path: Path) -> None:
    with fleet() as served:
        served.models = [f"m-{n}" for n in range(70)]
        with opened(tmp_path, Endpoint(f"{served.url}/v1", greet=False)) as watch:
            next(watch.look())
            assert len(watch.state.checkpoints) == 70


class Broken(Folder):
    """Something that no look has met before."""

    def look(self) -> list[Found]:
        raise ValueError("hunter2")


def test_what_nobody_thought_of_is_one_message_and_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "weights"
    checkpoint(weights, "0.0")
    with opened(tmp_path, Broken(weights, settle_s=0)) as watch, pytest.raises(AssayError, match="this look ended with ValueError"):
        list(watch.look())

    def broken(*_: Any, **__: Any) -> None:
        raise KeyError("hunter2")

    monkeypatch.setattr("assay.watch.watching.api.evaluate", broken)
    with opened(tmp_path, settled(weights), target="scripted:{name}") as watch:
        news: list[News] = list(watch.look())
    assert news[-1].message == "0.0 waits to be evaluated (its evaluation ended with KeyError)"
