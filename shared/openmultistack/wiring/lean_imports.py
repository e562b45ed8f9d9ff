"""How a function starts: what a cold start need not pay for, it does not.

Only the wiring uses this, around its imports.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Any

# What libraries import at once for what functions never do: openstacksdk its fifty services
# (75 ms), python-jose the reading of certificates (12 ms), redis-py its asyncio half (6 ms),
# cryptography the keys of SSH (5 ms).
UNUSED = (
    "openstack.connection",
    "cryptography.x509",
    "redis.asyncio",
    "cryptography.hazmat.primitives.serialization.ssh",
)


class _Absent(Loader, MetaPathFinder):
    """Finds an empty module in the place of each unused one; any name in it is `object`."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        if not any(name == it or name.startswith(f"{it}.") for it in UNUSED):
            return None
        return spec_from_loader(name, self, is_package=True)

    def exec_module(self, module: ModuleType) -> None:
        self.given.append(module.__name__)

        def __getattr__(name: str) -> Any:  # noqa: ANN401, N807  PEP 562
            if name.startswith("__"):
                raise AttributeError(name)
            return object

        module.__dict__["__getattr__"] = __getattr__


@contextmanager
def lean_imports() -> Iterator[None]:
    """Import, meanwhile, without the unused modules and without looking for garbage.

    Afterwards they can be imported as ever. What was imported stays for good: the collector does
    not go through it again and again, and workers that are forked share it.
    """
    absent = _Absent()
    sys.meta_path.insert(0, absent)
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        sys.meta_path.remove(absent)
        for name in absent.given:
            sys.modules.pop(name, None)
