"""What runs calltriage elsewhere says what the package says: variables, ports, probes, versions."""

from __future__ import annotations

import configparser
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from calltriage.settings import Settings, is_secret

MANIFESTS = Path(__file__).parents[3] / "manifests"
CONTAINERFILE = MANIFESTS / "container" / "Containerfile"
COMPOSE = MANIFESTS / "container" / "compose.yaml"
KUBERNETES = MANIFESTS / "kubernetes"
UNIT = MANIFESTS / "systemd" / "calltriage.service"


def loaded(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def resources() -> dict[str, dict[str, Any]]:
    """Kubernetes' resources by their kind."""
    files = loaded(KUBERNETES / "kustomization.yaml")["resources"]
    return {(found := loaded(KUBERNETES / name))["kind"]: found for name in files}


@pytest.mark.parametrize("path", [CONTAINERFILE, COMPOSE, UNIT, *KUBERNETES.glob("*.yaml")], ids=lambda path: path.name)
def test_each_variable_of_ours_is_a_setting(path: Path) -> None:
    settings = {f"CALLTRIAGE_{name.upper()}" for name in Settings.model_fields}
    files = {f"CALLTRIAGE_{name.upper()}_FILE" for name, field in Settings.model_fields.items() if is_secret(field)}
    named = set(re.findall(r"\bCALLTRIAGE_[A-Z_]+\b", path.read_text(encoding="utf-8")))
    assert named <= settings | files


def test_every_resource_is_listed_once() -> None:
    listed = loaded(KUBERNETES / "kustomization.yaml")["resources"]
    there = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert sorted(listed) == sorted(there)


def test_the_image_carries_every_extra() -> None:
    project = tomllib.loads((MANIFESTS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    carried = re.findall(r"--extra (\S+)", CONTAINERFILE.read_text(encoding="utf-8"))
    assert sorted(carried) == sorted(project["optional-dependencies"])


def test_the_image_is_asked_for_where_it_listens() -> None:
    text = CONTAINERFILE.read_text(encoding="utf-8")
    port = re.search(r'CMD \["serve", "--http", "--host", "0.0.0.0", "--port", "(\d+)"\]', text)
    assert port is not None
    assert f"EXPOSE {port[1]}" in text
    assert f"http://127.0.0.1:{port[1]}/readyz" in text
    [container] = resources()["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": int(port[1])}]
    assert f"127.0.0.1:{port[1]}:{port[1]}" in loaded(COMPOSE)["services"]["server"]["ports"]


def test_what_selects_pods_selects_the_deployments() -> None:
    found = resources()
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert found["Service"]["spec"]["selector"] == labels
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    target = found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", found["Deployment"]["metadata"]["name"])


def test_servers_that_share_a_volume_are_on_one_node() -> None:
    found = resources()
    pod = found["Deployment"]["spec"]["template"]["spec"]
    assert found["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteOnce"]
    [term] = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"


def test_nothing_runs_as_root_or_writes_its_own_code() -> None:
    pod = resources()["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    for container in pod["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
    for name in ("server", "desk"):
        assert loaded(COMPOSE)["services"][name]["read_only"] is True
    assert re.search(r"^USER 65532", CONTAINERFILE.read_text(encoding="utf-8"), re.MULTILINE)


def test_no_secret_stands_in_a_file() -> None:
    secrets = {f"CALLTRIAGE_{name.upper()}" for name, field in Settings.model_fields.items() if is_secret(field)}
    for service in loaded(COMPOSE)["services"].values():
        for name, value in service["environment"].items():
            if name in secrets or "PASSWORD" in name or "SECRET" in name:
                assert "${" in value, name
    assert not secrets & set(resources()["ConfigMap"]["data"])


def test_the_units_pieces_are_read_by_systemd() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment]
    unit.read(UNIT, encoding="utf-8")
    assert unit["Service"]["LoadCredential"].startswith("http_token:")
    assert "serve --http" in unit["Service"]["ExecStart"]
    assert "CALLTRIAGE_HTTP_TOKEN_FILE=%d/http_token" in UNIT.read_text(encoding="utf-8")
