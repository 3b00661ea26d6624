"""Secrets: the vault that holds their keys, and what callers can do to them."""
