"""Client wire formats: bytes of a client in, canonical request out, and back again."""
