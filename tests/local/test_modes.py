"""What a stack writes is its user's alone, and so is what was there before."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx

from openmultistack.auth.own_issuer import issue_token
from openmultistack.auth.principal import SCOPES


def open_to_others(home: Path) -> Iterator[str]:
    """Give what others of this machine could read, write or list, below a home and it itself."""
    for path in (home, *home.rglob("*")):
        mode = stat.S_IMODE(path.lstat().st_mode)
        if not path.is_symlink() and not path.is_socket() and mode & 0o077:
            yield f"{path.relative_to(home)} {mode:o}"


def test_all_of_a_home_is_its_users_alone_also_what_was_there_before(new_local) -> None:
    local = new_local()
    local.home.mkdir(mode=0o755, parents=True)
    (local.home / "log").mkdir(mode=0o755)
    (local.home / "env").write_text("OMS_TOKEN=of-before\n")
    (local.home / "env").chmod(0o644)
    local.first_up()
    local.create(count=1)
    assert list(open_to_others(local.home)) == []
    assert "of-before" not in (local.home / "env").read_text()


def test_a_lost_jwks_is_made_again_and_tokens_that_are_out_stay_good(new_local) -> None:
    local = new_local()
    local.first_up()
    keys = local.home / "keys"
    before = json.loads((keys / "jwks.json").read_text())
    token = issue_token(keys / "signing.pem", owner="before", scopes=SCOPES, ttl_s=6 * 3600)
    (keys / "jwks.json").unlink()
    local.up()
    assert json.loads((keys / "jwks.json").read_text()) == before
    url = f"http://127.0.0.1:{local.port_base}/v1/instances"
    answer = httpx.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=60)
    assert answer.status_code == 200
