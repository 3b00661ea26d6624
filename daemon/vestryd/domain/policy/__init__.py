"""The access policy: compiled from its document, and asked who may do what."""
