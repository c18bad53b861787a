"""What continuous integration compares the protos with: never with themselves, and a break is refused."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
WHOLE = 'syntax = "proto3"; package t.v1; message Hold { string id = 1; int64 micros = 2; }'
BROKEN = 'syntax = "proto3"; package t.v1; message Hold { string id = 1; }'
WIDER = WHOLE.replace("}", "string reason = 3; }")


class Clone:
    """A repository with a proto, and the script that looks at it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def git(self, *arguments: str) -> None:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *arguments], cwd=self.path, check=True, capture_output=True)

    def commit(self, text: str, message: str = "a change", file: str = "proto/t/v1/t.proto") -> None:
        path = self.path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-m", message)

    def check(self, default: str = "") -> tuple[int, str]:
        """The exit status, and all that is said; `default`: what the default branch is."""
        ran = subprocess.run(
            [ROOT / ".ci" / "breaking"],
            cwd=self.path,
            env={**os.environ, "BUF": str(ROOT / ".venv" / "bin" / "buf"), "MAIN": default},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return ran.returncode, ran.stdout


@pytest.fixture
def clone(tmp_path):
    """A repository of one commit: a message of two fields."""
    made = Clone(tmp_path / "origin")
    made.path.mkdir()
    made.git("init", "--initial-branch=main")
    (made.path / "buf.yaml").write_text((ROOT / "buf.yaml").read_text())
    made.commit(WHOLE)
    return made


def test_the_first_commit_has_nothing_before_it(clone):
    """Where there is nothing to compare with, that is said."""
    status, said = clone.check()
    assert (status, "nothing before them" in said) == (0, True)


def test_on_the_default_branch_the_last_change_of_the_protos_is_judged(clone):
    """A break under later commits that do not touch the protos is still refused; what is added is not."""
    clone.commit(WIDER)
    status, said = clone.check()
    assert (status, "before the last commit that changed the protos" in said) == (0, True)
    clone.commit(BROKEN)
    clone.commit("later", file="README.md")
    status, said = clone.check()
    assert (status, 'field "2"' in said.lower()) == (1, True)


def test_what_is_released_is_never_broken(clone):
    """However many commits later, and whatever a commit says, the last release is what counts."""
    clone.git("tag", "v0.1.0")
    clone.commit(BROKEN, "change\n\nBREAKING CHANGE: micros is gone")
    clone.commit("later", file="README.md")
    clone.commit(BROKEN.replace("}", "string reason = 3; }"))
    status, said = clone.check()
    assert (status, "compared with release v0.1.0" in said) == (1, True)


def test_a_release_is_compared_with_the_one_before(clone):
    """A tag on the very commit is not what it is compared with."""
    clone.git("tag", "v0.1.0")
    clone.commit(BROKEN)
    clone.git("tag", "v0.2.0")
    status, said = clone.check()
    assert (status, "compared with release v0.1.0" in said) == (1, True)


def test_before_a_release_a_break_is_stated(clone):
    """Nothing is released: a commit may break callers if it says so."""
    clone.commit(BROKEN, "change\n\nBREAKING CHANGE: micros is gone")
    status, said = clone.check()
    assert (status, 'field "2"' in said.lower(), "says that it breaks callers" in said) == (0, True, True)


def test_a_break_is_stated_among_many_words(clone):
    """However much the other commits of the same change have to say."""
    clone.git("branch", "main-as-it-was")
    for n in range(4):
        clone.commit(f"later {n}", "why\n\n" + "because " * 10_000, file="README.md")
    clone.commit(BROKEN, "change\n\nBREAKING CHANGE: micros is gone")
    status, said = clone.check("main-as-it-was")
    assert (status, "says that it breaks callers" in said) == (0, True)


def test_a_branch_is_compared_with_where_it_left(clone, tmp_path):
    """Of a branch all commits are judged, not the last alone."""
    clone.git("clone", str(clone.path), str(tmp_path / "clone"))
    branch = Clone(tmp_path / "clone")
    branch.git("checkout", "-b", "work")
    branch.commit(BROKEN)
    branch.commit(BROKEN.replace("}", "string reason = 3; }"))
    status, said = branch.check()
    assert (status, "the merge base with the default branch" in said) == (1, True)


def test_a_shallow_clone_gets_its_history_or_is_refused(clone, tmp_path):
    """Without history nothing passes in silence: it is fetched, or the check fails and says what to do."""
    clone.commit(BROKEN)
    clone.git("clone", "--depth=1", f"file://{clone.path}", str(tmp_path / "shallow"))
    shallow = Clone(tmp_path / "shallow")
    shallow.git("remote", "set-url", "origin", str(tmp_path / "gone"))
    status, said = shallow.check()
    assert (status, "git fetch --unshallow" in said) == (1, True)
    shallow.git("remote", "set-url", "origin", f"file://{clone.path}")
    status, said = shallow.check()
    assert (status, "compared with" in said) == (1, True)
