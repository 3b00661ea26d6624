"""The meaning of the wire: one file for each service of the protos."""
