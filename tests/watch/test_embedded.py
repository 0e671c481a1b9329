"""Weights of one's own behind the embedded runtime, and a watch on a folder with the real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

import assay
from assay.errors import ModelError
from assay.targets import models
from assay.watch import Folder, Settings, Watch
from assay.watch.telling import verdict_of
from tests.watch.fleet import small_plan


def test_weights_are_linked_by_their_digest_and_changed_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    weights = tmp_path / "step 1!.gguf"
    weights.write_bytes(b"GGUF and so on")
    made = models.link_weights(weights, "step 1!")
    assert made.name == f"step-1-@sha256:{made.sha256}"
    assert models.model(made.name) == made
    assert models.weights(made.name, lambda _: None).resolve() == weights
    weights.write_bytes(b"GGUF and so ON")
    with pytest.raises(models.ChangedWeightsError, match="not the pinned ones"):
        models.weights(made.name, lambda _: None)
    weights.unlink()
    with pytest.raises(ModelError, match="not here any more"):
        models.model(made.name)
    (tmp_path / "not.gguf").write_bytes(b"PK")
    with pytest.raises(ModelError, match="no GGUF"):
        models.link_weights(tmp_path / "not.gguf", "not")
    with pytest.raises(ModelError, match="cannot read"):
        models.link_weights(tmp_path / "gone.gguf", "gone")


@pytest.mark.model
def test_a_folder_of_real_weights_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xllamacpp", reason="the embedded runtime is not installed")
    real = models.weights(models.DEFAULT, lambda _: None)
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "step-1.gguf").symlink_to(real)
    small = {"bank": {"size": 2, "seed": "5f" * 32}, "exploration": {"plain": 2, "benign": 2}, "budget": {"calls": 4}}
    plan, catalog = small_plan(tmp_path, generation={"max_tokens": 40}, limits={"concurrency": 2, "timeout_s": 300}, **small)
    source = Folder(tmp_path / "weights", settle_s=0)
    source.look()
    with Watch.open(Settings(tmp_path / "out"), source, plan, catalog) as watch:
        news = [n for n in watch.look() if n.kind == "evaluated"]
        assert [(n.checkpoint.name, verdict_of(n.checkpoint), n.checkpoint.trials) for n in news] == [("step-1", "reference", 4)]
    report = assay.verify(tmp_path / "out" / "0001-step-1" / "evidence.jsonl")
    assert report.ok
