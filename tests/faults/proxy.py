"""A fault proxy: stands between the product and real compute endpoints, and breaks what passes.

    proxy.py --port P --seed N --target NAME=http://127.0.0.1:1234/v2.1 [--target ...]

The control listens on P, the targets on P+1, P+2, ...; with port 0 each on any free one. Prints
one line when all listen: `ready {"control": URL, "targets": {NAME: URL}}`. Ends on SIGTERM.

    PUT    /faults/NAME   a list of rules (see rules.py); counts and chance begin anew
    GET    /faults/NAME   what was done since, by kind of fault
    DELETE /faults/NAME   pass everything through
"""

import argparse
import asyncio
import json
import signal
from collections.abc import Mapping, Sequence

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web
from rules import RULES
from targets import HOST, Target


class Control:
    """The endpoint by which a test says what goes wrong."""

    def __init__(self, targets: Mapping[str, Target]) -> None:
        self._targets = targets
        self._changing = asyncio.Lock()

    def application(self) -> web.Application:
        """Return its routes; a target's name may have slashes."""
        application, path = web.Application(), "/faults/{target:.+}"
        application.router.add_put(path, self._put)
        application.router.add_get(path, self._get)
        application.router.add_delete(path, self._delete)
        return application

    def _target(self, request: web.Request) -> Target:
        try:
            return self._targets[request.match_info["target"]]
        except KeyError:
            raise web.HTTPNotFound(text=f"targets: {', '.join(self._targets)}") from None

    async def _put(self, request: web.Request) -> web.Response:
        target = self._target(request)
        async with self._changing:
            try:
                target.set_rules(RULES.validate_json(await request.read()))
            except ValueError as error:
                raise web.HTTPBadRequest(text=str(error)) from None
            await target.follow()
        return web.json_response(target.counts())

    async def _get(self, request: web.Request) -> web.Response:
        return web.json_response(self._target(request).counts())

    async def _delete(self, request: web.Request) -> web.Response:
        target = self._target(request)
        async with self._changing:
            target.pass_everything()
            await target.follow()
        return web.json_response(target.counts())


async def serve(port: int, seed: int, urls: Mapping[str, str]) -> None:
    """Run until SIGTERM."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    # Each exchange has a connection of its own: none is lost, or sent again, on our account.
    async with ClientSession(
        connector=TCPConnector(limit=0, force_close=True), timeout=ClientTimeout(total=None)
    ) as session:
        targets = {name: Target(name, url, seed, session) for name, url in urls.items()}
        for number, target in enumerate(targets.values(), start=1):
            target.bind(port and port + number)
            await target.follow()
        runner = web.AppRunner(Control(targets).application(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, HOST, port).start()
        _say_ready(runner.addresses[0][1], targets)
        await ended.wait()
        await runner.cleanup()
        await asyncio.gather(*(target.close() for target in targets.values()))


def _say_ready(control_port: int, targets: Mapping[str, Target]) -> None:
    urls = {name: target.url for name, target in targets.items()}
    control = f"http://{HOST}:{control_port}"
    print("ready", json.dumps({"control": control, "targets": urls}), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", action="append", required=True, metavar="NAME=URL")
    told = parser.parse_args(arguments)
    urls = dict(target.split("=", 1) for target in told.target)
    asyncio.run(serve(told.port, told.seed, urls))


if __name__ == "__main__":
    main()
