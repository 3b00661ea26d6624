"""The machine that the daemon runs on: its files, its clock, its signals, its service manager."""
