"""The command line of Vestry, built on the client library alone."""
