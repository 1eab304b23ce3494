"""A study whose results go to a bucket while it runs. The study itself never sees the bucket's key."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from clusters.bucket.fetch import fetched
from clusters.bucket.store import CREDENTIALS, BucketError, Store, Unreachable
from clusters.bucket.upload import DECISIONS, Upload
from trainer.command.cli import Parser

END = Path("~/.study/end")
"""Deletes a rented machine with the machine's own key."""


def main(argv: list[str]) -> int:
    p = Parser(
        prog="python -m clusters.bucket run",
        description="Run a study; send its records and decisions to a bucket while it runs; at its end read them back. "
        "With --resume among the study's options, what the bucket has is fetched first.",
        examples=(
            "python -m clusters.bucket run s3://bucket/studies/rate results/step2_rate_digits_quick -- "
            "python studies/step2_rate.py --quick",
        ),
        exits={1: "the study ended well and its results are not all in the bucket", 2: "nothing was started"},
    )
    p.add_argument("address", help="s3://bucket/prefix, of this study alone")
    p.add_argument("folder", type=Path, help="of the study: results/NAME")
    p.add_argument("--every", type=float, default=60.0, help="seconds between two uploads (default: 60)")
    p.add_argument("--checkpoints", action="store_true", help="also the checkpoints of its runs")
    p.add_argument(
        "--patience-minutes",
        type=float,
        default=30.0,
        help="how long to go on trying when the study has ended (default: 30)",
    )
    p.add_argument(
        "--end-machine",
        action="store_true",
        help="delete this rented machine afterwards, if the results are in the bucket",
    )
    words = argv[argv.index("--") + 1 :] if "--" in argv else []
    o = p.parse_args(argv[: argv.index("--")] if "--" in argv else argv)
    if not words:
        raise BucketError("give the study's command after --, as: ... -- python studies/step2_rate.py --quick")
    if not 0.1 <= o.every <= 3600 or not 0 < o.patience_minutes <= 1440:
        raise BucketError("--every must be 0.1 to 3600 seconds, --patience-minutes above 0 and at most 1440")
    if o.end_machine and not END.expanduser().is_file():
        raise BucketError(f"--end-machine: {END} is not here, so this is no machine that was rented with this project")
    store = Store(o.address)
    store.ready()
    if "--resume" in words:
        print(f"{len(fetched(store, o.folder))} files fetched from {store.address}", flush=True)
    elif DECISIONS in store.sizes():
        raise BucketError(f"{store.address} holds a study already: go on with it by --resume, or give another address")
    follower = Follower(Upload(o.folder, store, o.checkpoints))
    code = follower.follow(words, o.every)
    whole = follower.finish(o.patience_minutes * 60, min(o.every, 10.0))
    if whole and o.end_machine:
        print("this machine is deleted now", flush=True)
        os.execvp("bash", ["bash", str(END.expanduser())])
    return code if whole else code or 1


class Follower:
    """Says what goes wrong once, and when it is well again."""

    def __init__(self, upload: Upload):
        self._upload = upload
        self._trouble: BucketError | None = None

    def follow(self, words: list[str], every: float) -> int:
        """Run a command and upload until it ends; its exit code as a shell has it."""
        hidden = {k: v for k, v in os.environ.items() if k not in CREDENTIALS}
        try:
            child = subprocess.Popen(words, env=hidden)
        except OSError as error:
            raise BucketError(f"{words[0]} cannot be started: {error.strerror}") from None
        # Ctrl-C reaches the study as well; this process stays for what the study still writes
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        while True:
            try:
                code = child.wait(every)
                return code if code >= 0 else 128 - code
            except subprocess.TimeoutExpired:
                self.try_once()

    def try_once(self) -> bool:
        """Whether everything is sent that was there."""
        if self._trouble and not isinstance(self._trouble, Unreachable):
            return False  # another writer, or another study: more attempts would be as wrong
        try:
            self._upload.once()
        except BucketError as error:
            if str(error) != str(self._trouble):
                print(f"not uploaded: {error}", file=sys.stderr, flush=True)
            self._trouble = error
            return False
        if self._trouble:
            print("uploaded again", file=sys.stderr, flush=True)
        self._trouble = None
        return True

    def finish(self, patience: float, pause: float) -> bool:
        """Upload the rest and read everything back; whether it is all there."""
        deadline = time.monotonic() + patience
        store = self._upload.store
        while True:
            wrong: list[str] = []
            try:
                if self.try_once():
                    wrong = self._upload.differences()
                    if not wrong:
                        print(f"everything in {self._upload.folder} is in {store.address}, read back and equal")
                        return True
            except BucketError as error:
                self._trouble = error
            final = self._trouble and not isinstance(self._trouble, Unreachable)
            if final or time.monotonic() > deadline:
                why = self._trouble or f"{wrong[0]} differs"
                print(
                    f"error: not all results are in {store.address}: {why}; they are in {self._upload.folder} here, "
                    f"send them with: python -m clusters.bucket push {store.address} {self._upload.folder}",
                    file=sys.stderr,
                    flush=True,
                )
                return False
            time.sleep(pause)
