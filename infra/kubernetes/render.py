"""The manifests for Knative and for plain Kubernetes, from the one table of functions.

    python -m infra.kubernetes.render --platform knative|kubernetes [--trigger NAME]
    python -m infra.kubernetes.render --write

The first prints what `kubectl apply -f -` takes. The second writes the same for kustomize into
infra/knative/ and infra/kubernetes/, where it is kept so that `kubectl apply -k` takes it, and an
overlay can change the image, the namespace or anything else; a test keeps it in step with this.
No secret's content is in it: each is named, and made by whoever installs.

Why this form: what a function is given is known to the table of functions alone, templates of text
would say it a second time; and both the generator and kustomize are tested without a cluster.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from infra.kubernetes import common, knative, plain, policies
from infra.kubernetes.container import ROOT, Json

HEADER = (
    "# Written by `python -m infra.kubernetes.render --write`; change that, or make an overlay.\n"
)
API = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}


class _Plain(yaml.SafeDumper):
    """YAML without anchors, which people read past."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


def base(platform: str) -> Mapping[str, Sequence[Json]]:
    """Return by file's name all of a platform's manifests but what calls by the clock."""
    functions = knative.services() if platform == "knative" else plain.workloads()
    who = policies.on_knative() if platform == "knative" else policies.on_kubernetes()
    return {
        "namespace.yaml": [common.namespace()],
        "accounts.yaml": common.accounts(),
        "functions.yaml": functions,
        "disruption.yaml": common.disruption_budgets(),
        "policies.yaml": who,
    }


def triggers(platform: str) -> Mapping[str, Sequence[Json]]:
    """Return by name each way to call by the clock; the first is the platform's own."""
    ways = {"cronjob": common.cron_jobs()}
    return {"pingsource": knative.ping_sources(), **ways} if platform == "knative" else ways


def manifests(platform: str, trigger: str | None = None) -> list[Json]:
    """Return all of a platform's manifests, with one way to call by the clock."""
    ways = triggers(platform)
    chosen = ways[trigger or next(iter(ways))]
    return [*(it for file in base(platform).values() for it in file), *chosen]


def text(documents: Sequence[Json]) -> str:
    """Return manifests as YAML."""
    return HEADER + yaml.dump_all(documents, Dumper=_Plain, sort_keys=False, width=120)


def files() -> Iterator[tuple[Path, str]]:
    """Yield each file that is kept, with what has to be in it."""
    for platform in PLATFORMS:
        home = ROOT / "infra" / platform
        yield from _folder(home / "base", base(platform), [])
        for name, way in triggers(platform).items():
            yield from _folder(home / name, {"trigger.yaml": way}, ["../base"])


def _folder(
    home: Path, kept: Mapping[str, Sequence[Json]], bases: list[str]
) -> Iterator[tuple[Path, str]]:
    yield home / "kustomization.yaml", text([{**API, "resources": [*bases, *kept]}])
    for name, documents in kept.items():
        yield home / name, text(documents)


PLATFORMS = ("knative", "kubernetes")


def main() -> None:
    """Print a platform's manifests, or write those of all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--platform", choices=PLATFORMS)
    what.add_argument("--write", action="store_true")
    parser.add_argument("--trigger", help="pingsource (of Knative, there the default) or cronjob")
    given = parser.parse_args()
    if given.write:
        for file, content in files():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        return
    if given.trigger and given.trigger not in triggers(given.platform):
        parser.error(f"--trigger: expected one of {', '.join(triggers(given.platform))}")
    print(text(manifests(given.platform, given.trigger)), end="")


if __name__ == "__main__":
    main()
