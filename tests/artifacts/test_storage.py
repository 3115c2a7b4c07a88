"""What the file system says, as errors to act on."""

from __future__ import annotations

import errno

import pytest

from electra_cli.artifacts import need_space, storage_errors
from electra_cli.artifacts.storage import as_resource_error
from electra_cli.errors import ArtifactError, ResourceError, UsageError


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (errno.ENOSPC, ResourceError, "DISK_FULL"),
        (errno.EDQUOT, ResourceError, "DISK_FULL"),
        (errno.EFBIG, ResourceError, "DISK_FULL"),
        (errno.EACCES, ResourceError, "PERMISSION_DENIED"),
        (errno.EROFS, ResourceError, "READ_ONLY"),
        (errno.EIO, ResourceError, "IO_ERROR"),
        (errno.EMFILE, ResourceError, "TOO_MANY_FILES"),
        (errno.ENOTDIR, UsageError, "NOT_A_FOLDER"),
        (errno.ENAMETOOLONG, UsageError, "NAME_TOO_LONG"),
    ],
)
def test_each_refusal_has_its_error(tmp_path, number, kind, code):
    with pytest.raises(kind) as caught, storage_errors(tmp_path):
        raise OSError(number, "reason")
    assert caught.value.code == code and caught.value.where and caught.value.hint


@pytest.mark.parametrize("words", ["No space left on device (os error 28)", "write failed: File too large"])
def test_a_full_disk_is_recognised_by_its_words(tmp_path, words):
    with pytest.raises(ResourceError) as caught, storage_errors(tmp_path / "not" / "there"):
        raise RuntimeError(words)
    assert caught.value.code == "DISK_FULL" and "free" in caught.value.message


def test_what_is_not_about_storage_passes(tmp_path):
    with pytest.raises(ZeroDivisionError), storage_errors(tmp_path):
        raise ZeroDivisionError
    with pytest.raises(ArtifactError), storage_errors(tmp_path):
        raise ArtifactError("x", code="X")


def test_room_is_asked_for_before_the_work(tmp_path):
    need_space(tmp_path / "new" / "deep", bytes=1000, what="a test")
    with pytest.raises(ResourceError) as caught:
        need_space(tmp_path, bytes=10**18, what="the shards")
    assert caught.value.code == "DISK_FULL" and "the shards needs about" in caught.value.message


def test_an_error_at_the_top_is_told_only_if_it_can_be_acted_on():
    assert as_resource_error(OSError(errno.ENOSPC, "x")).code == "DISK_FULL"
    assert as_resource_error(OSError(errno.EACCES, "x", "/somewhere")).where == "/somewhere"
    assert as_resource_error(FileNotFoundError(errno.ENOENT, "x", "/somewhere")) is None
