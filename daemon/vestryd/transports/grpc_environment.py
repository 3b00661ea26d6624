"""The environment that gRPC must find when it is loaded: so nothing here loads it."""

from __future__ import annotations

from typing import Final

# To speak TLS 1.3 alone: a suite of TLS 1.2 that no certificate can serve. The suites of TLS 1.3 are not chosen this way
# (BoringSSL, SSL_CTX_set_strict_cipher_list).
ONLY_TLS_1_3: Final = ("GRPC_SSL_CIPHER_SUITES", "ECDHE-PSK-CHACHA20-POLY1305")
QUIET: Final = ("GRPC_VERBOSITY", "NONE")  # our errors say what it would
