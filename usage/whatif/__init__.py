"""What the same calls would have cost elsewhere."""
