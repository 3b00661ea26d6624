"""The commands of vestryctl: a file for each noun."""
