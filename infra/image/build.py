"""Builds the image of the functions with buildah, from where this machine's pip takes packages.

    python3 infra/image/build.py [--base IMAGE] [--tag NAME] [--buildah COMMAND]

What pip is told here (its index, its certificates, its proxy) is told to the build in secrets,
which are in no layer. Needs nothing but Python and buildah.
"""

import argparse
import ast
import os
import shlex
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DOCKERFILE = Path(__file__).with_name("Dockerfile")
TAG = "openmultistack/functions:0.1.0"
# Of pip's settings those that say where packages come from, and how.
TAKEN_OVER = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
CERTIFICATES = "/run/secrets/certificates"


def main() -> None:
    """Build the image."""
    parser = argparse.ArgumentParser(description="build the image of the functions")
    parser.add_argument("--base", help="of both stages; by default the Dockerfile's")
    parser.add_argument("--tag", default=TAG)
    parser.add_argument("--buildah", default="buildah", help="with its options before the command")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="oms-image-") as folder:
        command = [*shlex.split(told.buildah), "bud", "--format", "oci", "--tag", told.tag]
        command += arguments(told.base)
        command += secrets(Path(folder), pip_settings())
        try:
            done = subprocess.run([*command, "--file", DOCKERFILE, ROOT], check=False)
        except OSError as error:
            sys.exit(f"{command[0]} cannot be run ({error.strerror}): expected buildah in $PATH")
    sys.exit(done.returncode)


def arguments(base: str | None) -> Iterator[str]:
    """Yield the options of a base, and of the label that says which commit it is."""
    if base:
        yield from ("--build-arg", f"BASE={base}", "--build-arg", f"BUILD_BASE={base}")
    if revision := output("git", "-C", str(ROOT), "rev-parse", "--verify", "HEAD").strip():
        yield from ("--label", f"org.opencontainers.image.revision={revision}")


def secrets(folder: Path, settings: dict[str, str]) -> Iterator[str]:
    """Yield the options that tell the build what pip is told, in files of this folder."""
    said = {name: it for name in TAKEN_OVER if (it := elsewhere(settings.get(name, "")))}
    certificates = settings.get("cert") or ssl.get_default_verify_paths().cafile
    if certificates and Path(certificates).is_file():
        said["cert"] = CERTIFICATES
        yield from ("--secret", f"id=certificates,src={certificates}")
    configuration = folder / "pip.conf"
    configuration.write_text("\n".join(["[global]", *(f"{k} = {v}" for k, v in said.items()), ""]))
    yield from ("--secret", f"id=pip.conf,src={configuration}")


def elsewhere(value: str) -> str:
    """Return of a setting what holds beyond this machine: no folder of it."""
    return " ".join(it for it in value.split() if not it.startswith(("/", "file:")))


def pip_settings() -> dict[str, str]:
    """Return pip's settings by name: of its files, and of the environment, which counts more."""
    told: dict[str, str] = {}
    for line in output(sys.executable, "-m", "pip", "config", "list").splitlines():
        name, _, value = line.partition("=")
        section, _, option = name.rpartition(".")
        if section in ("global", "install", ":env:"):
            told[option] = str(ast.literal_eval(value))
    environment = {"index-url": "PIP_INDEX_URL", "proxy": "PIP_PROXY", "cert": "PIP_CERT"}
    return told | {name: os.environ[it] for name, it in environment.items() if os.environ.get(it)}


def output(*command: str) -> str:
    """Return what a command prints; nothing if it cannot be had."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


if __name__ == "__main__":
    main()
