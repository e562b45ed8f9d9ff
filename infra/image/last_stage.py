"""Makes the base what the image runs on: without what installs and compiles, and precompiled.

Runs in the Dockerfile's last stage, with the base's own Python and nothing else.
"""

import compileall
import importlib.util
import os
import py_compile
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

INSTALLERS = ("pip", "setuptools", "wheel", "pkg_resources", "_distutils_hack", "ensurepip")
PROGRAMS = r"(pip|easy_install|wheel)[0-9.-]*"
# What Debian's ensurepip installs from.
BUNDLED = Path("/usr/share/python-wheels")
COMPILERS = ("cc", "gcc", "c++", "g++", "clang", "tcc", "rustc", "go")
# Parts of the standard library that no function imports, and packages, which are looked after.
NOT_COMPILED = re.compile(
    r"/(site-packages|dist-packages|test|tests|idlelib|lib2to3|tkinter|turtledemo|pydoc_data)/"
)


def main() -> None:
    """Take away, precompile, and look."""
    for it in installers():
        if it.is_dir() and not it.is_symlink():
            shutil.rmtree(it)
        else:
            it.unlink()
    compile_library()
    if left := what_is_left():
        sys.exit(f"BASE has {', '.join(left)}: expected a base without")


def installers() -> Iterator[Path]:
    """Yield every file and folder of what installs packages."""
    for folder in {Path(it) for it in sys.path if Path(it).is_dir()}:
        for name in INSTALLERS:
            yield from folder.glob(name)
            yield from folder.glob(f"{name}-*-info")
        yield from folder.glob("distutils-precedence.pth")
    for folder in {Path(it).resolve() for it in os.get_exec_path() if Path(it).is_dir()}:
        yield from (it for it in folder.iterdir() if re.fullmatch(PROGRAMS, it.name))
    yield from BUNDLED.glob("*")


def compile_library() -> None:
    """Precompile the standard library, where the base's own makers have not.

    Some images come without; at a read-only root each start would compile it anew.
    """
    compileall.compile_dir(
        sysconfig.get_path("stdlib"),
        rx=NOT_COMPILED,
        quiet=2,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def what_is_left() -> list[str]:
    """Return the compilers and installers that are still there."""
    importlib.invalidate_caches()
    modules = [it for it in INSTALLERS if importlib.util.find_spec(it)]
    return [*modules, *(it for it in (*COMPILERS, "pip", "pip3") if shutil.which(it))]


if __name__ == "__main__":
    main()
