"""The messages and stubs of Vestry, generated from proto/vestry/v1; never edited."""
