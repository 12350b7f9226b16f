"""Commands that run the gateway, seed it, try providers."""
