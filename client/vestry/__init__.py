"""The client library of Vestry."""
