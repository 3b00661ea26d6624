"""The daemon's settings."""

from vestryd.settings.loading import load, variable
from vestryd.settings.model import Audit, Config, History, Limits, Listen, Log, Settings, Store, Watch

__all__ = ["Audit", "Config", "History", "Limits", "Listen", "Log", "Settings", "Store", "Watch", "load", "variable"]
