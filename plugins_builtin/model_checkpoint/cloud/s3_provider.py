"""S3 and everything that speaks its language: named in the public interface, not part of this version yet."""

from __future__ import annotations

import os

from model_checkpoint.errors import ConfigurationError, NotInThisVersionError


class S3Provider:
    """A bucket. It can be made, so that scripts read as they will; every transfer raises ``NotInThisVersionError``."""

    def __init__(self, bucket_name: str, prefix: str = "") -> None:
        if not bucket_name:
            raise ConfigurationError(
                "bucket_name is empty: name the bucket, such as S3Provider(bucket_name='ml-checkpoints')"
            )
        self.bucket_name, self.prefix = bucket_name, prefix

    def upload(self, local_path: str | os.PathLike[str], remote_path: str) -> None:
        """Upload a file. Always raises ``NotInThisVersionError``; nothing leaves the machine."""
        raise self._lacking(
            f"{os.fspath(local_path)} was not uploaded to s3://{self.bucket_name}/{self.prefix}{remote_path}"
        )

    def download(self, remote_path: str, local_path: str | os.PathLike[str]) -> None:
        """Download a file. Always raises ``NotInThisVersionError``."""
        raise self._lacking(
            f"s3://{self.bucket_name}/{self.prefix}{remote_path} was not downloaded to {os.fspath(local_path)}"
        )

    @staticmethod
    def _lacking(what: str) -> NotInThisVersionError:
        return NotInThisVersionError(
            f"{what}: transfers to object stores are not part of this version. The local file is complete and verified;"
            " copy it with your provider's own tool meanwhile"
        )
