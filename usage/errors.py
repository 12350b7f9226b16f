"""What may go wrong in every room of this app."""

from __future__ import annotations


class ActionRefused(ValueError):
    """The write breaks a rule; the message is for people."""
