"""The daemon of Vestry: it owns all state and serves it."""
