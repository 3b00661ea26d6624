"""JSON Schema, as documents are checked by it."""
