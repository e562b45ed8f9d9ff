"""Makes the virtual environment that OpenStack runs in, from requirements.lock."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from errors import LabError
from layout import Lab, replace_text
from lock import held
from processes import environment

LOCK = Path(__file__).with_name("requirements.lock")


def install(lab: Lab) -> bool:
    """Make the environment what requirements.lock says; whether there was anything to do.

    The copy of the lock inside is written last: an install cut short is done again.

    Raises:
        LabError: uv cannot be had, or it fails.
    """
    stamp = lab.venv / "requirements.lock"
    wanted = LOCK.read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return False
    uv = find_uv(lab)
    if not lab.python.exists():
        call([uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, lab.venv])
    call([uv, "pip", "install", "--quiet", "--python", lab.python, "--requirement", LOCK])
    replace_text(stamp, wanted)
    return True


def find_uv(lab: Lab) -> str | Path:
    """The uv of $LAB_UV or $PATH, or else one of our own, installed with pip."""
    found = os.environ.get("LAB_UV") or shutil.which("uv")
    if found:
        return found
    own = lab.home / "uv"
    if not (own / "bin" / "uv").exists():
        call([sys.executable, "-m", "venv", "--clear", own])
        call([own / "bin" / "pip", "install", "--quiet", "uv"])
    return own / "bin" / "uv"


def call(argv: list[str | Path]) -> None:
    """Run a program that shows its own progress and errors."""
    try:
        subprocess.run(argv, check=True, env=environment(), stdin=subprocess.DEVNULL, pass_fds=held)
    except OSError as error:
        raise LabError(f"{argv[0]} cannot be run: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        command = " ".join(map(str, argv))
        raise LabError(f"installing failed at: {command}") from error
