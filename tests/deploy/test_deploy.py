"""The files under deploy/ pass their own tools, and speak of settings, commands and routes that exist."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from maas.api.app import create_app
from maas.settings import ENV_PREFIX, Settings, load_settings, setting_names

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
SECRETS = {"MAAS_BOOTSTRAP_KEY": "maas_first_0123456789abcdef", "POSTGRES_PASSWORD": "secret"}
KNOWN = {ENV_PREFIX + name.replace(".", "__").upper() for name in setting_names()}


def run(tool: str, *arguments: str | Path, **variables: str) -> str:
    program = [str(Path(sys.prefix) / "bin" / tool), *map(str, arguments)]
    done = subprocess.run(program, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"
    return done.stdout


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's (instruction, rest), comments gone and lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]  # type: ignore[misc]


def image_environment() -> dict[str, str]:
    pairs = [pair for name, rest in instructions() if name == "ENV" for pair in shlex.split(rest)]
    return dict(pair.split("=", 1) for pair in pairs if pair.startswith(ENV_PREFIX))


@pytest.fixture(scope="module")
def composed() -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(
        run("docker-compose", "-f", "deploy/compose.yaml", "config", "--format", "json", **SECRETS)
    )
    return answer


@pytest.fixture(scope="module")
def rendered() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(run("kubectl", "kustomize", DEPLOY / "kubernetes" / "example")))


def containers(rendered: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        container
        for resource in rendered
        if resource["kind"] == "Deployment"
        for container in resource["spec"]["template"]["spec"]["containers"]
    ]


def test_the_dockerfile_passes_hadolint() -> None:
    run("hadolint", DOCKERFILE)


def test_every_yaml_file_passes_yamllint() -> None:
    run("yamllint", "--strict", "-c", DEPLOY / ".yamllint.yaml", DEPLOY)


def test_the_manifests_fit_the_schema_of_kubernetes(rendered: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(rendered))
    run("kubernetes-validate", "--strict", tmp_path / "all.yaml")
    assert {resource["metadata"]["namespace"] for resource in rendered} == {"maas"}


def test_what_the_dockerfile_copies_is_there() -> None:
    kept = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    sources = [
        source
        for name, rest in instructions()
        if name == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    ]
    assert set(sources) == kept
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_the_image_has_the_extras_and_commands_it_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    steps = " ".join(rest for name, rest in instructions() if name == "RUN")
    extras = {extra for found in re.findall(r"'\.\[([\w,]+)\]'", steps) for extra in found.split(",")}
    assert {"mcp", "otel", "postgres", "torch"} <= extras <= set(project["optional-dependencies"])
    *_, command = [json.loads(rest) for name, rest in instructions() if name == "CMD"]
    assert command[0] in project["scripts"]
    run(command[0], *command[1:], "--help")
    assert re.findall(r"-m (lam_backend\S+)", steps) == ["lam_backend.packaging.package_lam"]
    assert find_spec("lam_backend.packaging.package_lam") is not None


def test_the_server_of_the_image_never_sees_torch() -> None:
    installed = DOCKERFILE.read_text().split("AS installed")[1].split("\nFROM")[0]
    final = DOCKERFILE.read_text().rsplit("\nFROM", 1)[1]
    assert "torch" not in installed + final.partition("CMD")[2]
    assert re.findall(r"COPY --from=bundle (\S+)", final) == ["/bundle/lam-base-v1"]
    assert re.search(r"^USER 10001$", final, re.MULTILINE)


def test_the_health_check_asks_the_server() -> None:
    (check,) = [rest for name, rest in instructions() if name == "HEALTHCHECK"]
    program = json.loads(check.partition("CMD")[2])
    assert program[:2] == ["python", "-c"]
    compile(program[2], "HEALTHCHECK", "exec")
    assert re.findall(r"/(\w+z)\"", program[2]) == ["readyz"]


def test_every_variable_is_a_setting_and_every_set_of_them_loads(
    composed: dict[str, Any], rendered: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # no config.yaml
    image = image_environment()
    sets = [image, image | composed["services"]["api"]["environment"]]
    sets += [image | {e["name"]: e.get("value", "from a secret") for e in c["env"]} for c in containers(rendered)]
    assert len(sets) == 4
    for variables in sets:
        given = {name: value for name, value in variables.items() if name.startswith(ENV_PREFIX)}
        assert given.keys() <= KNOWN
        with monkeypatch.context() as patch:
            for name, value in given.items():
                patch.setenv(name, value)
            assert isinstance(load_settings(), Settings)


def test_no_service_puts_variables_into_the_pods(rendered: list[dict[str, Any]]) -> None:
    """A Service called maas-api would set MAAS_API_PORT, which maas refuses as no setting of its own."""
    pods = [item["spec"]["template"]["spec"] for item in rendered if item["kind"] == "Deployment"]
    assert pods
    assert all(pod["enableServiceLinks"] is False for pod in pods)


def test_probes_ask_routes_that_are_open() -> None:
    paths = {
        "/readyz",
        *re.findall(r"path: (/\w+z)", "".join(p.read_text() for p in (DEPLOY / "kubernetes").rglob("*.yaml"))),
    }
    routes = create_app(Settings()).openapi()["paths"]
    assert paths == {"/readyz", "/healthz"}
    assert all(routes[path]["get"]["security"] == [] for path in paths)


def test_servers_are_given_the_time_to_finish(composed: dict[str, Any], rendered: list[dict[str, Any]]) -> None:
    from maas.api.server import GRACE_SECONDS

    assert composed["services"]["api"]["stop_grace_period"] == "40s"
    graces = [
        resource["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        for resource in rendered
        if resource["kind"] == "Deployment"
    ]
    assert min([40, *graces]) > GRACE_SECONDS + 5


def test_secrets_are_named_where_they_are_used(rendered: list[dict[str, Any]]) -> None:
    (secret,) = [resource for resource in rendered if resource["kind"] == "Secret"]
    used = [e["valueFrom"]["secretKeyRef"] for c in containers(rendered) for e in c["env"] if "valueFrom" in e]
    assert {(ref["name"], ref["key"]) for ref in used} <= {(secret["metadata"]["name"], key) for key in secret["data"]}
    assert {ref["key"] for ref in used} == set(secret["data"])


def test_prometheus_scrapes_every_replica_of_the_compose_file(composed: dict[str, Any]) -> None:
    (job,) = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    (discovery,) = job["dns_sd_configs"]
    assert composed["services"][discovery["names"][0]]["deploy"]["replicas"] == 2
    assert discovery["port"] == composed["services"]["api"]["ports"][0]["target"]
    secret = Path(job["authorization"]["credentials_file"])
    assert [mounted["source"] for mounted in composed["services"]["prometheus"]["secrets"]] == [secret.name]
