"""How secrets are encrypted: docs/secrets-format.md, in code."""
