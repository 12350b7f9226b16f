"""From stored preferences to the wish routing reads."""

from __future__ import annotations

import pytest

from preferences.resolve import PreferenceRecord, preferred_models

DEFAULT = PreferenceRecord("default", "openai", "gpt")
WRITING = PreferenceRecord("writing", "anthropic", "claude")


@pytest.mark.parametrize(
    ("stored", "context", "wanted"),
    [
        ((), "writing", ()),
        ((DEFAULT,), "default", (("openai", "gpt"),)),
        ((DEFAULT,), "writing", (("openai", "gpt"),)),
        ((WRITING,), "writing", (("anthropic", "claude"),)),
        ((WRITING,), "default", ()),
        ((DEFAULT, WRITING), "writing", (("anthropic", "claude"), ("openai", "gpt"))),
        ((DEFAULT, WRITING), "dictionary", (("openai", "gpt"),)),
        ((DEFAULT, PreferenceRecord("writing", "openai", "gpt")), "writing", (("openai", "gpt"),)),
    ],
)
def test_the_context_comes_first_then_the_default(
    stored: tuple[PreferenceRecord, ...], context: str, wanted: tuple[tuple[str, str], ...]
) -> None:
    assert preferred_models(stored, context) == wanted
