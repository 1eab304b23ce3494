"""One prefix of a bucket, through pyarrow, which finds credentials and endpoint where AWS's own tools do.

Credentials come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_DEFAULT_REGION)
and are never part of an address: addresses are printed, logged and seen in a list of processes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

from trainer.errors import UsageError, one_line

CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
SETTINGS = ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
STUDY = re.compile(
    r"study\.json|decisions\.jsonl|report/\w[\w.-]*|runs/\w[\w.-]*/(?:records\.jsonl|evaluation\.jsonl|checkpoint\.pt)"
)
"""Names, below a study's folder, of what is kept: anything else under the prefix is somebody else's."""

PROBE = ".write-test"


class BucketError(UsageError):
    """The bucket cannot be used, in one line that says what to do."""


class Unreachable(BucketError):
    """No answer, or none that is understood: another attempt may help."""


def checked(address: str) -> str:
    """The address without a slash at its end. Raises BucketError unless it is ``s3://bucket/prefix``, as it is shown.

    A query such as ``?endpoint_override=host`` may follow, as pyarrow has it.
    """
    place = address.partition("?")[0]
    if "@" in place:
        raise BucketError(
            "the address of a bucket holds no credentials (it is printed and logged): set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, and give s3://bucket/prefix"
        )
    if "secret" in address.lower() or "access_key" in address.lower():
        raise BucketError("the address of a bucket holds no credentials: set them as AWS_... variables")
    if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[\w./=+-]*[\w=+-]/?", place) or ".." in place:
        raise BucketError(f"{address}: give an address such as s3://bucket/results/a_study, with a prefix of its own")
    return address.rstrip("/")


class Store:
    """Objects below an address, by the names they have in a study's folder.

    Raises BucketError, at any call: there is no such bucket, or no right to it; Unreachable: no answer.
    """

    def __init__(self, address: str):
        from pyarrow import fs

        self.address = checked(address)
        with self._said():
            self._system, self._base = fs.FileSystem.from_uri(self.address)

    def ready(self) -> None:
        """Write a probe, so that a missing bucket or right is told before a study starts."""
        self.write(PROBE, b"python -m clusters.bucket may write here\n")

    def sizes(self) -> dict[str, int]:
        """Name and bytes of every file of a study there."""
        from pyarrow import fs

        with self._said():
            rows = self._system.get_file_info(fs.FileSelector(self._base, recursive=True, allow_not_found=True))
        names = {
            str(PurePosixPath(row.path).relative_to(self._base)): row.size
            for row in rows
            if row.type == fs.FileType.File
        }
        return {name: size for name, size in names.items() if STUDY.fullmatch(name)}

    def read(self, name: str) -> bytes:
        with self._said(), self._system.open_input_stream(f"{self._base}/{name}") as stream:
            return stream.read()

    def write(self, name: str, data: bytes) -> None:
        """Replace an object; readers see the old one or the new one, nothing between."""
        with self._said(), self._system.open_output_stream(f"{self._base}/{name}") as stream:
            stream.write(data)

    @contextmanager
    def _said(self) -> Iterator[None]:
        from pyarrow import ArrowException

        try:
            yield
        except (OSError, ValueError, ArrowException) as error:
            raise _named(self.address, one_line(error)) from None


def _named(address: str, said: str) -> BucketError:
    lower = said.lower()
    shown = re.sub(r"(?i)(credential=|x-amz-[a-z-]+=|signature=)[^\s&]+", r"\1[hidden]", said)[:250]
    if any(
        word in lower for word in ("access_denied", "access denied", "invalid_access_key", "forbidden", "signature")
    ):
        return BucketError(f"{address}: the bucket refused ({shown}); check AWS_ACCESS_KEY_ID and its rights")
    if "no_such_bucket" in lower or "bucket does not exist" in lower:
        return BucketError(f"{address}: there is no such bucket; make it, or check the name and AWS_ENDPOINT_URL")
    return Unreachable(f"{address}: {shown}; check the network, AWS_ENDPOINT_URL and AWS_DEFAULT_REGION")


def environment(variables: Any) -> dict[str, str]:
    """What a machine elsewhere needs to reach the bucket. Raises BucketError if there is no key."""
    found = {name: variables[name] for name in (*CREDENTIALS, *SETTINGS) if variables.get(name)}
    if missing := [name for name in CREDENTIALS[:2] if name not in found]:
        raise BucketError(
            f"{missing[0]} is not set: export the key of the bucket (one that may do nothing else), and "
            "AWS_ENDPOINT_URL for a store other than Amazon's"
        )
    return found
