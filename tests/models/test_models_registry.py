from __future__ import annotations

import re

import pytest

from mtasr.models import registry
from mtasr.models.folder import ALLOWED


@pytest.mark.parametrize("spec", registry.MODELS.values(), ids=lambda spec: spec.name)
def test_entries_are_well_formed(spec: registry.ModelSpec) -> None:
    assert re.fullmatch(r"[0-9a-f]{40}", spec.revision)
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", spec.repo)
    assert "--" not in spec.name, "two hyphens mark a repository in the cache"
    assert "@" not in spec.name
    assert set(spec.sha256) <= ALLOWED
    assert all(re.fullmatch(r"[0-9a-f]{64}", each) for each in spec.sha256.values())
    assert spec.english_only == (spec.name.endswith(".en") or spec.name.startswith("distil"))


def test_no_two_models_share_a_name_or_a_commit() -> None:
    specs = registry.MODELS.values()
    names = [each for spec in specs for each in (spec.name, *spec.aliases, spec.repo)]
    assert len(names) == len(set(names))
    assert len({spec.revision for spec in specs}) == len(specs)
    weights = [spec.sha256["model.bin"] for spec in specs if spec.sha256]
    assert len(weights) == len(set(weights))


def test_names_aliases_and_repositories_are_found() -> None:
    large = registry.MODELS["large-v3"]
    assert (
        registry.find("large-v3") is registry.find("large") is registry.find("Systran/faster-whisper-large-v3") is large
    )
    assert registry.find("turbo") is registry.MODELS["large-v3-turbo"]
    assert registry.find("huge") is None
    assert registry.DEFAULT_MODEL in registry.MODELS


def test_a_misspelt_name_gets_a_hint() -> None:
    hint = "did you mean small or small.en? "
    assert str(registry.unknown("smal")) == f"there is no model 'smal'; {hint}`mtasr models list` shows the names"
    assert str(registry.unknown("qqq")) == "there is no model 'qqq'; `mtasr models list` shows the names"
