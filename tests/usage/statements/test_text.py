"""Names and ids in a provider's file that nobody can see are refused by line (C20)."""

from __future__ import annotations

import pytest

from tests.usage.statements.test_reading import GOOD, HEADER, parsed
from usage.statements.reading import StatementInvalid


@pytest.mark.parametrize("sign", ["\u202e", "\u200b", "\ufeff", "\u2028", "\x85", "\x1b"])
@pytest.mark.parametrize("text", ["small", "call-1"])
def test_C20_names_and_ids_of_a_file_can_be_seen(sign: str, text: str) -> None:
    with pytest.raises(StatementInvalid, match=r"^Line [23]"):
        parsed(HEADER + GOOD + GOOD.replace(text, f"{text[0]}{sign}{text[1:]}"))
