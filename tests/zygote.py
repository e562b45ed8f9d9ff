"""Starts Python programs without paying for their imports each time.

usage: zygote.py MODULE... ; then on stdin a line of JSON for each program, which runs in a fork:
{"run": MODULE or FILE, "arguments", "environment", "stdin", "stdout", "stderr": files}. Its pid is
written at once, and its exit code when it has ended.
"""

import importlib
import json
import os
import runpy
import sys
import traceback


def main() -> None:
    """Import the modules, then fork for each line until there are no more."""
    for name in sys.argv[1:]:
        importlib.import_module(name)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            become(json.loads(line))
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def become(program: dict) -> None:
    """Be the program, and end with its exit code."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC if number else os.O_RDONLY
        os.dup2(os.open(program[name], flags, 0o600), number)
    os.environ.clear()
    os.environ.update(program["environment"])
    encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, "w" if number else "r", encoding=encoding) for number in range(3)
    )
    sys.argv = [program["run"], *program["arguments"]]
    os._exit(code_of(program["run"]))


def code_of(run: str) -> int:
    """Run a module or a file as a main program, and return the exit code it would have."""
    code: object = 0
    try:
        if run.endswith(".py"):
            runpy.run_path(run, run_name="__main__")
        else:
            runpy.run_module(run, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:  # noqa: BLE001  as the interpreter does
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return int(code or 0)


if __name__ == "__main__":
    main()
