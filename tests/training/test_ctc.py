"""The encoder's own lesson: only what is said counts, and nothing of it is left in the result."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from training_data import record
from training_model import TOKENS, Configure, checkpoint

from mtasr.checkpoints.formats import load_checkpoint
from mtasr.data.excerpts import Excerpt, cut_excerpts
from mtasr.errors import UsageError
from mtasr.tokenizer import Tokenizer
from mtasr.training.adaptation import plain_copy, trained_weights
from mtasr.training.loop import export, train
from mtasr.training.objectives.ctc import CtcObjective
from mtasr.training.objectives.lessons import CtcHead
from mtasr.training.objectives.sequence import SequenceObjective
from mtasr.training.run_log import read_log
from mtasr.training.state import checkpoints, load_document
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


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_head_is_trained_whole_and_left_out_of_the_result(
    method: str, configure: Configure, tmp_path: Path
) -> None:
    settings = ["regularisation.ctc=1.0", f"method={method}"]
    model = SequenceObjective(configure(tmp_path, *settings)).model(torch.device("cpu"))
    trained = {name for name in trained_weights(model) if "parametrizations" not in name}
    assert {name for name in trained if name.startswith("ctc")} == {"ctc.spelling.weight", "ctc.spelling.bias"}
    assert (len(trained) == 2) == (method == "lora")
    assert plain_copy(model).state_dict().keys() == checkpoint().model.state_dict().keys()


def test_a_method_that_leaves_the_encoder_is_refused(configure: Configure, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="trains the encoder"):
        configure(tmp_path, "regularisation.ctc=1.0", "method=decoder")
    with pytest.raises(UsageError, match="objective=ctc trains the encoder"):
        CtcObjective(configure(tmp_path, "objective=ctc", "method=decoder"))


def test_an_encoder_is_trained_by_ctc_alone(configure: Configure, data: dict[str, Path], tmp_path: Path) -> None:
    settings = ["objective=ctc", "save_every=3", "optimizer.learning_rate=3e-3", "optimizer.weight_decay=0.5"]
    settings += [f"data.evaluation={data['records']}", "data.silence=1.0"]
    run = train(configure(tmp_path / "run", *settings, steps=6))
    whole = read_log(run.folder / "log.jsonl")
    losses = [entry["loss"] for entry in whole if "loss" in entry]
    assert losses[-1] < losses[0] / 2
    (figures,) = [entry["evaluation"] for entry in whole if "evaluation" in entry]
    assert set(figures) == {"wer", "cer"}
    shutil.rmtree(checkpoints(run.folder)[-1])
    run = train(configure(tmp_path / "run", *settings, steps=6))
    assert [entry["loss"] for entry in read_log(run.folder / "log.jsonl") if "loss" in entry] == losses

    result = load_checkpoint(export(run).path).model.state_dict()
    averages = load_document(checkpoints(run.folder)[-1])["average"]
    assert all(result[name].allclose(weight) for name, weight in averages.items() if not name.startswith("ctc"))
    before = checkpoint().model.state_dict()
    changed = {name.partition(".")[0] for name in before if not before[name].allclose(result[name])}
    assert changed == {"encoder"}
