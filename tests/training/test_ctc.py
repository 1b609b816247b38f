"""The encoder's own lesson: only what is said counts, and nothing of it is left in the result."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from training_data import record
from training_model import TOKENS, checkpoint

from mtasr.data.excerpts import Excerpt, cut_excerpts
from mtasr.errors import UsageError
from mtasr.tokenizer import Tokenizer
from mtasr.training.adaptation import plain_copy, prepare, trained_weights
from mtasr.training.config import make_config
from mtasr.training.objectives.ctc import NAME, CtcHead
from mtasr.training.targets import IGNORED, target_of

TOKENIZER = Tokenizer(TOKENS)
FRAMES = 60


def labels_of(*excerpts: Excerpt, timestamps: bool = True) -> torch.Tensor:
    found = [
        target_of(excerpt, TOKENIZER, timestamps=timestamps, previous=False, context=128).labels for excerpt in excerpts
    ]
    return torch.tensor([[*row, *[IGNORED] * (40 - len(row))] for row in found])


def excerpt(*texts: str, seconds: float = 30, **fields: object) -> Excerpt:
    return next(cut_excerpts(record(*texts, **fields), lambda: seconds))


@pytest.fixture
def head() -> CtcHead:
    torch.manual_seed(0)
    return CtcHead(8, TOKENIZER)


def encoded(count: int) -> torch.Tensor:
    return torch.randn(count, FRAMES, 8, generator=torch.Generator().manual_seed(1))


def test_text_is_spelled_with_times_or_without(head: CtcHead) -> None:
    text = TOKENIZER.encode(" The boat. The river.")
    scores = head.spelling(encoded(1)).log_softmax(dim=2).transpose(0, 1)
    lengths = torch.tensor([FRAMES]), torch.tensor([len(text)])
    expected = F.ctc_loss(scores, torch.tensor(text), *lengths, blank=TOKENIZER.eot, reduction="sum")
    for timestamps in (True, False):
        labels = labels_of(excerpt("The boat.", "The river."), timestamps=timestamps)
        assert head(encoded(1), labels).item() == pytest.approx(expected.item())


def test_translations_and_captions_cut_off_teach_it_nothing(head: CtcHead) -> None:
    whole = excerpt("The boat.", "The river.")
    translated = excerpt("The boat.", language="es", task="translate")
    cut = excerpt("The boat.", "The river.", seconds=5)
    assert cut.cut is not None
    assert head(encoded(2), labels_of(translated, cut)).item() == 0
    # encoded(3)[:1] is encoded(1): random numbers come in order.
    together = head(encoded(3), labels_of(whole, translated, cut))
    assert together.item() == pytest.approx(head(encoded(3)[:1], labels_of(whole)).item())


def test_silence_is_left_to_the_decoder(head: CtcHead) -> None:
    silent = excerpt(duration=20.0)
    assert not silent.captions
    assert head(encoded(1), labels_of(silent)).item() == 0


def test_nothing_of_it_is_left_in_the_result() -> None:
    model = checkpoint().model
    model.add_module(NAME, CtcHead(model.dims.n_audio_state, TOKENIZER))
    assert plain_copy(model).state_dict().keys() == checkpoint().model.state_dict().keys()


def test_low_rank_changes_leave_it_whole() -> None:
    settings = {"output": "x", "steps": 1, "data": {"train": "x"}, "regularisation": {"ctc": 1.0}}
    model = checkpoint().model
    model.add_module(NAME, CtcHead(model.dims.n_audio_state, TOKENIZER))
    prepare(model, make_config(settings, ["method=lora"]))
    trained = {name for name in trained_weights(model) if "parametrizations" not in name}
    assert trained == {"ctc.spelling.weight", "ctc.spelling.bias"}
    assert plain_copy(model).state_dict().keys() == checkpoint().model.state_dict().keys()
    with pytest.raises(UsageError, match="teaches the encoder"):
        make_config(settings, ["method=decoder"])
