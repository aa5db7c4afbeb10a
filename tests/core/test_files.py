"""A file is whole or absent, whatever ends the writing."""

import hashlib

import pytest

from currreft_nb.core.files import atomic_write, digest, file_digest


def test_a_written_file_is_whole_and_nothing_else_is_left(tmp_path):
    with atomic_write(tmp_path / "a.txt") as stream:
        stream.write("ä\n")
        assert not (tmp_path / "a.txt").exists()  # nothing is seen before all is written
    assert (tmp_path / "a.txt").read_bytes() == "ä\n".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file(tmp_path, error):
    (tmp_path / "a.bin").write_bytes(b"old")
    with pytest.raises(error), atomic_write(tmp_path / "a.bin", "wb") as stream:
        stream.write(b"new")
        raise error
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_digests_have_the_length_asked_for(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    assert file_digest(tmp_path / "a") == hashlib.sha256(b"x" * 100_000).hexdigest()[:16]
    assert digest(["a"]) == hashlib.sha256(b'["a"]').hexdigest()[:16]
    assert digest(["a"], 24).startswith(digest(["a"])) and len(digest(["a"], 24)) == 24
