"""No address of a target, an attacker or a judge may hold a password: a run would keep it in its file, evidence and report."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay import api
from assay.errors import AssayError, TargetError
from assay.plan import Generation, Limits, TargetSpec, plan_path, read_plan
from assay.targets import make_target, parse_target

HELD = [
    "http://mei:Secr3t@127.0.0.1:9/v1",
    "https://Secr3t@models.example/v1",
    "http://mei:12/Secr3t@127.0.0.1/v1",
    "http://mei:12?Secr3t@127.0.0.1/v1",
    "http://mei:Secr3t/x/v1",
]


@pytest.mark.parametrize("url", HELD)
def test_what_is_typed_is_refused_without_being_quoted(url: str) -> None:
    for text in (f"{url}#m", f"{url}#m@MY_API_KEY", f"agent:{url}", f"HTTP{url[4:]}#m", f"ftp:{url.partition(':')[2]}"):
        with pytest.raises(TargetError) as refused:
            parse_target(text)
        assert "Secr3t" not in str(refused.value) + str(refused.value.fix)
    with pytest.raises(TargetError, match=r"holds no user|none could have") as refused:
        parse_target(f"{url}#m")
    assert "MY_API_KEY" in str(refused.value.fix)


def test_a_password_with_a_hash_is_not_quoted_either() -> None:
    for text in ("http://mei:Secr#3t@127.0.0.1/v1#m", "http://mei:12#Secr3t@127.0.0.1/v1#m"):
        with pytest.raises(TargetError) as refused:
            parse_target(text)
        assert "3t" not in str(refused.value)


@pytest.mark.parametrize(
    "spec",
    [
        *(TargetSpec(kind="http", model="m", url=url) for url in HELD),
        *(TargetSpec(kind="inspect", model="openai/m", url=url) for url in HELD),
        *(TargetSpec(kind="agent", model="mine", url=url) for url in HELD),
        *(TargetSpec(kind="agent", model=url) for url in HELD),
        TargetSpec(kind="agent", model="http://127.0.0.1:9/run", options={"public": "http://mei:Secr3t@127.0.0.1"}),
    ],
)
def test_no_target_is_made_of_it_whoever_wrote_the_spec(spec: TargetSpec) -> None:
    with pytest.raises(TargetError) as refused:
        make_target(spec, Generation(), Limits(), lambda _: None)
    assert "Secr3t" not in str(refused.value)


@pytest.mark.parametrize("place", ["target", "attacker", "judge"])
def test_a_plan_that_names_one_is_refused_before_a_run_begins(tmp_path: Path, place: str) -> None:
    bad = f"{{kind: http, model: m, url: '{HELD[0]}'}}"
    plan = plan_path("quick").read_text()
    old = "target:\n  kind: embedded\n  model: qwen2.5-coder-0.5b-instruct\n"
    assert old in plan
    lines = plan.replace(old, "" if place == "target" else old).splitlines()
    path, judges = tmp_path / "plan.yaml", f"judges: {{panel: [{{name: j, target: {bad}}}]}}"
    more = {"target": f"target: {bad}", "attacker": f"attacker: {{target: {bad}}}", "judge": judges}[place]
    path.write_text("\n".join([*lines, more]) + "\n")
    for act in (lambda: read_plan(str(path)), lambda: api.evaluate(path, out=tmp_path / "run")):
        with pytest.raises(AssayError, match="holds no user and no password") as refused:
            act()
        assert "Secr3t" not in str(refused.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "text",
    ["http://127.0.0.1:8080/v1#my-model@MY_API_KEY", "https://models.example#m@KEY", "inspect:openai/m@2026", "https://h/v1/%40cf#m"],
)
def test_names_of_keys_and_of_models_with_an_at_sign_are_taken(text: str) -> None:
    assert parse_target(text).model in ("my-model", "m", "openai/m@2026")
