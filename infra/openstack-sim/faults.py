"""Refusals, with status and body as OpenStack's services have them."""

_NAMES = {
    400: "badRequest",
    403: "forbidden",
    404: "itemNotFound",
    409: "conflictingRequest",
    413: "overLimit",
}


class Fault(Exception):
    """A refusal by Nova: `{"forbidden": {"code": 403, "message": "..."}}`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    def document(self) -> dict[str, object]:
        """Return its body (nova/api/openstack/wsgi.py, `Fault`)."""
        name = _NAMES.get(self.status, "computeFault")
        return {name: {"code": self.status, "message": str(self)}}


class NotAuthenticated(Fault):
    """No token, or not one of this provider; Keystone and all services say it alike."""

    def __init__(self) -> None:
        super().__init__(401, "The request you have made requires authentication.")

    def document(self) -> dict[str, object]:
        """Return its body, which is Keystone's."""
        error = {"code": self.status, "title": "Unauthorized", "message": str(self)}
        return {"error": error}
