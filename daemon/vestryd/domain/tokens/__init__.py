"""Tokens: those that are kept, and those of minutes for callers on this host."""
