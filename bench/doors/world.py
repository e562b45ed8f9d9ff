"""What cold starts and memory are measured by: a function that says hello, and no more."""

import flask


def handle(request: flask.Request) -> flask.Response:
    """Answer."""
    del request
    return flask.jsonify(hello="world")
