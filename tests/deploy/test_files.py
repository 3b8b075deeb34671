"""Deployment files against the published schemas and linters, without a network or a container engine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY

DOCKERFILES = [
    REPOSITORY / "deploy" / "Dockerfile.serve",
    REPOSITORY / "deploy" / "Dockerfile.train",
    REPOSITORY / "deploy" / "huggingface" / "Dockerfile",
]
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yaml"))
MANIFESTS = [file for file in sorted((REPOSITORY / "deploy" / "kubernetes").glob("*.yaml")) if "kust" not in file.name]


def program(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name(name), *arguments]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=REPOSITORY, timeout=120)


def version() -> str:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.relative_to(REPOSITORY).as_posix())
def test_a_dockerfile_has_no_finding(file: Path) -> None:
    # DL3008 asks for versions of Debian's packages, which Debian removes from its servers with each update.
    done = program("hadolint", "--ignore", "DL3008", file)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("file", DOCKERFILES[:2], ids=lambda file: file.name)
def test_all_that_an_image_copies_is_in_the_build_context(file: Path) -> None:
    admitted = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for line in re.findall(r"^COPY (?!--from)(.+)$", file.read_text(), re.MULTILINE):
        for source in line.split()[:-1]:
            assert (REPOSITORY / source).exists(), source
            assert source.split("/")[0] in admitted, source


@pytest.mark.parametrize("file", DOCKERFILES[:2], ids=lambda file: file.name)
def test_an_image_does_not_run_as_root(file: Path) -> None:
    stages = file.read_text().split("\nFROM ")
    assert re.search(r"^USER 10001:10001$", stages[-1], re.MULTILINE)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_is_valid_and_pins_what_it_uses(file: Path) -> None:
    done = program("check-jsonschema", "--builtin-schema", "vendor.github-workflows", file)
    assert done.returncode == 0, done.stdout
    assert yaml.safe_load(file.read_text())["permissions"] == {"contents": "read"}
    for used in re.findall(r"uses: (\S+)", file.read_text()):
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", used), used


def test_workflows_have_no_known_weakness() -> None:
    done = program("zizmor", "--offline", "--no-progress", ".github/workflows")
    assert done.returncode == 0, done.stdout


def test_compose_is_valid_and_uses_what_is_there() -> None:
    done = program("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml")
    assert done.returncode == 0, done.stdout
    services = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())["services"]
    assert set(services) == {"api", "redis", "mlflow", "prometheus", "grafana"}
    for service in services.values():
        if "build" in service:
            assert (REPOSITORY / service["build"]["dockerfile"]).is_file()
            assert service["image"].endswith(f":{version()}")
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./deploy"):
                assert (REPOSITORY / source).exists(), source
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")
    assert services["api"]["read_only"] is True


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.name)
def test_a_manifest_fits_kubernetes_schema(file: Path) -> None:
    done = program("kubernetes-validate", "--strict", file)
    assert done.returncode == 0, done.stdout + done.stderr
    for document in yaml.safe_load_all(file.read_text()):
        pod = document["spec"].get("template", document["spec"].get("jobTemplate", {}).get("spec", {}).get("template"))
        for container in pod["spec"]["containers"] if pod else ():
            assert container["image"].startswith("redis:") or container["image"].endswith(f":{version()}")
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            for variable in container.get("env", ()):
                assert "KEY" not in variable["name"] or "valueFrom" in variable


def test_the_dashboard_asks_for_measures_that_the_service_has() -> None:
    from sqidflow.search.api.metrics import Metrics

    exposed = Metrics().text().decode()
    known = set(re.findall(r"^# TYPE (\S+)", exposed, re.MULTILINE))
    dashboard = json.loads((REPOSITORY / "deploy" / "grafana" / "dashboards" / "sqidflow.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(expressions) >= 10
    for expression in expressions:
        for name in re.findall(r"\bsqidflow_\w+", expression):
            assert re.sub(r"_(bucket|sum|count)$", "", name) in known or name in known, name


def test_the_dashboard_s_source_is_provisioned() -> None:
    sources = yaml.safe_load(
        (REPOSITORY / "deploy" / "grafana" / "provisioning" / "datasources" / "prometheus.yaml").read_text()
    )
    assert [source["uid"] for source in sources["datasources"]] == ["prometheus"]


def test_the_page_and_the_changelog_have_the_package_s_version() -> None:
    assert json.loads((REPOSITORY / "web" / "package.json").read_text())["version"] == version()
    assert re.search(rf"^## {re.escape(version())}\b", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
