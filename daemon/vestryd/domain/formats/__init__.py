"""The formats of files: JSON, YAML and TOML, read strictly."""
