"""The image of the functions, built on a base that is made of Debian's packages, and run from.

No registry is asked. What root alone may do is done with sudo where the tests do not run as root.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import httpx

ROOT = Path(__file__).parent.parent.parent
SUITE = "bookworm"
BASE, TAG = "localhost/oms-base", "localhost/oms-functions"
# Programs by the packages that have them; on other Debians the keyring is not there by itself.
PROGRAMS = ("buildah", "debootstrap")
PACKAGES = (*PROGRAMS, "debian-archive-keyring")
IN_BASE = ("python3.11", "python3", "python3-venv", "ca-certificates")
AS_ROOT = () if os.geteuid() == 0 else ("sudo", "-n")
MEGABYTE = 1_000_000
START_WITHIN_S = 120
# Where the functions' files are mounted: it has to be there, as nothing can be made at the root.
SECRETS = "/mnt"
# What a container has at its root: told the root and the secrets, and then what to run.
MOUNTING = """
root=$1 secrets=$2; shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
mount --rbind /proc "$root/proc"
mount -t tmpfs -o mode=755 dev "$root/dev"
for it in null zero random urandom; do
    touch "$root/dev/$it"
    mount --bind "/dev/$it" "$root/dev/$it"
done
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mount --bind "$secrets" "$root/mnt"
mount -o remount,bind,ro "$root/mnt"
mount -o remount,ro "$root/dev"
mount -o remount,bind,ro "$root"
exec "$@"
"""


def run(*command: str | Path) -> str:
    """Run a command as root and return what it prints; what it says when it fails is shown."""
    whole = [*AS_ROOT, *map(str, command)]
    done = subprocess.run(whole, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


def install_programs() -> None:
    """Have what the image is built and run with, from Debian's packages."""
    if all(shutil.which(it, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") for it in PROGRAMS):
        return
    run("apt-get", "--quiet", "update")
    options = ("--quiet", "--yes", "--no-install-recommends")
    run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", *options, *PACKAGES)


class Image(NamedTuple):
    """The image that was built: its file system, its configuration, and how much it adds."""

    root: Path
    configuration: dict[str, Any]
    added_mb: float
    home: Path


class Builder:
    """Buildah with a store of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        store = ("--root", str(home / "store"), "--runroot", str(home / "run"))
        self.buildah: tuple[str, ...] = ("env", "BUILDAH_ISOLATION=chroot", "buildah", *store)
        if subprocess.run(
            [*AS_ROOT, *self.buildah, "info"], capture_output=True, check=False
        ).returncode:
            # No overlays on this file system: each layer is a whole copy, which takes longer.
            self.buildah += ("--storage-driver", "vfs")

    def build(self) -> Image:
        """Build the image from this repository."""
        self._make_base()
        command = [sys.executable, str(ROOT / "infra" / "image" / "build.py"), "--base", BASE]
        words = shlex.join([*AS_ROOT, *self.buildah])
        subprocess.run([*command, "--tag", TAG, "--buildah", words], check=True)
        container = self._do("from", TAG)
        told = self._inspect(TAG)["OCIv1"]
        added = (self._size(TAG) - self._size(BASE)) / MEGABYTE
        root = Path(self._do("mount", container))
        run("chmod", "a+rx", *(it for it in root.parents if self.home in it.parents))
        return Image(root, told, added, self.home)

    def close(self) -> None:
        """Remove what was built; what was fetched for the base stays for the next run."""
        self._do("umount", "--all")
        self._do("rm", "--all")
        run("rm", "-rf", self.home / "store", self.home / "run")

    def _make_base(self) -> None:
        fetched = self.home / f"{SUITE}.base"
        if not fetched.exists():
            new = fetched.with_suffix(".new")
            run("rm", "-rf", new)
            options = ("--variant=minbase", f"--include={','.join(IN_BASE)}")
            run("/usr/sbin/debootstrap", *options, SUITE, new)
            run("rm", "-rf", new / "var" / "cache" / "apt" / "archives")
            run("mv", new, fetched)
        container = self._do("from", "scratch")
        run("cp", "-a", f"{fetched}/.", self._do("mount", container))
        self._do("umount", container)
        self._do("commit", "--quiet", "--rm", container, BASE)

    def _size(self, image: str) -> int:
        """Return the bytes of an image's layers, unpacked: a store has them so."""
        manifest = json.loads(self._inspect(image)["Manifest"])
        return sum(int(it["size"]) for it in manifest["layers"])

    def _inspect(self, image: str) -> Any:
        return json.loads(self._do("inspect", "--type", "image", image))

    def _do(self, *arguments: str) -> str:
        return run(*self.buildah, *arguments).strip()


class Container:
    """A function that runs from the image's file system, as a platform would have it.

    Its root is read-only, /tmp is all that can be written, and the uid is nobody's; it can become
    nobody else. It has this machine's network and processes.
    """

    def __init__(
        self, image: Image, name: str, *, uid: int, environment: dict[str, str], mounted: Path
    ) -> None:
        self._root = image.root
        told = image.configuration["config"]
        given = [*told["Env"], *(f"{variable}={it}" for variable, it in environment.items())]
        inside = ["env", "-i", "-C", told["WorkingDir"], *given, *told["Entrypoint"]]
        user = ["chroot", f"--userspec=+{uid}:+{uid}", "--groups=", str(image.root)]
        own = ["unshare", "--mount", "sh", "-euc", MOUNTING, "sh", str(image.root), str(mounted)]
        command = [*AS_ROOT, *own, "setpriv", "--no-new-privs", *user, *inside]
        self._log = image.home / f"{name}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def until_up(self, url: str) -> "Container":
        """Wait until it answers."""
        until = time.monotonic() + START_WITHIN_S
        while True:
            try:
                httpx.get(f"{url}/_/health", timeout=5)
            except httpx.TransportError:
                assert self.process.poll() is None, self.log()
                assert time.monotonic() < until, self.log()
                time.sleep(0.05)
            else:
                return self

    def log(self) -> str:
        """Return what it wrote."""
        return self._log.read_text()

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command beside it, as root."""
        within = ("nsenter", f"--mount=/proc/{self.process.pid}/ns/mnt", "chroot", str(self._root))
        whole = [*AS_ROOT, *within, *command]
        return subprocess.run(whole, capture_output=True, text=True, check=False)

    def stop(self) -> int:
        """End it as a platform does, and return its exit code; what does not end is killed."""
        if self.process.poll() is None:
            run("kill", "-TERM", str(self.process.pid))
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            run("kill", "-KILL", str(self.process.pid))
            return self.process.wait(10)
