"""What measurements compare with: fetched from PyPI and Debian once, kept in `.oms-bench/`.

Nothing of it is installed: virtual environments, and packages unpacked into a folder.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from stage import BIN, ROOT

KEPT = ROOT / ".oms-bench"
JRE = "openjdk-17-jre-headless"
FETCHED_WITHIN_S = 300


class NotFetched(Exception):
    """Something could not be had; says what."""


def environment(name: str, *requirements: str) -> Path:
    """Return the programs of a virtual environment in which these are installed.

    Raises:
        NotFetched: PyPI did not give them.
    """
    home, made = KEPT / name, KEPT / f"{name}.made"
    if not made.exists() or made.read_text() != str(requirements):
        made.unlink(missing_ok=True)
        _run([sys.executable, "-m", "venv", "--clear", str(home)])
        uv = [
            str(BIN / "uv"),
            "pip",
            "install",
            "--quiet",
            "--python",
            str(home / "bin" / "python"),
        ]
        _run([*uv, *requirements])
        made.write_text(str(requirements))
    return home / "bin"


def debian(name: str, *packages: str) -> Path:
    """Return the folder into which these packages of Debian are unpacked.

    Raises:
        NotFetched: Debian did not give them.
    """
    home, made = KEPT / name, KEPT / f"{name}.made"
    if not made.exists() or made.read_text() != str(packages):
        made.unlink(missing_ok=True)
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        _run(["apt-get", "--quiet", "download", *packages], cwd=home)
        for package in home.glob("*.deb"):
            _run(["dpkg", "-x", str(package), str(home)])
            package.unlink()
        made.write_text(str(packages))
    return home


def java() -> str:
    """Return the machine's Java, or else Debian's.

    Raises:
        NotFetched: there is none.
    """
    found = shutil.which("java")
    if found:
        return found
    return str(next(debian("jre", JRE).glob("usr/lib/jvm/java-17-*/bin/java")))


def _run(command: list[str], cwd: Path | None = None) -> None:
    KEPT.mkdir(exist_ok=True)
    try:
        subprocess.run(
            command, cwd=cwd, check=True, capture_output=True, text=True, timeout=FETCHED_WITHIN_S
        )
    except subprocess.CalledProcessError as error:
        last = (error.stderr or "").strip().rpartition("\n")[2]
        raise NotFetched(f"{' '.join(command[:3])} failed: {last}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotFetched(f"{' '.join(command[:3])}: {type(error).__name__}") from error
