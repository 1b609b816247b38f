from __future__ import annotations

import pytest

from mtasr.errors import UsageError
from mtasr.tokenizer import LANGUAGES, to_code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("fr", "fr"), ("FR", "fr"), ("French", "fr"), (" russian ", "ru"), ("pt-BR", "pt"), ("zh_TW", "zh"),
        ("mandarin", "zh"), ("Castilian", "es"), ("iw", "he"), ("nb-NO", "no"),
        ("haitian creole", "ht"), ("yue", "yue"),
    ],
)  # fmt: skip
def test_codes_and_names(text: str, code: str) -> None:
    assert to_code(text) == code


def test_every_name_leads_to_its_code() -> None:
    assert len(LANGUAGES) == 100
    for code, name in LANGUAGES.items():
        assert to_code(code) == to_code(name) == to_code(name.title()) == code


def test_unknown_languages_get_a_hint() -> None:
    with pytest.raises(UsageError, match="did you mean german"):
        to_code("Germann")
    with pytest.raises(UsageError, match="give a code"):
        to_code("0000")
