"""The command line: builds the world, serves it on loopback, ends at SIGTERM."""

import argparse
import asyncio
import signal
import socket
from dataclasses import fields
from pathlib import Path

from aiohttp import web
from control import Control
from region import Conduct
from world import build, clouds_yaml, routes

BACKLOG = 1024  # connections that many clients open at once


def arguments() -> argparse.Namespace:
    """Return what the command was told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--providers", type=int, default=2)
    parser.add_argument("--regions-per-provider", type=int, default=2)
    parser.add_argument("--clouds-file", type=Path, help="where to write a clouds.yaml")
    parser.add_argument("--seed", type=int, default=0, help="of the chance by which things fail")
    for it in fields(Conduct):
        option = f"--{it.name.replace('_', '-')}"
        parser.add_argument(option, type=it.type, default=it.default)
    return parser.parse_args()


def application(told: argparse.Namespace, base: str) -> web.Application:
    """Return the world, served; writes the clouds file."""
    conduct = Conduct(**{it.name: getattr(told, it.name) for it in fields(Conduct)})
    providers = build(base, told.providers, told.regions_per_provider, conduct, seed=told.seed)
    if told.clouds_file:
        told.clouds_file.write_text(clouds_yaml(providers))
    app = web.Application()
    for provider in providers.values():
        app.add_routes(routes(base, provider))
    app.add_routes(Control(providers).routes())
    return app


async def serve(told: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    listening = socket.create_server(("127.0.0.1", told.port), backlog=BACKLOG)
    base = f"http://127.0.0.1:{listening.getsockname()[1]}"
    runner = web.AppRunner(application(told, base), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, listening, backlog=BACKLOG).start()
    print("ready", base, flush=True)
    await over.wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(arguments()))
