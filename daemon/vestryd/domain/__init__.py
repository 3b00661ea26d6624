"""What Vestry means. No wire, no disk."""
