"""A bucket on this machine: moto's server, with a name and a key that tests look for in every artefact."""

from __future__ import annotations

import logging

from moto.server import ThreadedMotoServer

NAME, SECRET = "studies", "bucket-secret-51c"


class Bucket:
    """A context; ``variables`` is what reaches it. ``stop`` and ``start`` it again: it forgets nothing."""

    def __enter__(self) -> Bucket:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.port = 0
        self.start()
        import boto3

        self.client = boto3.client("s3", endpoint_url=self.url, aws_access_key_id="id", aws_secret_access_key=SECRET)
        self.client.create_bucket(Bucket=NAME)
        return self

    def __exit__(self, *_: object) -> None:
        from moto.core.models import DEFAULT_ACCOUNT_ID
        from moto.s3.models import s3_backends

        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].reset()
        self.stop()

    def start(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self._server.start()
        self.port = self._server.get_host_and_port()[1]

    def stop(self) -> None:
        server = self._server._server
        self._server.stop()
        server.server_close()  # else connections are still accepted, and never answered

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def variables(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
        }

    def names(self, prefix: str = "") -> list[str]:
        rows = self.client.list_objects_v2(Bucket=NAME, Prefix=prefix).get("Contents", [])
        return [row["Key"].removeprefix(prefix) for row in rows]

    def read(self, key: str) -> bytes:
        return self.client.get_object(Bucket=NAME, Key=key)["Body"].read()
