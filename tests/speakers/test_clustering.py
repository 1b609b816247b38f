"""Voices from vectors: found, given in number, and among very many pieces."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import MagicMock

import numpy as np
import numpy.typing as npt
import pytest
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist

from mtasr.speakers import clustering, labelling
from mtasr.speakers.clustering import agglomerate, find_voices, labels_after
from mtasr.speakers.labelling import Grouping, mean_voice
from mtasr.speakers.pieces import VoicePiece
from mtasr.speakers.splitting import split

Vectors = npt.NDArray[np.float64]


def spoken_by(voices: list[int], *, noise: float = 0.6, seed: int = 0) -> Vectors:
    """A vector of length 1 for a piece of each of these voices, which are about 0.15 alike, and pieces of one 0.7."""
    rng = np.random.default_rng(seed)
    common, *own = (vector / np.linalg.norm(vector) for vector in rng.normal(size=(1 + max(voices) + 1, 192)))
    vectors = np.stack([0.42 * common + 0.81 * own[voice] for voice in voices])
    vectors = vectors + noise / np.sqrt(192) * rng.normal(size=vectors.shape)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def pieces_of(vectors: Vectors, *, seconds: float = 3.0, strands: list[int] | None = None) -> list[VoicePiece]:
    return [
        VoicePiece(
            strand=strand, start=200 * place, end=200 * place + 178, seconds=seconds, vector=vector.astype(np.float32)
        )
        for place, (vector, strand) in enumerate(zip(vectors, strands or range(len(vectors)), strict=True))
    ]


def group(pieces: list[VoicePiece], **options: int) -> Grouping:
    """Where no passage is longer than a piece."""
    return labelling.group(pieces, pieces, **options)  # type: ignore[arg-type]


def test_merges_are_those_of_average_linkage() -> None:
    vectors = spoken_by([0, 1, 2] * 15)
    merges = agglomerate(vectors, np.ones(len(vectors)))
    expected = 1 - linkage(pdist(vectors, "cosine"), "average")[:, 2]
    np.testing.assert_allclose([merge.similarity for merge in merges], expected, atol=1e-9)


def test_weights_count_as_so_many_pieces() -> None:
    vectors = spoken_by([0, 1, 2, 3])
    heavy = agglomerate(vectors, np.array([2.0, 1, 3, 1]))
    repeated = agglomerate(np.repeat(vectors, [2, 1, 3, 1], axis=0), np.ones(7))
    assert [merge.similarity for merge in heavy] == pytest.approx([merge.similarity for merge in repeated[3:]])


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_the_number_of_voices_is_found(number: int) -> None:
    said = [place % number for place in range(40)]
    grouping = group(pieces_of(spoken_by(said)))
    np.testing.assert_array_equal(grouping.labels, said)
    assert grouping.confidences.min() > 0.8


def test_the_number_may_be_given_or_bounded() -> None:
    vectors = spoken_by([0, 1, 2] * 10)
    seconds = np.full(30, 3.0)
    assert len(find_voices(vectors, seconds, number=2)) == 2
    assert len(find_voices(vectors, seconds, number=None, most=2)) == 2
    short = np.array([3.0] * 20 + [0.5] * 10)
    others = np.vstack([spoken_by([0, 1] * 10 + [2, 3] * 5)])
    assert len(find_voices(others, short, number=None)) == 2
    assert len(find_voices(others, short, number=None, least=4, most=6)) == 4
    assert len(find_voices(vectors, seconds, number=None, least=2, most=6)) == 3


def test_what_one_voice_rarely_sounds_like_is_no_other_voice() -> None:
    vectors = spoken_by([0] * 600 + [1])
    assert len(find_voices(vectors, np.full(601, 3.0), number=None)) == 1
    assert len(find_voices(vectors[-40:], np.full(40, 3.0), number=None)) == 2


def test_more_voices_than_can_be_found_are_taken_from_short_pieces() -> None:
    vectors = spoken_by([0] * 8 + [1, 2])
    seconds = np.array([3.0] * 8 + [0.5, 0.5])
    voices = find_voices(vectors, seconds, number=3)
    assert sorted((voices @ vectors[[0, 8, 9]].T).argmax(axis=1)) == [0, 1, 2]


def test_one_voice_is_not_taken_apart_because_more_were_asked_for() -> None:
    assert len(find_voices(spoken_by([0] * 20, noise=0.4), np.full(20, 3.0), number=4)) == 1


def test_very_many_pieces_are_clustered_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    said = [(place // 7) % 4 for place in range(300)]
    monkeypatch.setattr(clustering, "_AT_ONCE", 32)
    sizes: list[int] = []
    whole = agglomerate

    def watched(means: Vectors, *args: object, **options: object) -> object:
        sizes.append(len(means))
        return whole(means, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(clustering, "agglomerate", watched)
    grouping = group(pieces_of(spoken_by(said)))
    assert max(sizes) <= 32
    np.testing.assert_array_equal(grouping.labels, said)


def test_a_short_piece_follows_its_strand() -> None:
    vectors = spoken_by([0, 1] * 6 + [1, 1])
    first, second = vectors[0:12:2].mean(axis=0), vectors[1:12:2].mean(axis=0)
    vectors[-1] = 0.52 * first + 0.48 * second
    vectors[-1] /= np.linalg.norm(vectors[-1])
    for strand, voice in ((20, 1), (21, 0)):
        *others, last = pieces_of(vectors, strands=[*range(12), 20, strand])
        assert group([*others, replace(last, seconds=0.5)]).labels[-1] == voice


def test_voices_that_speak_at_the_same_time_differ() -> None:
    pieces = pieces_of(spoken_by([0, 1] * 6 + [0, 0]))
    *others, one, two = pieces
    labels = group([*others, one, replace(two, start=one.start + 20, end=one.end, seconds=0.0)]).labels
    assert (labels[-2], labels[-1]) == (0, 1)


def test_pieces_too_short_to_hear_are_like_their_neighbours() -> None:
    pieces = pieces_of(spoken_by([0] * 6 + [1] * 6))
    short = VoicePiece(strand=99, start=pieces[8].start, end=pieces[8].start + 5, seconds=0.0, vector=None)
    grouping = group([*pieces, short])
    assert grouping.labels[-1] == 1
    assert grouping.confidences[-1] < grouping.confidences[:-1].min()


def test_nothing_heard() -> None:
    assert len(group([]).labels) == 0
    silent = VoicePiece(strand=0, start=0, end=5, seconds=0.0, vector=None)
    assert group([silent]).labels.tolist() == [0]
    assert mean_voice([silent], np.array([True])) is None


def test_labels_are_numbered_by_first_appearance() -> None:
    merges = agglomerate(spoken_by([0, 1, 0, 2, 1, 2]), np.ones(6), least=0.5)
    assert labels_after(6, merges).tolist() == [0, 1, 0, 2, 1, 2]


def test_a_piece_with_another_voice_than_its_passage() -> None:
    """As where the segmentation does not hear that somebody else goes on."""
    vectors = spoken_by([0] * 6 + [1] * 6 + [0, 1])
    *others, first, second = pieces_of(vectors, strands=[*range(12), 20, 20])
    mixed = vectors[-2] + vectors[-1]
    passage = replace(first, end=second.end, vector=(mixed / np.linalg.norm(mixed)).astype(np.float32))
    assert labelling.group([*others, first, second], [*others, passage]).labels[-2:].tolist() == [0, 1]


def alike(voices: list[int], *, likeness: float, noise: float = 0.6, seed: int = 0) -> Vectors:
    """As `spoken_by`, with voices that are so alike: as pieces of one voice may be."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(192, 2 + max(voices))))[0].T
    vectors = np.stack([np.sqrt(likeness) * axes[0] + np.sqrt(1 - likeness) * axes[1 + voice] for voice in voices])
    vectors = vectors + noise / np.sqrt(192) * rng.normal(size=vectors.shape)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@pytest.mark.parametrize("number", [1, 2, 4])
def test_voices_that_are_alike_but_differ_clearly(number: int) -> None:
    said = [place % number for place in range(48)]
    vectors = alike(said, likeness=0.6)
    assert len(find_voices(vectors, np.full(48, 1.5), number=None)) == 1
    np.testing.assert_array_equal(group(pieces_of(vectors, seconds=1.5)).labels, said)
    assert len(set(group(pieces_of(vectors, seconds=1.5), most=3).labels)) == min(number, 3)
    assert len(set(group(pieces_of(vectors, seconds=1.5), number=2).labels)) == min(number, 2)


@pytest.mark.parametrize(("options", "times"), [({}, 2), ({"number": 2}, 2), ({"number": 1}, 3)])
def test_pieces_are_compared_again_only_with_other_voices(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, int], times: int
) -> None:
    """And at last with how the voices sound in all their pieces."""
    scores = MagicMock(side_effect=labelling._scores)
    monkeypatch.setattr(labelling, "_scores", scores)
    assert set(group(pieces_of(spoken_by([0, 1] * 10)), **options).labels) == set(range(options.get("number", 2)))
    assert scores.call_count == times


def test_one_voice_that_varies_is_one_voice() -> None:
    for seed in range(5):
        vectors = alike([0] * 200, likeness=0.5, noise=0.9, seed=seed)
        (whole,) = split(vectors, np.full(200, 1.5), 0.15)
        assert len(whole) == 200


def test_one_person_in_two_rooms_is_one_voice() -> None:
    """Though the rooms sound as different as two people who are alike."""
    for rooms in ([0] * 40 + [1] * 40, [0] * 30 + [1] * 20 + [0] * 30):
        (whole,) = split(alike(rooms, likeness=0.6), np.full(80, 1.5), 0.15)
        assert len(whole) == 80


def test_a_sentence_that_is_repeated_is_no_other_voice() -> None:
    vectors = alike([0] * 400, likeness=0.5, noise=0.9)
    vectors = np.vstack([vectors, *[vectors[:8]] * 4])
    assert len(split(vectors, np.full(len(vectors), 1.5), 0.15)) == 1


def test_few_pieces_are_no_voice_that_is_alike() -> None:
    for count, voices in ((5, 1), (6, 2)):
        found = split(alike([0, 1] * count + [0] * (20 - count), likeness=0.6), np.full(20 + count, 1.5), 0.15)
        assert [len(places) for places in found] == [20, count][:voices] or voices == 1
        assert len(found) == voices


def test_very_many_pieces_are_split_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "_AT_ONCE", 32)
    said = np.array([(place // 7) % 3 for place in range(300)])
    found = split(alike(said.tolist(), likeness=0.6), np.full(300, 1.5), 0.15)
    assert sorted(said[places].tolist() for places in found) == [
        [voice] * int((said == voice).sum()) for voice in range(3)
    ]
