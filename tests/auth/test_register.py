"""A process' register: what is revoked counts within seconds, uses are noted now and then."""

import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, cast

import pytest

from openmultistack.auth import register
from openmultistack.auth.register import Register
from openmultistack.domain.errors import LedgerUnavailable, Unauthenticated
from openmultistack.domain.tokens import KnownToken, token_id
from openmultistack.ledger.tokens import Revoked

if TYPE_CHECKING:
    from openmultistack.ledger import Ledger


class Book:
    """What a ledger has of tokens; `is_gone`: it does not answer."""

    def __init__(self) -> None:
        self.ids: Collection[str] = ()
        self.seen: list[str] = []
        self.looks = 0
        self.is_gone = False
        self.asked, self.may_answer = threading.Event(), threading.Event()
        self.may_answer.set()

    def revoked(self, _: Revoked | None) -> Revoked:
        """Return what is revoked."""
        self._answer()
        self.asked.set()
        assert self.may_answer.wait(30)
        self.looks += 1
        return Revoked("", self.ids)

    def see(self, token: KnownToken) -> None:
        """Take note of a use."""
        self._answer()
        self.seen.append(token.id)

    def _answer(self) -> None:
        if self.is_gone:
            raise LedgerUnavailable("it does not answer")


class Clock:
    """Time that passes when it is told to."""

    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the register's clock."""
    made = Clock()
    monkeypatch.setattr(register.time, "monotonic", lambda: made.now)
    return made


@pytest.fixture
def book() -> Book:
    """Return a ledger's part."""
    return Book()


@pytest.fixture
def use(book: Book, clock: Clock) -> Callable[[str], None]:
    """Return what uses a token by its id."""
    assert clock
    kept = Register(lambda: cast("Ledger", book))
    return lambda id_: kept.use(KnownToken(id_, None, "urn:own", "alice", [], 4_000_000_000_000))


def test_fail_closed_a_revoked_token_is_refused_within_seconds_and_from_the_start(
    use: Callable[[str], None], book: Book, clock: Clock
) -> None:
    book.ids = {"a"}
    with pytest.raises(Unauthenticated, match="revoked"):
        use("a")
    use("b")
    book.ids = {"b"}
    clock.now += register.LOOK_EVERY_S
    use("a")
    with pytest.raises(Unauthenticated):
        use("b")
    assert book.seen == ["b", "a"], "what is refused is not noted"


def test_fail_closed_the_first_calls_of_a_process_wait_until_it_knows_what_is_revoked(
    use: Callable[[str], None], book: Book
) -> None:
    book.ids, book.may_answer = {"a"}, threading.Event()
    with ThreadPoolExecutor() as pool:
        calls = [pool.submit(use, "a") for _ in range(3)]
        assert not wait(calls, 0.2).done
        book.may_answer.set()
        assert {type(it.exception()) for it in calls} == {Unauthenticated}


def test_the_ledger_is_asked_now_and_then_only(
    use: Callable[[str], None], book: Book, clock: Clock
) -> None:
    for _ in range(130):
        use("a")
        clock.now += 1
    assert book.seen == ["a"] * 3
    assert book.looks == 26


def test_fail_closed_nobody_is_let_in_while_nobody_can_tell_what_is_revoked(
    use: Callable[[str], None], book: Book, clock: Clock
) -> None:
    use("a")
    book.is_gone = True
    use("b")  # by what was known a moment ago; that its use was not noted stops nobody
    clock.now += register.LOOK_EVERY_S
    for _ in range(2):
        with pytest.raises(LedgerUnavailable):
            use("a")
    book.is_gone = False
    use("a")
    assert book.seen == ["a"]


def test_fail_closed_nobody_goes_on_for_long_by_what_was_known_while_the_ledger_hangs(
    use: Callable[[str], None], book: Book, clock: Clock
) -> None:
    use("a")
    clock.now += register.LOOK_EVERY_S
    book.may_answer = threading.Event()
    book.asked.clear()
    with ThreadPoolExecutor() as pool:
        looks = pool.submit(use, "a")
        assert book.asked.wait(30)
        use("b")  # by what was known a moment ago
        clock.now += register.KNOWN_FOR_S
        waits = pool.submit(use, "b")
        assert not wait([waits], 0.2).done
        book.ids = {"b"}
        book.may_answer.set()
        looks.result()
        assert isinstance(waits.exception(), Unauthenticated)


def test_bounded_so_many_notes_are_remembered_and_no_more(
    use: Callable[[str], None], book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(register, "NOTED_MAX", 2)
    for it in ("a", "b", "c", "c", "a"):
        use(it)
    assert book.seen == ["a", "b", "c", "a"]


def test_a_token_is_known_by_its_issuer_and_jti_or_by_all_of_it() -> None:
    assert token_id("x", "1") != token_id("y", "1")
    assert token_id("x", "1", "whole") == token_id("x", "1", "another")
    assert token_id("x", None, "whole") != token_id("x", None, "another")
    assert "whole" not in token_id("x", None, "whole")
