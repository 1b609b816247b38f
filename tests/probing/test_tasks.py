"""What tasks make of labels, their losses and figures, without an encoder."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, cross_entropy

from mtasr.errors import InputError, UsageError
from mtasr.probing.answers import best_path, smoothed, spans_of, written
from mtasr.probing.heads import HeadConfig
from mtasr.probing.labels import LabelledClip
from mtasr.probing.tasks import SUPERB_NAMES, TASKS, task_class
from mtasr.probing.tasks.activity import DiarizationTask, activity, either_order
from mtasr.probing.tasks.classes import IntentTask, KeywordTask
from mtasr.probing.tasks.phones import PhonesTask, phones_at
from mtasr.probing.tasks.search import SearchTask
from mtasr.probing.tasks.sequences import CharactersTask, PhonesCtcTask, SlotsTask, marked, slots_of
from mtasr.probing.tasks.task import HeadBatch, Task, read_clips
from mtasr.probing.tasks.verification import AngularLesson, VerificationTask


def clips(*fields: dict[str, Any], split: str | None = None) -> list[LabelledClip]:
    """A clip of each of train, dev and test for each of the fields, or only of one split."""
    return [
        LabelledClip(audio=Path(f"/{name}{place}.wav"), split=name, fields=own, origin=f"line {place}")
        for name in ((split,) if split else ("train", "dev", "test"))
        for place, own in enumerate(fields, start=1)
    ]


def batch(
    targets: list[Any], states: Tensor, times: list[Any] | None = None, made: list[LabelledClip] | None = None
) -> HeadBatch:
    lengths = torch.full((len(targets),), states.shape[2])
    return HeadBatch(states, lengths, made or [], targets, times or [])


class Fixed(nn.Module):
    """A head that gives the same logits for all states."""

    def __init__(self, logits: Tensor, config: HeadConfig | None = None) -> None:
        super().__init__()
        self.logits, self.config = logits, config

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:
        return self.logits


def test_every_task_is_found_by_its_name_and_by_that_of_superb() -> None:
    for name in TASKS:
        kind = task_class(name)
        assert kind.name == name
        assert kind.area in {"content", "speaker", "semantics", "paralinguistics"}
    for short, name in SUPERB_NAMES.items():
        assert task_class(short.upper()) is task_class(name)
        assert task_class(name).corpus is not Task.corpus
    with pytest.raises(UsageError, match="task must be one of phones, phones-ctc"):
        task_class("dreams")


@pytest.mark.parametrize(
    ("kind", "fields", "problem"),
    [
        (KeywordTask, {"label": 3}, "line 1: 'label' is missing or no text"),
        (KeywordTask, {}, "'label' is missing"),
        (IntentTask, {"label": {"action": 3}}, "answers that are no texts"),
        (IntentTask, {"label": {}}, "answers that are no texts"),
        (PhonesTask, {"phones": "AH"}, "'phones' is missing or no list"),
        (PhonesTask, {"phones": [["AH", 0]]}, r"must be \[phone, start, end\]"),
        (PhonesTask, {"phones": [["AH", 1, 0.5]]}, "has no times"),
        (PhonesTask, {"phones": [["AH", 0, math.nan]]}, "has no times"),
        (PhonesTask, {"phones": [["AH", 0, 10**400]]}, "has no times"),
        (PhonesCtcTask, {"phones": 7}, "'phones' is missing"),
        (CharactersTask, {"text": " "}, "'text' is missing"),
        (SlotsTask, {"words": ["a"], "slots": "O"}, "'slots' is no list of texts"),
        (SlotsTask, {"words": ["a"], "slots": ["O", "O"]}, "1 words and 2 slots"),
        (DiarizationTask, {}, "neither 'turns' nor 'rttm'"),
        (DiarizationTask, {"turns": [[0, 1]]}, r"must be \[start, end, speaker\]"),
        (DiarizationTask, {"turns": [[0, 1, "a"], [1, 2, "b"], [2, 3, "c"]]}, "3 people speak"),
        (DiarizationTask, {"turns": []}, "nobody speaks"),
        (DiarizationTask, {"turns": [[1, 1, "a"]]}, "nobody speaks"),
        (DiarizationTask, {"turns": [[0, 10**400, "a"]]}, "a turn of 'a' has no times"),
        (DiarizationTask, {"turns": [[1, 0, "a"]]}, "a turn of 'a' has no times"),
        (SearchTask, {}, "needs either 'query' or 'contains'"),
        (SearchTask, {"contains": "a"}, "no queries for dev"),
        (VerificationTask, {"label": "a"}, "a trial has 'other'"),
    ],
)
def test_labels_that_a_task_cannot_use_are_named(kind: type[Task], fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        kind(clips(fields))


def test_splits_and_labels_must_be_complete() -> None:
    with pytest.raises(InputError, match="no recordings for test"):
        KeywordTask([clip for clip in clips({"label": "a"}) if clip.split != "test"])
    with pytest.raises(InputError, match="has no 'split' and no 'fold'"):
        KeywordTask([*clips({"label": "a"}), LabelledClip(audio=Path("b"))])
    with pytest.raises(InputError, match="no training recording has the label 'b'"):
        KeywordTask([*clips({"label": "a"}), *clips({"label": "b"}, split="test")])
    with pytest.raises(InputError, match="answers"):
        IntentTask([*clips({"label": {"action": "on"}}), *clips({"label": {"object": "on"}}, split="dev")])


def test_folders_are_corpora(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="reads files of labels only"):
        read_clips(task_class("language"), [tmp_path])
    (tmp_path / "labels.csv").write_text("audio\n")
    with pytest.raises(UsageError, match="not both"):
        read_clips(KeywordTask, [tmp_path, tmp_path / "labels.csv"])


def test_an_intent_is_right_if_all_its_answers_are() -> None:
    task = IntentTask(
        clips({"label": {"action": "on", "object": "lamp"}}, {"label": {"action": "off", "object": "tv"}})
    )
    assert task.labels() == {"action": ("off", "on"), "object": ("lamp", "tv")}
    config = HeadConfig(
        task="intent", kind="mean", encoder="x", width=2, states=1, frame_seconds=0.02, sizes=(2,), labels=task.labels()
    )
    logits = torch.tensor([[0.0, 2.0, 1.0, 0.0], [1.0, 0.0, 0.0, 3.0]])
    loss = task.loss(Fixed(logits, config), batch(task.targets["train"], torch.zeros(2, 1, 1, 2)))
    action, item = (
        cross_entropy(logits[:, :2], torch.tensor([1, 0])),
        cross_entropy(logits[:, 2:], torch.tensor([0, 1])),
    )
    assert loss.item() == pytest.approx((action + item).item())


def test_the_majority_of_intents_asks_not_for_the_order_of_answers() -> None:
    on, also_on = {"action": "on", "object": "tv"}, {"object": "tv", "action": "on"}
    task = IntentTask(clips({"label": {"action": "off", "object": "tv"}}, {"label": on}, {"label": also_on}))
    config = HeadConfig(
        task="intent", kind="mean", encoder="x", width=2, states=1, frame_seconds=0.02, sizes=(2,), labels=task.labels()
    )
    logits = torch.tensor([[0.0, 2.0, 1.0]]).expand(3, 3)
    task.outputs = lambda *_: iter([(batch(task.targets["test"], torch.zeros(3, 1, 1, 2)), logits)])  # type: ignore[assignment, misc]
    figures = task.figures(Fixed(logits, config), None, "test")  # type: ignore[arg-type]
    assert figures == {"accuracy": pytest.approx(2 / 3), "majority": pytest.approx(2 / 3)}


def test_rare_words_are_drawn_as_often_as_frequent_ones() -> None:
    fields = [{"label": "rare"}, *({"label": "often"} for _ in range(9))]
    drawn = KeywordTask(clips(*fields)).drawn(500, np.random.default_rng(0))
    assert 0.4 < np.mean(np.array(next(drawn)) == 0) < 0.6


def test_a_frame_is_in_the_phone_of_its_middle() -> None:
    phones = [("a", 0.1, 0.2), ("b", 0.2, 0.25), ("a", 0.3, 0.4)]
    times = np.array([0.05, 0.1, 0.19, 0.2, 0.25, 0.31, 0.4])
    assert phones_at(phones, times) == [None, "a", "a", "b", None, "a", None]
    assert phones_at([], times) == [None] * 7


def test_frames_without_a_phone_do_not_count_in_the_loss() -> None:
    rows = [["a", 0.0, 0.02], ["sil", 0.02, 0.04], ["b", 0.04, 0.06]]
    task = PhonesTask(clips({"phones": rows}))
    assert task.labels() == {"phone": ("a", "b")}
    logits = torch.randn(1, 4, 2)
    target = task.targets["train"]
    made = clips({"phones": rows}, split="train")
    found = task.loss(Fixed(logits), batch(target, torch.zeros(1, 1, 4, 2), [np.array([0.01, 0.03, 0.05, 0.07])], made))
    wanted = cross_entropy(logits[0, [0, 2]], torch.tensor([0, 1]))
    assert found.item() == pytest.approx(wanted.item())


def slow_ctc(probabilities: list[list[float]], target: list[int]) -> float:
    """Minus the logarithm of the sum over all paths whose runs, joined and without blanks, are the target."""
    total = 0.0
    for path in itertools.product(range(len(probabilities[0])), repeat=len(probabilities)):
        runs = [label for label, _ in itertools.groupby(path)]
        if [label for label in runs if label] == target:
            total += math.prod(row[label] for row, label in zip(probabilities, path, strict=True))
    return -math.log(total)


def test_the_loss_of_sequences_sums_over_all_paths() -> None:
    task = PhonesCtcTask(clips({"phones": "a b"}, {"phones": ["b", "sil"]}))
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 3, dtype=torch.float64)
    found = task.loss(Fixed(logits), batch(task.targets["train"], torch.zeros(2, 1, 4, 2)))
    rows = logits.softmax(dim=2).tolist()
    assert found.item() == pytest.approx((slow_ctc(rows[0], [1, 2]) / 2 + slow_ctc(rows[1], [2])) / 2, rel=1e-5)


def test_error_rates_count_over_all_clips() -> None:
    phones = PhonesCtcTask(clips({"phones": "a b c"}))
    assert phones.compared([(["a", "b", "c"], ["a", "c"]), (["a"], ["b"])]) == {"PER": 0.5}
    characters = CharactersTask(clips({"text": "on  off"}))
    assert characters.targets["train"] == [list("on off")]
    assert characters.compared([(list("on off"), list("on of"))]) == {"WER": 0.5, "CER": pytest.approx(1 / 6)}


def test_slots_are_marks_around_characters() -> None:
    labels = marked(["play", "ab", "c", "now"], ["O", "artist", "artist", "O"])
    assert labels == [*"play ", "B-artist", *"ab c", "E-artist", *" now"]
    assert slots_of(labels) == [("artist", "ab c")]
    assert slots_of(["B-x", "a", "E-y", "b", "E-x", "B-z", "c"]) == []
    two = marked(["a", "b"], ["x", "y"])
    assert slots_of(two) == [("x", "a"), ("y", "b")]
    task = SlotsTask(clips({"words": ["go", "ab"], "slots": ["O", "x"]}))
    assert task.compared([(task.targets["train"][0], task.targets["train"][0])]) == {"F1": 1, "CER": 0}


def test_the_best_path_joins_runs_and_drops_blanks() -> None:
    logits = torch.nn.functional.one_hot(torch.tensor([0, 1, 1, 0, 1, 2, 2, 0]), 3).float()
    assert best_path(logits, ["a", "b"]) == ["a", "a", "b"]
    assert written([*"go", " ", " ", "B-x", "a", "E-x"], ["a", " "]) == "go B-x a E-x"
    assert written(["HH", "AH"], ["AH", "HH"]) == "HH AH"


def test_speakers_may_come_in_either_order() -> None:
    torch.manual_seed(0)
    logits, wanted = torch.randn(5, 2), (torch.rand(5, 2) < 0.5).float()
    costs = [binary_cross_entropy(logits.sigmoid(), each) for each in (wanted, wanted.flip(1))]
    assert either_order(logits, wanted).item() == pytest.approx(min(costs).item(), rel=1e-5)
    assert either_order(logits, wanted.flip(1)).item() == pytest.approx(min(costs).item(), rel=1e-5)


def test_turns_are_cut_to_their_clip_and_active_at_the_middles_of_frames() -> None:
    (clip,) = clips({"turns": [[0, 1.5, "b"], [1.2, 9, "a"], [3, 4, "c"]]}, split="train")
    clip = LabelledClip(audio=clip.audio, start=1.0, end=2.0, split="train", fields=clip.fields)
    target = DiarizationTask.target(DiarizationTask.__new__(DiarizationTask), clip)
    assert [(turn.start, turn.end, turn.speaker) for turn in target] == [(1.0, 1.5, "b"), (1.2, 2.0, "a")]
    active = activity(target, np.array([1.1, 1.3, 1.5, 1.9]))
    assert active.tolist() == [[0, 1], [1, 1], [1, 0], [1, 0]]


def test_a_median_removes_what_is_short() -> None:
    active = np.array([0, 1, 0, 0, 1, 1, 1, 0, 1, 1], bool)[:, None]
    wanted = [sorted(np.pad(active[:, 0], 1)[place : place + 3])[1] for place in range(10)]
    assert smoothed(active, 3)[:, 0].tolist() == wanted
    assert smoothed(active, 1) is active
    spans = spans_of(np.array([[1, 0], [1, 1], [0, 1]], bool), ["a", "b"], 0.02, 0.01)
    assert [(span.label, round(span.start, 3), round(span.end, 3)) for span in spans] == [
        ("a", 0, 0.04),
        ("b", 0.02, 0.06),
    ]


def test_a_margin_is_taken_from_the_cosine_of_the_right_speaker() -> None:
    torch.manual_seed(0)
    config = HeadConfig(
        task="verification", kind="x-vector", encoder="x", width=2, states=1, frame_seconds=0.02, sizes=(2,) * 6 + (3,)
    )

    class Given(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = config

        def forward(self, states: Tensor, lengths: Tensor) -> Tensor:
            return states

    lesson = AngularLesson(Given(), 4)  # type: ignore[arg-type]
    found, wanted = torch.randn(2, 3), torch.tensor([2, 0])
    losses = []
    for row, right in zip(found, wanted.tolist(), strict=True):
        vector = lesson.classifier(row.clamp(min=0)).detach()
        cosines = [float(vector @ each / vector.norm() / each.norm()) for each in lesson.speakers.detach()]
        scores = [30 * (cosine - 0.4 * (place == right)) for place, cosine in enumerate(cosines)]
        losses.append(math.log(sum(map(math.exp, scores))) - scores[right])
    assert lesson(found, torch.tensor([1, 1]), wanted).item() == pytest.approx(sum(losses) / 2, rel=1e-4)


def test_speakers_are_held_out_where_no_trials_are_for_dev() -> None:
    train = [
        LabelledClip(audio=Path(f"/{speaker}{n}.wav"), split="train", fields={"label": speaker})
        for speaker in "abcdef"
        for n in range(3)
    ]
    test = [
        LabelledClip(audio=Path("/x.wav"), split="test", fields={"other": "/y.wav", "same": same})
        for same in (True, "0")
    ]
    task = VerificationTask([*train, *test])
    held = {trial.one.audio.name[0] for trial in task.trials["dev"]}
    assert len(held) == 2
    assert set(task.targets["train"]) == set("abcdef") - held
    for trial in task.trials["dev"]:
        assert trial.same == (trial.one.audio.name[0] == trial.other.audio.name[0])
        assert trial.one.audio != trial.other.audio
    assert [trial.same for trial in task.trials["test"]] == [True, False]
    assert len({clip.audio for clip in task.needed}) == 18 + 2
    with pytest.raises(InputError, match="too few training speakers"):
        VerificationTask([*train[:9], *test])
    with pytest.raises(InputError, match="of one voice and of two"):
        VerificationTask([*train, test[0]])
