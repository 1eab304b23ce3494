"""A study's folder to a bucket, once."""

from __future__ import annotations

from pathlib import Path

from clusters.bucket.store import BucketError, Store
from clusters.bucket.upload import Upload
from trainer.command.cli import Parser


def main(argv: list[str]) -> int:
    p = Parser(
        prog="python -m clusters.bucket push",
        description="Send a study's records and decisions, and read them back. The study may run meanwhile.",
        examples=("python -m clusters.bucket push s3://bucket/studies/rate results/step2_rate_digits_quick",),
    )
    p.add_argument("address", help="s3://bucket/prefix, of this study alone")
    p.add_argument("folder", type=Path, help="of the study: results/NAME")
    p.add_argument("--checkpoints", action="store_true", help="also the checkpoints of its runs")
    o = p.parse_args(argv)
    if not (o.folder / "study.json").is_file():
        raise BucketError(f"{o.folder}: is no study's folder; give the one that has study.json")
    upload = Upload(o.folder, Store(o.address), o.checkpoints)
    sent = upload.once()
    if wrong := upload.differences():
        raise BucketError(f"{wrong[0]} is not in the bucket as it is here; if the study runs, try again")
    print(f"{len(sent)} files sent; everything in {o.folder} is in {o.address}, read back and equal")
    return 0
