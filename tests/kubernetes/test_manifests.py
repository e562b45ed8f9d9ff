"""The manifests are those of the table of functions, and what Kubernetes and Knative take."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from infra.kubernetes.container import CALLS_CLOUDS, GATEWAY, GIVEN, MOUNTED, image, labels
from infra.kubernetes.render import PLATFORMS, files, manifests, triggers
from openmultistack.wiring.doors import DOORS, endpoints_of
from openmultistack.wiring.settings import load_settings
from tests.support.manifests import faults
from tests.support.platform_rules import pod_of

ROOT = Path(__file__).parent.parent.parent
WAYS = [(platform, way) for platform in PLATFORMS for way in triggers(platform)]
KUBECTL = Path(sys.executable).parent / "kubectl"


def of_kind(platform: str, kind: str) -> dict[str, dict]:
    """Return a platform's manifests of a kind, by name."""
    found = [it for it in manifests(platform) if it["kind"] == kind]
    return {it["metadata"]["name"]: it for it in found}


def workloads(platform: str) -> dict[str, dict]:
    """Return what runs the functions, by name."""
    functions = {
        it["metadata"]["name"]: it
        for it in manifests(platform)
        if it["kind"] in ("Deployment", "Service") and pod_of(it)
    }
    assert functions
    return functions


def environment(manifest: dict) -> dict[str, str]:
    """Return what a function's container is told."""
    return {it["name"]: it["value"] for it in pod_of(manifest)["containers"][0]["env"]}


def kustomize(folder: Path) -> list[dict]:
    """Return what `kubectl kustomize` makes of a folder, with nothing but what is there."""
    done = subprocess.run(
        [KUBECTL, "kustomize", folder],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "KUBECONFIG": os.devnull},
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def by_identity(found: list[dict]) -> list[dict]:
    return sorted(found, key=lambda it: (it["kind"], it["metadata"]["name"]))


@pytest.mark.parametrize(("platform", "way"), WAYS)
def test_every_manifest_is_one_that_its_platform_takes(platform, way):
    for it in manifests(platform, way):
        assert faults(it) == [], f"{it['kind']} {it['metadata']['name']}"


def test_the_files_are_what_the_generator_writes():
    """Else: `python -m infra.kubernetes.render --write`."""
    written = dict(files())
    assert [str(it) for it, text in written.items() if it.read_text() != text] == []
    homes = {it.parent.parent for it in written}
    kept = {it for home in homes for it in home.rglob("*.yaml")}
    assert {str(it) for it in kept - written.keys()} == set()


@pytest.mark.parametrize(("platform", "way"), WAYS)
def test_kustomize_makes_of_the_files_what_is_printed(platform, way):
    made = kustomize(ROOT / "infra" / platform / way)
    assert by_identity(made) == by_identity(manifests(platform, way))


@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_is_printed_is_yaml_of_the_same(platform):
    command = [sys.executable, "-m", "infra.kubernetes.render", "--platform", platform]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    assert list(yaml.safe_load_all(done.stdout)) == manifests(platform)


@pytest.mark.parametrize(("platform", "way"), WAYS)
def test_an_overlay_changes_image_and_namespace_everywhere(platform, way, tmp_path):
    """Nothing of the old names is left but what names our product."""
    (tmp_path / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "resources": [os.path.relpath(ROOT / "infra" / platform / way, tmp_path)],
                "namespace": "ours",
                "images": [
                    {"name": "openmultistack/functions", "newName": "r.example/f", "newTag": "7"}
                ],
            }
        )
    )
    made = kustomize(tmp_path)
    assert {it["metadata"].get("namespace", it["metadata"]["name"]) for it in made} == {"ours"}
    images = {it["image"] for at in made if (pod := pod_of(at)) for it in pod["containers"]}
    assert images == {"r.example/f:7"}
    assert [it["metadata"]["name"] for it in made if faults(it)] == []


@pytest.mark.parametrize("platform", PLATFORMS)
def test_each_function_is_given_what_the_table_of_functions_says(platform):
    """Least privilege: who is not given `clouds` cannot leak what they do not have."""
    assert workloads(platform).keys() == DOORS.keys()
    for name, it in workloads(platform).items():
        given = {volume["name"] for volume in pod_of(it)["volumes"]} - {"tmp"}
        assert given == set(DOORS[name].secrets)
        variables = {key for key in environment(it) if key.endswith("_FILE")}
        assert variables == {GIVEN[at].variable for at in DOORS[name].secrets}
        assert pod_of(it)["serviceAccountName"] == name


@pytest.mark.parametrize("platform", PLATFORMS)
def test_each_functions_environment_is_one_that_it_understands(platform, tmp_path):
    """A variable that nobody reads, or a path that is not mounted, would be seen only there."""
    (tmp_path / "url").write_text("redis://ledger/0\n")
    for name, it in workloads(platform).items():
        told = environment(it)
        assert (ROOT / told["FUNCTION_SOURCE"]).is_file()
        mounts = [at["mountPath"] for at in pod_of(it)["containers"][0]["volumeMounts"]]
        paths = [at for at in told.values() if at.startswith(MOUNTED)]
        assert {str(Path(at).parent) for at in paths} == set(mounts) - {"/tmp"}  # noqa: S108
        told["OMS_REDIS_URL_FILE"] = str(tmp_path / "url")
        settings = load_settings(told)
        assert settings.threads == DOORS[name].threads
        assert settings.tick == bool(DOORS[name].schedule)
        assert settings.redis_url == "redis://ledger/0"
        assert (settings.clouds_file is not None) == DOORS[name].calls_clouds
        assert (settings.marks_keys_file is not None) == DOORS[name].calls_clouds


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_function_has_the_time_that_it_is_told_to_have(platform):
    for name, it in workloads(platform).items():
        pod, granted_s = pod_of(it), int(environment(it)["OMS_GRANTED_S"])
        assert granted_s == DOORS[name].graceful_s
        kill_s = pod.get("terminationGracePeriodSeconds") or pod["timeoutSeconds"]
        assert kill_s > granted_s
    knative = workloads("knative")
    longest = max(at.timeout_s for at in _endpoints())
    assert all(pod_of(it)["timeoutSeconds"] > longest for it in knative.values())
    assert {it["spec"]["template"]["spec"]["containerConcurrency"] for it in knative.values()} == {
        door.threads for door in DOORS.values()
    }


def _endpoints():
    return [at for name in DOORS for at in endpoints_of(name)]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_no_content_of_a_secret_is_in_a_manifest(platform):
    assert not {it["kind"] for it in manifests(platform)} & {"Secret", "ConfigMap"}
    told = [value for it in workloads(platform).values() for value in environment(it).values()]
    assert [it for it in told if re.search(r"://|password", it)] == []


def test_what_sweeps_calls_each_function_with_a_schedule_by_its_schedule():
    timed = {name: it.schedule for name, it in DOORS.items() if it.schedule}
    assert timed
    pings = of_kind("knative", "PingSource").values()
    assert {it["spec"]["sink"]["ref"]["name"]: it["spec"]["schedule"] for it in pings} == timed
    jobs = of_kind("kubernetes", "CronJob").values()
    urls = {pod_of(it)["containers"][0]["command"][-1]: it["spec"]["schedule"] for it in jobs}
    assert urls == {f"http://{it}.$(NAMESPACE).svc/_/tick": timed[it] for it in timed}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_account_is_there_and_cannot_ask_kubernetes(platform):
    accounts = of_kind(platform, "ServiceAccount")
    pods = [
        pod for way in triggers(platform) for it in manifests(platform, way) if (pod := pod_of(it))
    ]
    assert {it["serviceAccountName"] for it in pods} == accounts.keys()
    assert {it["automountServiceAccountToken"] for it in accounts.values()} == {False}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_namespace_takes_only_what_is_restricted(platform):
    (it,) = of_kind(platform, "Namespace").values()
    assert it["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_one_image_of_the_projects_version_is_everywhere():
    every = [it for platform, way in WAYS for it in manifests(platform, way)]
    found = {at["image"] for it in every if (pod := pod_of(it)) for at in pod["containers"]}
    assert found == {image()}


def test_every_selector_finds_pods():
    """A budget, a Service or a policy that selects nothing is silent about it."""
    for platform in PLATFORMS:
        labelled = [
            it["spec"]["template"]["metadata"]["labels"] for it in workloads(platform).values()
        ]
        (job, *_) = [it for it in manifests(platform, "cronjob") if it["kind"] == "CronJob"]
        labelled.append(job["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"])
        labelled.append(labels(GATEWAY))
        for it in manifests(platform):
            for selector in _selectors(it):
                found = [at for at in labelled if selector.items() <= at.items()]
                assert found, f"{it['kind']} {it['metadata']['name']}: {selector}"
                if it["kind"] in ("PodDisruptionBudget", "Service", "Deployment"):
                    assert len(found) == 1
    assert {CALLS_CLOUDS} <= {key for at in labelled for key in at}


def _selectors(manifest: dict) -> list[dict[str, str]]:
    spec = manifest.get("spec", {})
    if manifest["kind"] == "NetworkPolicy":
        return [spec["podSelector"].get("matchLabels", {})]
    if manifest["kind"] in ("PodDisruptionBudget", "Deployment"):
        return [spec["selector"]["matchLabels"]]
    return [spec["selector"]] if "selector" in spec else []


PAGE = (ROOT / "docs" / "operating" / "kubernetes.md").read_text()


def test_the_pages_overlay_is_one(tmp_path):
    (block,) = [it for it in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "Kustom" in it]
    overlay = textwrap.dedent(block)
    (tmp_path / "infra").symlink_to(ROOT / "infra")
    home = tmp_path / "overlay"
    home.mkdir()
    (home / "kustomization.yaml").write_text(overlay)
    images = {
        at["image"] for it in kustomize(home) if (pod := pod_of(it)) for at in pod["containers"]
    }
    assert images == {"registry.example/" + image()}


def test_the_page_names_what_is_mounted():
    rows = re.findall(r"^ +\| `(\w+)` \| (Secret|ConfigMap) \| `([\w.]+)` \|", PAGE, re.MULTILINE)
    told = {name: (file, kind == "Secret") for name, kind, file in rows}
    assert told == {name: (it.file, it.is_secret) for name, it in GIVEN.items()}
    made = re.findall(r"create (secret generic|configmap) (\w+) --from-file=(\S+)", PAGE)
    files_made = {name: (file.partition("=")[0], kind != "configmap") for kind, name, file in made}
    assert files_made == told
