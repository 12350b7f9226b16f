"""Commands about providers and their keys."""
