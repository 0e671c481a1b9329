"""The container file and the compose example: against their schema, for what they promise, and run as the processes that they name."""

from __future__ import annotations

import base64
import json
import os
import re
import runpy
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml

from assay.access.config import read_config
from assay.errors import ModelError
from assay.ledger import write_key
from tests.access.test_deploy import known
from tests.deploy.test_chart import merged
from tests.postgres import Server, need_postgres, short_folder

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "deploy/compose/compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ENTRY = ROOT / "deploy/container/entry"
PREPARE = ROOT / "deploy/compose/prepare.py"
CONTAINERFILE = (ROOT / "deploy/container/Containerfile").read_text()
SMALL = "smollm2-135m-instruct"
OWNER = "ab" * 16
OTHER = "65534:65534"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def public_keys() -> list[str]:
    from tests.access.gate import ADMINS

    return [f"{name}={base64.b64encode(key.public.raw).decode()}" for name, key in ADMINS.items()]


def made(folder: Path, roles: Path, owners: tuple[str, ...] = (OWNER,), **more: str) -> subprocess.CompletedProcess[str]:
    given = {"--host": "localhost", "--model": "m7", "--digest": f"sha256:{'1' * 64}", "--roles": str(roles), **more}
    many = [("--owner", o) for o in owners] + [("--admin", key) for key in public_keys()]
    words = [w for pair in [*given.items(), *many] for w in pair]
    if os.getuid() == 0 and "--user" not in given:
        words += ["--user", OTHER]
    command = [sys.executable, PREPARE, folder, *words, "--no-weights"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# What it says


def test_the_compose_file_holds_against_its_schema() -> None:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema, which brings the schema, is not installed")
    place = resources.files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json"
    schema = json.loads(place.read_text())
    jsonschema.validate(COMPOSE, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**COMPOSE, "services": {"gateway": {"imagee": "x"}}}, schema)


def test_only_the_gate_is_published_and_what_is_behind_it_has_no_way_out() -> None:
    assert [name for name, service in SERVICES.items() if service.get("ports")] == ["gateway"]
    assert {n for n, network in COMPOSE["networks"].items() if network.get("internal")} == {"upstream", "store"}
    assert {n: service["networks"] for n, service in SERVICES.items()} == {
        "gateway": ["edge", "upstream", "store"], "model": ["upstream"], "postgres": ["store"],
    }  # fmt: skip
    assert all("network_mode" not in s and "privileged" not in s and "pid" not in s for s in SERVICES.values())


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_the_least(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert "memory" in service["deploy"]["resources"]["limits"]
    if name != "postgres":  # its own image begins as root, and steps down
        assert service["user"].startswith("${ASSAY_USER:?")
        assert "cap_add" not in service
        known(" ".join(service["command"]))


def test_secrets_are_files_and_stand_in_no_environment() -> None:
    assert all(set(s) == {"file"} and s["file"].startswith("./secrets/") for s in COMPOSE["secrets"].values())
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            assert not re.search("KEY|PASSWORD|SECRET|TOKEN", name) or str(value).startswith("/run/secrets/"), name
        for mounted in re.findall(r"/run/secrets/(\w+)", json.dumps(service)):
            assert mounted in service["secrets"], mounted


def test_images_are_pinned_and_the_last_stage_can_neither_install_nor_compile() -> None:
    assert re.search(r"^ARG BASE=\S+:\d+\.\d+\.\d+-slim-\w+$", CONTAINERFILE, re.MULTILINE)
    assert re.search(r":\d+\.\d+-\w+\}$", SERVICES["postgres"]["image"])
    assert "--require-hashes --only-binary=:all: -r requirements/container.txt" in CONTAINERFILE
    first, last = CONTAINERFILE.split("\nFROM ${BASE}\n")
    assert "USER 65532:65532" in last
    assert "apt-get" not in CONTAINERFILE
    assert not re.search(r"\bgcc|build-essential|pip install", last)
    assert last.index("rm -rf") < last.index("USER")
    for copied in re.findall(r"^COPY (?:--chmod=\d+ )?(?!--from)(.+) \S+$", first, re.MULTILINE):
        for path in copied.split():
            assert (ROOT / path).exists(), path


def test_every_package_of_the_image_has_a_hash() -> None:
    text = (ROOT / "requirements/container.txt").read_text()
    packages = re.findall(r"^([a-z0-9][\w.-]*)==[^\n]*((?:\n +--hash=sha256:[0-9a-f]{64}[ \\]*)+)", text, re.MULTILINE)
    assert {name for name, _ in packages} == set(re.findall(r"^([a-z0-9][\w.-]*)==", text, re.MULTILINE))
    assert {"aiohttp", "cedarpy", "psycopg-binary", "xllamacpp", "uvicorn"} <= {name for name, _ in packages}


def test_what_goes_to_the_builder_is_what_the_image_is_made_of() -> None:
    ignored = (ROOT / ".containerignore").read_text()
    assert (ROOT / ".dockerignore").read_text() == ignored
    kept = {line[1:] for line in ignored.splitlines() if line.startswith("!")}
    sources = {path for line in re.findall(r"^COPY (?!--from)(.+) \S+$", CONTAINERFILE, re.MULTILINE) for path in line.split()}
    for path in sources - {"--chmod=0755"}:
        assert any(path == k or path.startswith(f"{k}/") for k in kept), path


# What begins a container


def test_a_secret_comes_from_its_file_and_is_the_commands_alone(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret with spaces $(x)\nsecond line\n")
    env = {"PATH": os.environ["PATH"], "SECRET_FILE_UPSTREAM_KEY": str(secret), "SSL_CERT_FILE": "/x"}
    done = subprocess.run([ENTRY, "env"], env=env, capture_output=True, text=True, check=True)
    assert "UPSTREAM_KEY=s3cret with spaces $(x)\n" in done.stdout
    assert "SECRET_FILE_" not in done.stdout
    assert "SSL_CERT_FILE=/x" in done.stdout


@pytest.mark.parametrize("content", [None, ""], ids=["missing", "empty"])
def test_without_its_secret_nothing_starts(tmp_path: Path, content: str | None) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_text(content)
    env = {"PATH": os.environ["PATH"], "SECRET_FILE_UPSTREAM_KEY": str(secret)}
    done = subprocess.run([ENTRY, "echo", "started"], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert str(secret) in done.stderr


@pytest.mark.parametrize("shell", ["/bin/sh", "dash", "bash"])
def test_a_container_is_well_by_the_shells_own_kill(shell: str) -> None:
    """A slim image has no /bin/kill; here no command can be found at all."""
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    try:
        os.kill(1, 0)
        expected = 0
    except PermissionError:
        expected = 1
    done = subprocess.run([found, ENTRY, "--well"], env={"PATH": ""}, capture_output=True, text=True, check=False)
    assert (done.returncode, "not found" in done.stderr) == (expected, False), done.stderr


def test_the_health_check_runs_nothing_of_the_folder_that_is_mounted(tmp_path: Path) -> None:
    (tmp_path / "ssl.py").write_text("raise SystemExit(0)")
    env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "GATE_HEALTH": "https://127.0.0.1:9/", "GATE_HEALTH_HOST": "x"}
    done = subprocess.run([ENTRY, "--well"], env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1


# What is made beforehand


def test_everything_is_made_for_its_owner_alone_and_is_a_gate(tmp_path: Path) -> None:
    roles = tmp_path / "roles.json"
    roles.write_text("{}")
    folder = tmp_path / "door"
    done = made(folder, roles)
    assert done.returncode == 0, done.stderr
    for path in [folder, *folder.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
    config = read_config(folder / "gate/gate.yaml")
    assert (config.listen, config.hosts) == ("0.0.0.0:8443", ("localhost", "localhost:8443"))
    assert config.models["m7"].upstream == "https://model:8000/v1"
    user = f"{os.getuid()}:{os.getgid()}" if os.getuid() else OTHER
    assert f"ASSAY_USER={user}\n" in (folder / ".env").read_text()
    assert {f"{p.stat().st_uid}:{p.stat().st_gid}" for p in (folder, *folder.rglob("*"))} == {user}
    for named in COMPOSE["secrets"].values():
        assert (folder / named["file"]).is_file(), named
    assert not list(folder.rglob("authority.key")), "the authority's key must not be kept"
    context = ssl.create_default_context(cafile=str(folder / "authority.crt"))
    assert len(context.get_ca_certs()) == 1
    again = made(folder, roles)
    assert (again.returncode, "there is something in this folder" in again.stderr) == (2, True)


@pytest.mark.skipif(os.getuid() != 0, reason="what root is told is seen by root")
def test_root_makes_no_folder_whose_containers_run_as_root(tmp_path: Path) -> None:
    command = [sys.executable, PREPARE, tmp_path / "door", "--host", "h", "--model", "m", "--digest", "d", "--roles", "r", "--owner", OWNER]
    done = subprocess.run([*command, "--admin", "a=b", "--no-weights"], capture_output=True, text=True, check=False)
    assert (done.returncode, "do not run as root" in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "door").exists()


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"--user": "0:0"}, "do not run as root"),
        ({"--user": "00:1000"}, "do not run as root"),
        ({"--user": "root"}, "not a user"),
        ({"--host": "gate.example/x"}, "not a host"),
        ({"--digest": "sha256:1"}, "gate.yaml"),
        ({"--upstream": "http://model:8000/v1"}, "https"),
    ],
)
def test_what_makes_no_gate_is_refused(tmp_path: Path, changed: dict[str, str], what: str) -> None:
    roles = tmp_path / "roles.json"
    roles.write_text("{}")
    done = made(tmp_path / "door", roles, **changed)
    assert done.returncode == 2
    assert what in done.stderr
    assert "Traceback" not in done.stderr


def test_the_commands_of_the_document_are_those_of_the_files() -> None:
    """The line that prepares takes its words, and what is called beside it is named as it is."""
    text = (ROOT / "docs/containers.md").read_text().replace("...", f"sha256:{'1' * 64}", 1)
    (line,) = re.findall(r"^python deploy/compose/prepare\.py (.*)$", text, re.MULTILINE)
    given = runpy.run_path(str(PREPARE), run_name="prepare")["parsed"](shlex.split(line))
    assert (given.folder, given.host, len(given.admin)) == (Path("door"), "gate.example.org", 2)
    for file in re.findall(r"--file[= ](\S+)", text):
        assert (ROOT / file).is_file(), file
    assert set(re.findall(r"run --rm .*? (\w+)'", text)) == {"gateway"}
    values = re.search(r'```yaml title="door.values.yaml"\n(.*?)```', text, re.DOTALL)
    assert values
    schema = json.loads((ROOT / "deploy/helm/assay/values.schema.json").read_text())
    defaults = yaml.safe_load((ROOT / "deploy/helm/assay/values.yaml").read_text())
    jsonschema.validate(merged(defaults, yaml.safe_load(values[1])), schema)


# What it does, as processes


def here(words: list[str], folder: Path) -> list[str]:
    """A command of the compose file with a container's places turned into this machine's."""
    names = {"/run/secrets/" + n: str(folder / s["file"]) for n, s in COMPOSE["secrets"].items()}
    bin_folder = Path(sys.executable).parent
    turned = [names.get(w, w.replace("/gate/", f"{folder}/gate/")) for w in words]
    return [str(ENTRY), str(bin_folder / turned[0]), *turned[1:]]


@contextmanager
def running(command: list[str], env: dict[str, str], log: Path, ready: Callable[[], bool]) -> Iterator[None]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + 60
        while not ready():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def answers(port: int) -> Callable[[], bool]:
    def asked() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return False
        return True

    return asked


@pytest.mark.model
def test_gate_store_and_model_answer_a_request_through_the_connector(tmp_path: Path) -> None:
    """The services of the compose file, with its own commands, entry and secrets: only addresses are other ones."""
    from assay.targets import models
    from tests.access.gate import ADMINS, HOLDER, Gate

    need_postgres()
    try:
        models.weights(SMALL, lambda _: None)
    except ModelError as e:
        pytest.skip(f"the weights of {SMALL} cannot be had here: {e.what}")
    authority = Gate(tmp_path / "authority")
    gate_port, model_port, local_port = free_port(), free_port(), free_port()
    folder, paths = tmp_path / "door", f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with ExitStack() as stack:
        short = stack.enter_context(short_folder())
        # PostgreSQL's password must be known before it starts, the address of PostgreSQL before the gate's file is made
        password = base64.urlsafe_b64encode(os.urandom(24)).decode()
        server = stack.enter_context(Server(short / "s", password=password))
        done = made(
            folder, authority.folder / "roles.json", owners_of(authority), **{
                "--digest": authority.digest, "--serves": SMALL, "--listen": f"127.0.0.1:{gate_port}",
                "--publish": f"127.0.0.1:{gate_port}", "--upstream": f"https://localhost:{model_port}/v1",
                "--store": f"postgresql://gate@127.0.0.1:{server.port}/postgres",
            },
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        for path in (folder, *folder.rglob("*")):  # the processes here are ours, root's or not
            os.chown(path, os.getuid(), os.getgid())
        (folder / "secrets/database_password").write_text(password + "\n")
        stack.callback(authority.store.close)
        env = {"PATH": paths, "HOME": str(tmp_path), "ASSAY_CACHE": str(models.cache_folder()), "ASSAY_MODEL": SMALL}
        secrets = {
            "SECRET_FILE_UPSTREAM_KEY": str(folder / "secrets/upstream_key"),
            "SECRET_FILE_PGPASSWORD": str(folder / "secrets/database_password"),
            "SSL_CERT_FILE": str(folder / "secrets/authority.crt"),
        }
        assert set(secrets) <= set(SERVICES["gateway"]["environment"])
        config = folder / "gate/gate.yaml"

        def assay(*words: str | Path) -> str:
            command = [ENTRY, Path(sys.executable).parent / "assay", *words]
            told = subprocess.run(
                list(map(str, command)), env={**env, **secrets}, capture_output=True, text=True, check=False, cwd=tmp_path
            )
            assert told.returncode == 0, told.stderr
            return told.stdout

        assay("access", "release", authority.folder / "release.jsonl", "--config", config)
        grant = tmp_path / "power.yaml"
        grant.write_text(grant_text(authority))
        for name, key in ADMINS.items():
            write_key(tmp_path / f"{name}.pem", key, b"")
        write_key(tmp_path / "holder.pem", HOLDER, b"")
        first, second = ADMINS
        assay("access", "grant", grant, "--config", config, "--key", tmp_path / f"{first}.pem")
        assay("access", "approve", "power", "--config", config, "--key", tmp_path / f"{second}.pem")

        words = here(SERVICES["model"]["command"], folder)
        words = [SMALL if w.startswith("${ASSAY_MODEL") else f"127.0.0.1:{model_port}" if w == "0.0.0.0:8000" else w for w in words]
        stack.enter_context(running(words, env, tmp_path / "model.log", answers(model_port)))
        gateway = here(SERVICES["gateway"]["command"], folder)
        stack.enter_context(running(gateway, {**env, **secrets}, tmp_path / "gate.log", answers(gate_port)))
        well = {**env, "GATE_HEALTH": f"https://127.0.0.1:{gate_port}/healthz", "GATE_HEALTH_HOST": "localhost"}
        assert subprocess.run([ENTRY, "--well"], env=well, check=False).returncode == 0
        connect = [
            str(ENTRY), str(Path(sys.executable).parent / "assay"), "access", "connect", "--gate", f"https://localhost:{gate_port}",
            "--grant", "power", "--person", "Tan", "--key", str(tmp_path / "holder.pem"), "--ca", str(folder / "authority.crt"),
            "--listen", f"127.0.0.1:{local_port}", "--secret-file", str(tmp_path / "local"),
        ]  # fmt: skip
        stack.enter_context(running(connect, env, tmp_path / "connect.log", answers(local_port)))
        body = json.dumps({"model": "m7", "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8}).encode()
        key = (tmp_path / "local").read_text().strip()
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{local_port}/v1/chat/completions", data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            value = json.load(answer)
        assert value["choices"][0]["message"]["content"].strip()
        assert value["usage"]["completion_tokens"] > 0
        listed = assay("access", "list", "--config", config)
        assert "power" in listed
        assert list((folder / "gate/audit").iterdir()), "the request is in the audit log"
        everything = "".join(p.read_text() for p in tmp_path.glob("*.log"))
        assert password not in everything
        assert (folder / "secrets/upstream_key").read_text().strip() not in everything


def owners_of(authority: Any) -> tuple[str, ...]:
    return tuple(yaml.safe_load((authority.folder / "gate.yaml").read_text())["authority"]["owners"])


def grant_text(authority: Any) -> str:
    """A grant for its holder as an administrator writes it, for twenty days from today."""
    value = msgspec.to_builtins(authority.grant())
    for name, days in (("starts", 0), ("expires", 20)):
        value[name] = time.strftime("%Y-%m-%d", time.gmtime(time.time() + days * 86_400))
    return yaml.safe_dump(value)
