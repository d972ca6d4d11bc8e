"""S3 is named in the public interface; it says what it lacks and moves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_checkpoint.cloud.s3_provider import S3Provider
from model_checkpoint.errors import ConfigurationError, NotInThisVersionError


def test_a_provider_can_be_made_so_that_scripts_read_as_they_will() -> None:
    cloud = S3Provider(bucket_name="ml-checkpoints", prefix="team/")
    assert (cloud.bucket_name, cloud.prefix) == ("ml-checkpoints", "team/")


def test_a_bucket_without_a_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="bucket_name is empty: name the bucket, such as S3Provider"):
        S3Provider(bucket_name="")


def test_an_upload_says_what_was_not_sent_where_and_what_to_do_meanwhile(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    file.write_bytes(b"weights")
    with pytest.raises(NotInThisVersionError) as refused:
        S3Provider("bucket", "team/").upload(local_path=file, remote_path="best/model.pt")
    assert str(refused.value) == (
        f"{file} was not uploaded to s3://bucket/team/best/model.pt: transfers to object stores are not part of this"
        " version. The local file is complete and verified; copy it with your provider's own tool meanwhile"
    )
    assert file.read_bytes() == b"weights"


def test_a_download_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(NotInThisVersionError, match=r"s3://bucket/best/model\.pt was not downloaded to .*model\.pt"):
        S3Provider("bucket").download(remote_path="best/model.pt", local_path=tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_caught_as_not_implemented_too(tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError):
        S3Provider("bucket").upload(tmp_path, "x")
