"""A study from a bucket."""

from __future__ import annotations

from pathlib import Path

from clusters.bucket.fetch import fetched
from clusters.bucket.store import BucketError, Store
from trainer.command.cli import Parser


def main(argv: list[str]) -> int:
    p = Parser(
        prog="python -m clusters.bucket pull",
        description="Fetch what the bucket has more of than the folder; --resume of the study goes on with it.",
        examples=("python -m clusters.bucket pull s3://bucket/studies/rate results/step2_rate_digits_quick",),
    )
    p.add_argument("address", help="s3://bucket/prefix, of this study alone")
    p.add_argument("folder", type=Path, help="of the study: results/NAME")
    o = p.parse_args(argv)
    store = Store(o.address)
    if not store.sizes():
        raise BucketError(f"{o.address}: there is no study at this address; check it, and AWS_ENDPOINT_URL")
    taken = fetched(store, o.folder)
    print(f"{len(taken)} files fetched to {o.folder}" if taken else f"{o.folder} has all that is in {o.address}")
    return 0
