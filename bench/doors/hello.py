"""What others are measured by: a function that says hello, after one INCR of Redis."""

import os
from functools import cache

import flask
from redis import Redis


@cache
def ledger() -> Redis:
    """Return the connection, made at the first request."""
    return Redis.from_url(os.environ["OMS_REDIS_URL"])


def handle(request: flask.Request) -> flask.Response:
    """Count, and answer."""
    del request
    return flask.jsonify(hello="world", count=ledger().incr("hello"))
