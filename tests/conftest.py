"""No test touches the user's key or cache; weights that are there already may be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.targets.models import cache_folder

REAL_CACHE = cache_folder()


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home")
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("ASSAY_CACHE", str(REAL_CACHE))
    monkeypatch.delenv("ASSAY_KEY", raising=False)


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    """The small scripted plan as a file."""
    from tests.support import plan_text

    path = tmp_path / "plan.yaml"
    path.write_text(plan_text())
    return path
