"""Logins and discovery that all processes of a fleet share: a cold start costs no call for them.

A token is renewed before it ends, by one process only. How old it is, is counted from Keystone's
two times and Redis' clock: what the machine's own clock says does not matter.
"""

import json
import math
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from http import HTTPStatus
from typing import Any

from keystoneauth1 import access
from keystoneauth1.access import AccessInfo
from keystoneauth1.discover import Discover
from keystoneauth1.exceptions import ClientException, Unauthorized, from_response
from keystoneauth1.identity.base import BaseIdentityPlugin
from keystoneauth1.session import Session

from openmultistack.clouds.connections import HostSession
from openmultistack.clouds.failures import translate
from openmultistack.clouds.sealing import SealedShelf
from openmultistack.errors import AccountBroken, BadAnswer

# A token is not used in its last two minutes, and renewed in the fifth of its life before them.
UNUSED_MS = 120_000
RENEWED_AT = 0.2
# For a Keystone that does not say how long its token lives.
LIFE_UNSAID_MS = 300_000
# Whose turn it is to renew has so long for it; the others look again after a moment.
TURN_MS = 30_000
LOOK_AGAIN_S = 5.0
# What an endpoint offers changes with upgrades only.
DISCOVERY_MS = 3600_000
LOGIN = "login"
# A refused login is tried again after this, then after twice as long, and so on: an account is
# locked as a rule after some five failures within minutes.
BACK_OFF_S, BACK_OFF_MAX_S = 5, 300
REFUSED, REFUSALS = "refused", "refusals"
# A token that is younger and refused is not the one to blame.
FRESH_S = 30.0
LOOK_S = 0.1
# What makes and changes nothing; all else may do so twice when it is sent twice.
READING = ("GET", "HEAD")


@dataclass
class Token:
    """A login as keystoneauth has it, and until when it is good by the monotonic clock."""

    access: AccessInfo
    until: float
    renew_at: float


class Login:
    """A way to log in, for all regions of this process that share it; safe to share."""

    def __init__(self, shelf: SealedShelf) -> None:
        self.shelf = shelf
        self._token: Token | None = None
        self._failure: tuple[float, Exception] | None = None
        # Until when a token that an endpoint refuses is not replaced by yet another one.
        self._fresh_until = 0.0
        self._lock = threading.Lock()

    def ready(self, session: Session) -> AccessInfo | None:
        """Give a session a token that is good for a while, and return it.

        Raises what keystoneauth raises when there is none and Keystone gives none.
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

    def anew(self, session: Session, refused: str) -> bool:
        """Give a session another token than the one that an endpoint refused.

        One thread logs in for all, and one process for all of the fleet. False: the refused token
        is fresh, and another one would be answered alike.

        Raises what keystoneauth raises when Keystone gives none.
        """
        auth, asked = session.auth, time.monotonic()
        if not isinstance(auth, BaseIdentityPlugin):
            return False
        with self._lock:
            token = self._token
            if token is None or token.access.auth_token == refused:
                if token and self._fresh_until > asked:
                    return False
                self._token = self._another(refused) or self._logged_in(auth, session, asked)
                self._fresh_until = time.monotonic() + FRESH_S
                token = self._token
            auth.auth_ref = token.access
            return True

    def _another(self, refused: str) -> Token | None:
        """Return the token by which somebody of the fleet replaced a refused one, if they do."""
        until = time.monotonic() + LOOK_AGAIN_S
        mine = self.shelf.turn("anew:" + sha256(refused.encode()).hexdigest()[:16], for_ms=TURN_MS)
        while True:
            found = self._recalled()
            if found and found.access.auth_token != refused:
                return found
            if mine or time.monotonic() > until:
                return None
            time.sleep(LOOK_S)

    def forgive(self) -> None:
        """Have a login that was refused tried at once, for all of the fleet."""
        self.shelf.leave(REFUSED, "", for_ms=1)
        self.shelf.leave(REFUSALS, "", for_ms=1)

    def _refuse_to_hammer(self) -> None:
        """Raise what Keystone said, while it is not to be asked again; accounts get locked."""
        paused = self.shelf.recall(REFUSED)
        if paused and paused[0]:
            wait_s = math.ceil(paused[1] / 1000)
            raise AccountBroken(f"{paused[0]}; it is tried again in {wait_s} s")
        if self._pause_before() and not self.shelf.turn("try", for_ms=TURN_MS):
            raise AccountBroken("401: the login was refused; it is being tried again")

    def _pause_before(self) -> int:
        found = self.shelf.recall(REFUSALS)
        return int(found[0]) if found and found[0] else 0

    def _back_off(self) -> None:
        """Let nobody of the fleet try a refused login for a while, each time for longer."""
        pause_s = min(BACK_OFF_MAX_S, 2 * self._pause_before() or BACK_OFF_S)
        self.shelf.leave(REFUSED, "401: the login is refused", for_ms=pause_s * 1000)
        self.shelf.leave(REFUSALS, str(pause_s), for_ms=(2 * pause_s + BACK_OFF_MAX_S) * 1000)

    def _good(self, auth: BaseIdentityPlugin, session: Session, asked: float) -> Token:
        token, now = self._token, time.monotonic()
        if token is None or now >= token.until:
            return self._recalled() or self._logged_in(auth, session, asked)
        if now >= token.renew_at:
            return self._renewed(auth, session, token)
        return token

    def _renewed(self, auth: BaseIdentityPlugin, session: Session, token: Token) -> Token:
        """Return a newer token, another's or our own; else the old one, which is still good."""
        found = self._recalled()
        if found and found.access.auth_token != token.access.auth_token:
            return found
        if self.shelf.turn(LOGIN, for_ms=TURN_MS):
            with suppress(ClientException, AccountBroken):
                return self._logged_in(auth, session, time.monotonic())
        token.renew_at = time.monotonic() + LOOK_AGAIN_S
        return token

    def _logged_in(self, auth: BaseIdentityPlugin, session: Session, asked: float) -> Token:
        if self._failure and self._failure[0] > asked:  # while this one waited for it
            raise self._failure[1]
        try:
            self._refuse_to_hammer()
            auth.auth_ref = fresh = auth.get_auth_ref(session)
        except (ClientException, AccountBroken) as error:
            self._failure = (time.monotonic(), error)
            if isinstance(error, Unauthorized):
                self._back_off()
            raise
        if self._pause_before():
            self.forgive()
        return self._left(auth, fresh)

    def _left(self, auth: BaseIdentityPlugin, fresh: AccessInfo) -> Token:
        """Leave a new login for the others, and return it."""
        life_ms = LIFE_UNSAID_MS
        if fresh.expires and fresh.issued:
            life_ms = int((fresh.expires - fresh.issued).total_seconds() * 1000)
        left_ms = max(1, life_ms - min(UNUSED_MS, life_ms // 4))
        text = json.dumps({"state": auth.get_auth_state(), "life_ms": life_ms})
        self.shelf.leave(LOGIN, text, for_ms=left_ms)
        return _token(fresh, life_ms, left_ms)

    def _recalled(self) -> Token | None:
        found = self.shelf.recall(LOGIN)
        if found is None:
            return None
        known = json.loads(found[0])
        state = json.loads(known["state"])
        kept = access.create(body=state["body"], auth_token=state["auth_token"])
        return _token(kept, known["life_ms"], found[1])


def _token(kept: AccessInfo, life_ms: int, left_ms: int) -> Token:
    if kept.has_service_catalog():
        # It is copied whole whenever an endpoint is looked up, with those of all regions.
        catalog = kept.service_catalog
        catalog.normalize_catalog = cache(catalog.normalize_catalog)  # type: ignore[method-assign]
    now = time.monotonic()
    renew_in_ms = left_ms - life_ms * RENEWED_AT
    return Token(kept, until=now + left_ms / 1000, renew_at=now + renew_in_ms / 1000)


class SharingSession(Session):
    """A session that asks endpoints what they offer only if nobody of the fleet has done so."""

    # By which a refused token is replaced; without one keystoneauth does as it is used to.
    login: Login | None = None

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
        raises = more.pop("raise_exc", True)
        more |= {"raise_exc": False, "allow_reauth": False}
        answer = self._once(url, method, *given, **more)
        sent = answer.request.headers.get("X-Auth-Token")
        if answer.status_code == HTTPStatus.UNAUTHORIZED and sent and self._anew(str(sent)):
            answer = self._once(url, method, *given, **more)
        if raises and answer.status_code >= HTTPStatus.BAD_REQUEST:
            raise from_response(answer, method, url)
        return answer

    def _anew(self, refused: str) -> bool:
        """Log in anew: what was refused was not carried out, whatever comes of this."""
        try:
            return self.login is not None and self.login.anew(self, refused)
        except Exception as error:
            raise translate(error, sent=False) from error

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
