"""The version of the whole distribution, client, command line and daemon alike."""

__version__ = "0.1.0"
