"""Whether a cluster takes this machine's token: Ray itself asks one that refuses it again and again, for two
minutes."""

from __future__ import annotations

import grpc
from ray._private.grpc_utils import init_grpc_channel  # no public way finds the token and certificates as Ray does
from ray.exceptions import AuthenticationError


def knock(address: str, seconds: float = 10) -> None:
    """Ask the cluster for its identity once, with the token that Ray would use.

    Args:
        address: ``host:port`` of the cluster's head.

    Raises:
        AuthenticationError: it refuses the token, or the token cannot be read. Whatever else is wrong is left for Ray
            to say.
    """
    channel = init_grpc_channel(address)
    try:
        channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetClusterId")(b"", timeout=seconds)
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            raise AuthenticationError(error.details()) from None
    finally:
        channel.close()
