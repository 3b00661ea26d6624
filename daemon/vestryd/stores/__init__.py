"""The adapters of the store port."""
