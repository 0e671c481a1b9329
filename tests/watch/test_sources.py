"""What counts as a checkpoint, and when it is whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from assay.errors import AssayError, TargetError
from assay.watch import sources
from assay.watch.sources import MOST_BYTES, Endpoint, Folder, natural
from tests.watch.fleet import checkpoint, fleet


class Clock:
    """Time as the test has it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def names(source: Folder | Endpoint) -> list[str]:
    return [f.name for f in source.look()]


def test_a_checkpoint_counts_once_its_files_have_stayed_as_they_are(tmp_path: Path) -> None:
    clock = Clock()
    source = Folder(tmp_path, settle_s=10, clock=clock)
    weights = tmp_path / "step-1.gguf"
    weights.write_bytes(b"GGUF half")
    assert names(source) == []
    assert source.waiting
    clock.now = 9
    assert names(source) == []
    weights.write_bytes(b"GGUF half and more")
    clock.now = 12
    assert names(source) == []
    clock.now = 22
    assert names(source) == ["step-1"]
    assert not source.waiting
    first = source.look()[0].key
    weights.write_bytes(b"GGUF another one!!")
    os.utime(weights, ns=(1, 1))
    clock.now = 30
    assert names(source) == []
    clock.now = 41
    assert source.look()[0].key != first


def test_a_file_that_was_copied_with_its_old_time_must_settle_too(tmp_path: Path) -> None:
    (tmp_path / "old.gguf").write_bytes(b"GGUF")
    os.utime(tmp_path / "old.gguf", (1, 1))
    clock = Clock()
    source = Folder(tmp_path, settle_s=10, clock=clock)
    assert names(source) == []
    clock.now = 10
    assert names(source) == ["old"]


def test_a_marker_says_that_a_checkpoint_is_whole(tmp_path: Path) -> None:
    checkpoint(tmp_path, "a")
    (tmp_path / "b.gguf").write_bytes(b"GGUF")
    source = Folder(tmp_path, settle_s=1e9)
    assert names(source) == []
    (tmp_path / "a" / ".complete").touch()
    (tmp_path / "b.gguf.done").touch()
    assert names(source) == ["a", "b"]
    only = Folder(tmp_path, settle_s=0, marker="ready")
    assert names(only) == names(only) == []
    (tmp_path / "a" / "ready").touch()
    assert names(only) == ["a"]


def test_what_is_under_way_hidden_or_no_weights_is_passed_over(tmp_path: Path) -> None:
    for name in (".hidden.gguf", "x.gguf.partial", "notes.txt", "_tmp.gguf", "big-00001-of-00002.gguf", "a\nb.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    (tmp_path / "empty.gguf").touch()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "train.log").write_text("x")
    half = checkpoint(tmp_path, "half")
    (half / "model-2.safetensors.tmp").write_text("x")
    source = Folder(tmp_path, settle_s=0)
    assert names(source) == names(source) == []
    (half / "model-2.safetensors.tmp").rename(half / "model-2.safetensors")
    assert names(source) == []
    assert names(source) == ["half"]


def test_checkpoints_come_in_the_order_of_their_numbers_and_none_shares_a_name(tmp_path: Path) -> None:
    for name in ("step-10", "step-9", "step-100"):
        checkpoint(tmp_path, name)
    (tmp_path / "step-9.gguf").write_bytes(b"GGUF")
    source = Folder(tmp_path, settle_s=0)
    source.look()
    assert names(source) == ["step-9", "step-9.gguf", "step-10", "step-100"]
    assert natural("v2.10") > natural("v2.9")


def test_a_folder_that_is_gone_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(AssayError, match="cannot look"):
        Folder(tmp_path / "gone", settle_s=0).look()


def test_an_endpoint_lists_models_and_a_new_one_behind_an_old_name_is_another() -> None:
    with fleet() as served:
        served.models = ["m-10", "m-9", {"id": "leak", "created": 5, "root": "r1"}]
        source = Endpoint(f"{served.url}/v1", models="*")
        first = {f.name: f.key for f in source.look()}
        assert list(first) == ["leak", "m-9", "m-10"]
        assert {f.name: f.key for f in source.look()} == first  # `created` is the present time on many servers
        served.fingerprints["m-9"] = "fp-2"
        served.models[2]["root"] = "r2"
        second = {f.name: f.key for f in source.look()}
        assert second["m-10"] == first["m-10"]
        assert second["m-9"] != first["m-9"]
        assert second["leak"] != first["leak"]
        assert names(Endpoint(f"{served.url}/v1", models="m-*")) == ["m-9", "m-10"]
        calls = sum(served.calls.values())
        assert len(names(Endpoint(f"{served.url}/v1", greet=False))) == 3
        assert sum(served.calls.values()) == calls


def test_what_an_endpoint_says_is_bounded_and_no_name_steers_a_terminal() -> None:
    with fleet() as served:
        served.models = ["good", "\x1b[2Jbad", "../up", "a" * 300, 7, None, {"no": "id"}]
        assert names(Endpoint(f"{served.url}/v1", greet=False)) == ["good"]
        for raw, why in (
            (b"[" * 100_000, "no JSON"),
            (b"{}", "no list"),
            (b"not json", "no JSON"),
            (b"x" * (MOST_BYTES + 1), "more than"),
        ):
            served.raw = raw
            with pytest.raises(TargetError, match=why):
                Endpoint(f"{served.url}/v1").look()
        served.down = True
        with pytest.raises(TargetError, match="503"):
            Endpoint(f"{served.url}/v1").look()
    with pytest.raises(TargetError, match="does not answer"):
        Endpoint(f"{served.url}/v1", timeout_s=2).look()


def test_a_model_that_does_not_answer_now_is_not_taken_for_another_one() -> None:
    with fleet() as served:
        served.models = ["m-1"]
        source = Endpoint(f"{served.url}/v1")
        assert names(source) == ["m-1"]
        served.models, served.silent = ["m-1", "m-2"], {"m-1", "m-2"}
        assert [(f.name, f.key, f.reason) for f in source.look()] == [
            (name, "", "asked for a greeting, it answers 503") for name in ("m-1", "m-2")
        ]  # fmt: skip
        served.silent = set()
        assert [(f.name, bool(f.key), f.reason) for f in source.look()] == [("m-1", True, ""), ("m-2", True, "")]


def test_more_than_a_watch_looks_at_is_said_with_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_FOUND", 2)
    for name in ("a", "b"):
        checkpoint(tmp_path, name)
    source = Folder(tmp_path, settle_s=0)
    assert [names(source), names(source)] == [[], ["a", "b"]]
    checkpoint(tmp_path, "c")
    with pytest.raises(AssayError, match="holds 3 checkpoints, and a watch looks at 2 at most"):
        source.look()
    monkeypatch.setattr(sources, "MOST_MODELS", 2)
    with fleet() as served:
        served.models = ["m-1", "m-2", "m-3"]
        with pytest.raises(TargetError, match="lists 3 models, and a watch looks at 2 at most"):
            Endpoint(f"{served.url}/v1", greet=False).look()
        assert names(Endpoint(f"{served.url}/v1", greet=False, models="m-[13]")) == ["m-1", "m-3"]


def test_a_folder_that_cannot_be_identified_is_found_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_FILES", 3)
    checkpoint(tmp_path, "small")
    large = checkpoint(tmp_path, "large")
    for number in range(4):
        (large / f"{number}.json").touch()
    source = Folder(tmp_path, settle_s=0)
    source.look()
    assert [(f.name, bool(f.key), f.reason) for f in source.look()] == [
        ("large", False, "it cannot be read: it holds more than 3 files"), ("small", True, ""),
    ]  # fmt: skip


def test_what_was_found_is_read_anew_also_where_its_size_and_time_are_as_they_were(tmp_path: Path) -> None:
    weights = checkpoint(tmp_path, "a", "one") / "model.safetensors"
    source = Folder(tmp_path, settle_s=0)
    source.look()
    (found,) = source.look()
    assert source.still(found)
    at = weights.stat()
    weights.write_text("two")
    os.utime(weights, ns=(at.st_atime_ns, at.st_mtime_ns))
    assert not source.still(found)
    (anew,) = source.look()
    assert anew.key != found.key


def test_an_address_that_may_hold_a_secret_is_refused_and_not_quoted() -> None:
    for bad in (
        "https://mei:hunter2@models.example/v1", "https://mei:hunter2/x@models.example/v1", "https://models.example/v1?key=hunter2",
        "https://models.example/v1#hunter2", "https://[hunter2/v1", "https://models.example:hunter2/v1", "ftp://hunter2/",
    ):  # fmt: skip
        with pytest.raises(TargetError) as refused:
            Endpoint(bad)
        assert "hunter2" not in str(refused.value)
    assert Endpoint("HTTPS://models.example/v1/").about == "HTTPS://models.example/v1"


def test_digits_of_any_script_are_sorted_and_end_nothing(tmp_path: Path) -> None:
    with fleet() as served:
        served.models = ["m1²", "m10", "m9", "m٣", "m①"]
        assert names(Endpoint(f"{served.url}/v1", greet=False))[:2] == ["m1²", "m9"]
    for name in ("m1²", "m٣"):
        checkpoint(tmp_path, name)
    source = Folder(tmp_path, settle_s=0)
    source.look()
    assert names(source) == ["m1²", "m٣"]


def test_what_was_found_before_need_not_settle_and_anything_else_must(tmp_path: Path) -> None:
    weights = tmp_path / "a.gguf"
    weights.write_bytes(b"GGUF one")
    before = Folder(tmp_path, settle_s=0)
    before.look()
    (found,) = before.look()
    known = [(found.name, found.key)]
    source = Folder(tmp_path, settle_s=3600)
    source.recognise(known)
    assert source.look() == [found]
    assert not source.waiting
    marked = Folder(tmp_path, settle_s=3600, marker="whole")
    marked.recognise(known)
    assert marked.look() == []
    weights.write_bytes(b"GGUF another")
    (tmp_path / "b.gguf").write_bytes(b"GGUF one")
    assert source.look() == []
    assert source.waiting
