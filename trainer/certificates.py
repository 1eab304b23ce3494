"""Which certificates network connections trust."""

from __future__ import annotations


def trust_system(wanted: bool) -> None:
    """Let every TLS connection of this process trust the operating system's certificates, if ``wanted``.

    Networks whose proxy inspects traffic install a certificate of their own there, which the bundled lists lack.
    """
    if wanted:
        import truststore

        truststore.inject_into_ssl()
