"""Logins and discovery that all processes of a fleet share: a cold start costs no call for them.

A token is renewed before it ends, by one process only. How old it is, is counted from Keystone's
two times and Redis' clock: what the machine's own clock says does not matter.
"""

import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any

from keystoneauth1 import access
from keystoneauth1.access import AccessInfo
from keystoneauth1.discover import Discover
from keystoneauth1.exceptions import from_response
from keystoneauth1.identity.base import BaseIdentityPlugin
from keystoneauth1.session import Session

from openmultistack.clouds.openstack.connections import HostSession
from openmultistack.clouds.openstack.failures import no_login
from openmultistack.clouds.openstack.pauses import Pauses
from openmultistack.clouds.openstack.sealing import SealedShelf
from openmultistack.domain.cloud_errors import BadAnswer, CloudError

# A token is not used in its last two minutes, and renewed in the fifth of its life before them.
UNUSED_MS = 120_000
RENEWED_AT = 0.2
# For a Keystone that does not say how long its token lives.
LIFE_UNSAID_MS = 300_000
# Whose turn it is to log in or to renew has so long for it; the others look again after a moment.
TURN_MS = 30_000
LOOK_AGAIN_S = 5.0
# Who needs a login that another process gets just now looks for it so often, and for so long.
LOOK_S, WAIT_S = 0.05, 5.0
# What an endpoint offers changes with upgrades only.
DISCOVERY_MS = 3600_000
LOGIN, RENEWAL = "login", "renewal"
# A request is sent at most so often: with its token, with one that lay on the shelf and was revoked
# as well, with a new one.
SENDS = 3
# An endpoint that refuses a token of a new login has a fault of its own: no login for it meanwhile.
VAIN_S = 30.0
# What makes and changes nothing; all else may do so twice when it is sent twice.
READING = ("GET", "HEAD")


@dataclass
class Token:
    """A login as keystoneauth has it, from when and until when by the monotonic clock."""

    access: AccessInfo
    made_at: float
    until: float
    renew_at: float


class Login:
    """A way to log in, for all regions of this process that share it; safe to share."""

    def __init__(self, shelf: SealedShelf) -> None:
        self.shelf = shelf
        self.pauses = Pauses(shelf)
        self._token: Token | None = None
        # The token that an endpoint refused last: it may lie on the shelf still.
        self._refused = ""
        self._failure: tuple[float, Exception] | None = None
        self._lock = threading.Lock()

    def ready(self, session: Session) -> AccessInfo | None:
        """Give a session a token that is good for a while, and return it.

        Raises:
            CloudError: there is none, and Keystone gives none or is not to be asked now.
        """
        auth = session.auth
        if not isinstance(auth, BaseIdentityPlugin):
            return None
        auth.reauthenticate = False  # by the machine's clock; after a 401 see `anew`
        asked = time.monotonic()
        with self._lock:
            self._token = self._good(auth, session, asked)
            auth.auth_ref = self._token.access
            return self._token.access

    def anew(self, session: Session, refused: str, *, since: float) -> bool:
        """Give a session another token than the one that an endpoint refused.

        One thread logs in for all, and one process for all of the fleet. False: the refused token
        is of a login after `since` (monotonic), and another one would be answered alike.

        Raises:
            CloudError: Keystone gives none, or is not to be asked now.
        """
        auth, asked = session.auth, time.monotonic()
        if not isinstance(auth, BaseIdentityPlugin):
            return False
        with self._lock:
            if self._token and self._token.access.auth_token == refused:
                if self._token.made_at > since:
                    return False
                self._refused, self._token = refused, None
            self._token = self._good(auth, session, asked)
            auth.auth_ref = self._token.access
            return True

    def _good(self, auth: BaseIdentityPlugin, session: Session, asked: float) -> Token:
        token, now = self._token, time.monotonic()
        if token is None or now >= token.until:
            return self._recalled() or self._taken(auth, session, asked)
        if now >= token.renew_at:
            return self._renewed(auth, session, token)
        return token

    def _renewed(self, auth: BaseIdentityPlugin, session: Session, token: Token) -> Token:
        """Return a newer token, another's or our own; else the old one, which is still good."""
        found = self._recalled()
        if found and found.access.auth_token != token.access.auth_token:
            return found
        if self.shelf.turn(RENEWAL, for_ms=TURN_MS):
            with suppress(CloudError):
                return self._logged_in(auth, session)
        token.renew_at = time.monotonic() + LOOK_AGAIN_S
        return token

    def _taken(self, auth: BaseIdentityPlugin, session: Session, asked: float) -> Token:
        """Return the token that somebody of the fleet gets just now, or get one for all."""
        if self._failure and self._failure[0] > asked:  # while this one waited for it
            raise self._failure[1]
        try:
            mine, until = self.shelf.turn(LOGIN, for_ms=TURN_MS), time.monotonic() + WAIT_S
            while not mine and time.monotonic() < until:
                if found := self._recalled():
                    return found
                self.pauses.heed()
                time.sleep(LOOK_S)
                mine = self.shelf.turn(LOGIN, for_ms=TURN_MS)
            try:
                return self._recalled() or self._logged_in(auth, session)
            finally:
                if mine:
                    self.shelf.end_turn(LOGIN)
        except CloudError as error:
            self._failure = (time.monotonic(), error)
            raise

    def _logged_in(self, auth: BaseIdentityPlugin, session: Session) -> Token:
        times = self.pauses.heed()
        try:
            auth.auth_ref = fresh = auth.get_auth_ref(session)
        except Exception as error:
            raise self.pauses.follow(no_login(error), times) from error
        if times:
            self.pauses.forget()
        return self._left(auth, fresh)

    def _left(self, auth: BaseIdentityPlugin, fresh: AccessInfo) -> Token:
        """Leave a new login for the others, and return it."""
        life_ms = LIFE_UNSAID_MS
        if fresh.expires and fresh.issued:
            life_ms = int((fresh.expires - fresh.issued).total_seconds() * 1000)
        text = json.dumps({"state": auth.get_auth_state(), "life_ms": life_ms})
        self.shelf.leave(LOGIN, text, for_ms=_used_ms(life_ms))
        return _token(fresh, life_ms, _used_ms(life_ms))

    def _recalled(self) -> Token | None:
        """Return the token that lies on the shelf, unless it is the one that was refused."""
        found = self.shelf.recall(LOGIN)
        if found is None:
            return None
        known = json.loads(found[0])
        state = json.loads(known["state"])
        if state["auth_token"] == self._refused:
            return None
        kept = access.create(body=state["body"], auth_token=state["auth_token"])
        return _token(kept, known["life_ms"], found[1])


def _used_ms(life_ms: int) -> int:
    """Return for how long a token is used that lives so long."""
    return max(1, life_ms - min(UNUSED_MS, life_ms // 4))


def _token(kept: AccessInfo, life_ms: int, left_ms: int) -> Token:
    if kept.has_service_catalog():
        # It is copied whole whenever an endpoint is looked up, with those of all regions.
        catalog = kept.service_catalog
        catalog.normalize_catalog = cache(catalog.normalize_catalog)  # type: ignore[method-assign]
    until = time.monotonic() + left_ms / 1000
    made_at = until - _used_ms(life_ms) / 1000
    return Token(kept, made_at=made_at, until=until, renew_at=until - life_ms * RENEWED_AT / 1000)


class SharingSession(Session):
    """A session that asks endpoints what they offer only if nobody of the fleet has done so."""

    # By which a refused token is replaced; without one keystoneauth does as it is used to.
    login: Login | None = None
    _vain_until = 0.0

    def __init__(self, **given: Any) -> None:  # noqa: ANN401  keystoneauth's
        self.discoveries = Discoveries()
        own = {"discovery_cache": self.discoveries, "session": HostSession()}
        super().__init__(**given | own)
        self._session = self.session  # closed with this one, as if it had made it

    def request(self, url: str, method: str, *given: Any, **more: Any) -> Any:  # noqa: ANN401  as the one above
        """Send a request once, whatever clouds.yaml, its profiles or the sdk's defaults say.

        Only reading follows a redirect: a 303 says that the rest was carried out, and
        keystoneauth sends a POST anew for all of them. A login (it has no token) may as well.

        Raises:
            BadAnswer: it is a redirect that is not followed; nobody may take it for a success.
        """
        more |= {"connect_retries": 0, "status_code_retries": 0}
        if self.login is None or more.get("authenticated") is False:
            return self._once(url, method, *given, **more)
        raises, began = more.pop("raise_exc", True), time.monotonic()
        more |= {"raise_exc": False, "allow_reauth": False}
        answer = self._once(url, method, *given, **more)
        for _ in range(SENDS - 1):
            if not self._anew(self.login, answer, began):
                break
            answer = self._once(url, method, *given, **more)
        if raises and answer.status_code >= HTTPStatus.BAD_REQUEST:
            raise from_response(answer, method, url)
        return answer

    def _anew(self, login: Login, answer: Any, began: float) -> bool:  # noqa: ANN401  untyped
        """Whether the answer refuses a token, and there is another: nothing was carried out."""
        sent = answer.request.headers.get("X-Auth-Token")
        if answer.status_code != HTTPStatus.UNAUTHORIZED or not sent:
            return False
        if time.monotonic() < self._vain_until:
            return False
        another = login.anew(self, str(sent), since=began)
        if not another:
            self._vain_until = time.monotonic() + VAIN_S
        return another

    def _once(self, url: str, method: str, *given: Any, **more: Any) -> Any:  # noqa: ANN401  same
        if method.upper() in READING or more.get("authenticated") is False:
            return super().request(url, method, *given, **more)
        answer = super().request(url, method, *given, **more | {"redirect": False})
        if HTTPStatus.MULTIPLE_CHOICES <= answer.status_code < HTTPStatus.BAD_REQUEST:
            raise BadAnswer(f"{answer.status_code}: it leads elsewhere, instead of doing it")
        return answer


class Discoveries(dict[str, Discover]):
    """What endpoints said of themselves; keystoneauth's cache, with a shelf behind it."""

    shelf: SealedShelf | None = None

    def get(self, url: str, default: Any = None) -> Any:  # noqa: ANN401  as dict's
        """Return what is known of a URL, here or on the shelf."""
        if url in self:
            return self[url]
        found = self.shelf and self.shelf.recall(url)
        if not found:
            return default
        told: Any = _Told(json.loads(found[0]))
        known = Discover(told, url)
        super().__setitem__(url, known)
        return known

    def __setitem__(self, url: str, found: Discover) -> None:
        """Keep what a URL said, and leave it for others."""
        if url in self:
            return
        super().__setitem__(url, found)
        if self.shelf:
            said = found.raw_version_data(allow_experimental=True, allow_unknown=True)
            self.shelf.leave(url, json.dumps(said), for_ms=DISCOVERY_MS)


class _Told:
    """Stands for a session: answers a discovery with what was said to an earlier one."""

    def __init__(self, versions: list[dict[str, Any]]) -> None:
        self._versions = versions

    def get(self, *_: object, **__: object) -> "_Told":
        return self

    def json(self) -> dict[str, Any]:
        return {"versions": self._versions}
