"""wav2vec 2.0 as a whole: the loss against literal loops, leaks, schedules, recipes, and the sampling of XLS-R."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contrastive_runs import SIZES, configured
from torch import Tensor

from mtasr.data.mixture import Mixture
from mtasr.data.reading import blocks_of
from mtasr.data.records import Record, write_records
from mtasr.errors import UsageError
from mtasr.networks.wave import WAVE_PRESETS, WaveConfig, WaveEncoder
from mtasr.networks.wave_config import convolutions
from mtasr.pretraining.audio.languages import corpus_weights
from mtasr.pretraining.audio.masking import span_mask
from mtasr.pretraining.heads.contrastive import other_frames
from mtasr.pretraining.wav2vec2 import Contrast, Wav2Vec2Network, Wav2Vec2Objective, Wav2Vec2Options
from mtasr.training.config import build, make_config

SMALL = replace(WAVE_PRESETS["tiny"], convolutions=convolutions(8), normalises=False, dropout=0.0, **SIZES["wav2vec2"])
OPTIONS = Wav2Vec2Options(codes=6, code_width=8, compared_width=8, negatives=5, span=4)


def network(config: WaveConfig = SMALL, options: Wav2Vec2Options = OPTIONS) -> Wav2Vec2Network:
    torch.manual_seed(0)
    return Wav2Vec2Network(WaveEncoder(config), options)


def noise(rows: int = 2, samples: int = 12_800) -> Tensor:
    return torch.randn(rows, samples, generator=torch.Generator().manual_seed(1)) * 0.1


def test_the_loss_equals_a_literal_statement_in_float64(recordings: Path, tmp_path: Path) -> None:
    objective = Wav2Vec2Objective(configured("wav2vec2", tmp_path, recordings, "objective_options.codes=3"))
    options = objective.options
    torch.manual_seed(0)
    model = objective.network().double().eval()
    batch = objective.batch(objective.epoch(0)[0], np.random.default_rng(2))
    batch = replace(batch, audio=batch.audio.astype(np.float64))
    with torch.no_grad():
        found = float(objective.loss(model, batch))
        features = model.encoder.convolved(torch.from_numpy(batch.audio))
        normed = model.encoder.features_norm(features)
        states = model.encoder.contextualised(features, torch.from_numpy(batch.mask))[-1]
        total, means = 0.0, torch.zeros(2, 3, dtype=torch.float64)
        for row in range(len(features)):
            places = [place for place, masked in enumerate(batch.mask[row]) if masked]
            scores = [model.quantiser.scores(normed[row, place]).view(2, 3) for place in places]
            chosen = [tuple(int(each) for each in score.argmax(dim=1)) for score in scores]
            vectors = [
                torch.cat([model.quantiser.codes[book, code] for book, code in enumerate(each)]) for each in chosen
            ]
            targets = [model.of_codes(each) for each in vectors]
            for index, place in enumerate(places):
                context = model.of_states(states[row, place])
                means += scores[index].softmax(dim=1) / batch.targets

                def similar(other: int, context: Tensor = context, targets: list[Tensor] = targets) -> float:
                    return float(context @ targets[other] / context.norm() / targets[other].norm()) / 0.1

                others = [each for each in batch.negatives[row, index] if chosen[each] != chosen[index]]
                below = math.exp(similar(index)) + sum(math.exp(similar(each)) for each in others)
                total -= math.log(math.exp(similar(index)) / below)
        used = sum(math.exp(-sum(p * math.log(p + 1e-7) for p in row)) for row in means.tolist())
        power = sum(float(each) ** 2 for each in features.flatten()) / features.numel()
    expected = total + batch.targets * (options.diversity * (6 - used) / 6 + options.penalty * power)
    assert found == pytest.approx(expected, rel=1e-9)


def test_convolutions_learn_at_a_rate_of_their_own() -> None:
    audio, mask, negatives = _inputs(noise())

    def gradients(rate: float) -> dict[str, Tensor]:
        model = network(options=replace(OPTIONS, convolution_rate=rate, target_dropout=0.0)).double().eval()
        made = model(audio.double(), mask, negatives, 1.0)
        (made.logits.clamp(min=-50).logsumexp(dim=2).sum() + made.power).backward()
        return {name: each.grad for name, each in model.named_parameters() if each.grad is not None}

    one, tenth = gradients(1.0), gradients(0.1)
    for name, gradient in one.items():
        factor = 0.1 if "convolutions" in name else 1.0
        torch.testing.assert_close(tenth[name], gradient * factor, rtol=1e-9, atol=1e-12)
    assert any("convolutions" in name for name in one)


def _inputs(audio: Tensor, config: WaveConfig = SMALL) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(3)
    mask = span_mask(len(audio), config.frames(audio.shape[1]), 0.5, 6, 2, rng)
    return audio, torch.from_numpy(mask), torch.from_numpy(other_frames(len(audio), int(mask[0].sum()), 5, rng))


def only_masked(mask: Tensor, config: WaveConfig, samples: int) -> Tensor:
    """The samples (B, N) from which no frame is made that is not masked, but a masked one is."""
    heard = torch.zeros(len(mask), samples, dtype=torch.bool)
    for row, place in (~mask).nonzero().tolist():
        heard[row, place * config.hop : place * config.hop + config.field] = True
    end = (mask.shape[1] - 1) * config.hop + config.field
    heard[:, end:] = True  # belongs to no frame
    return ~heard


def _leaks(model: Wav2Vec2Network, config: WaveConfig) -> tuple[float, bool]:
    """With targets detached: the largest gradient of the loss for samples that only masked frames are made from, and
    whether predictions change if these samples are others.
    """
    audio, mask, negatives = _inputs(noise(), config)
    hidden = only_masked(mask, config, audio.shape[1])
    assert hidden.any(dim=1).all()
    predicted: list[Tensor] = []
    handles = [
        model.of_codes.register_forward_hook(lambda module, inputs, output: output.detach()),
        model.of_states.register_forward_hook(lambda module, inputs, output: predicted.append(output)),
    ]
    model.eval()
    audio.requires_grad_(True)
    made: Contrast = model(audio, mask, negatives, 1.0)
    torch.nn.functional.cross_entropy(
        made.logits.flatten(0, 1), torch.zeros(made.logits[..., 0].numel()).long()
    ).backward()
    replaced = torch.where(hidden, 0.05 * torch.ones(()), audio.detach())
    model(replaced, mask, negatives, 1.0)
    for handle in handles:
        handle.remove()
    before, after = predicted
    assert audio.grad is not None
    assert audio.grad[~hidden].abs().max() > 0
    return float(audio.grad[hidden].abs().max()), not torch.equal(before, after)


def test_no_prediction_hears_what_is_masked() -> None:
    assert _leaks(network(), SMALL) == (0.0, False)


class _Unmasked(WaveEncoder):
    def contextualised(self, features: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        return super().contextualised(features)


def _with_group_norm(config: WaveConfig) -> WaveEncoder:
    return WaveEncoder(replace(config, convolution_norm="group"))


def _with_normalised_audio(config: WaveConfig) -> WaveEncoder:
    return WaveEncoder(replace(config, normalises=True))


@pytest.mark.parametrize("planted", [_Unmasked, _with_group_norm, _with_normalised_audio])
def test_planted_leaks_are_found(planted: Callable[[WaveConfig], WaveEncoder]) -> None:
    torch.manual_seed(0)
    gradient, changed = _leaks(Wav2Vec2Network(planted(SMALL), OPTIONS), SMALL)
    assert gradient > 0
    assert changed


def test_the_temperature_falls_with_the_steps_of_the_run(recordings: Path, tmp_path: Path) -> None:
    objective = Wav2Vec2Objective(configured("wav2vec2", tmp_path, recordings, steps=100))
    model = objective.network()
    seen: list[float] = []
    model.quantiser.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1]))
    batch = objective.batch(objective.epoch(0)[0], np.random.default_rng(0))
    for step in (1, 36, 71, 72, 100):
        objective.loss(model, replace(batch, step=step))
    assert seen == pytest.approx([2.0, 1.0, 0.5, 0.5, 0.5])
    published = Wav2Vec2Options(gumbel_decay=0.999995)
    assert published.temperature(0, 400_000) == 2
    assert published.temperature(277_259, 400_000) == 0.5


def test_figures_say_how_many_codes_live(recordings: Path, tmp_path: Path) -> None:
    objective = Wav2Vec2Objective(configured("wav2vec2", tmp_path, recordings, "objective_options.codes=5"))
    torch.manual_seed(0)
    model = objective.network()
    figures = objective.evaluate(model, {})
    assert figures is not None
    assert figures == objective.evaluate(model, {})
    assert figures["error"] == pytest.approx(1 - figures["accuracy"])
    assert 0 <= figures["accuracy"] <= 1
    for book in ("1", "2"):
        assert 1 < figures[f"code_perplexity_{book}"] <= 5
    with torch.no_grad():
        model.quantiser.scores.weight.zero_()  # each frame gets the first code
    collapsed = objective.evaluate(model, {})
    assert collapsed is not None
    assert collapsed["code_perplexity_1"] == collapsed["code_perplexity_2"] == pytest.approx(1)
    assert (collapsed["contrastive_loss"], collapsed["error"]) == (0, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["objective_options.preset=cpc"], "preset must be one of wav2vec2-base, .*, not 'cpc'"),
        (["objective_options.preset=huge"], "not 'huge'"),
        (["objective_options.sizes={width: 33}"], "not divisible"),
        (["objective_options.sizes={hop: 3}"], "cannot set 'hop'"),
        (["objective_options.negatives=0"], "negatives cannot be 0"),
        (["objective_options.code_width=7"], "code_width cannot be 7"),
        (["objective_options.gumbel_first=0.1"], "gumbel_first cannot be 0.1"),
        (["objective_options.span=1", "objective_options.least_spans=1"], "least_spans cannot be 1"),
        (["objective_options.span=80"], "too few for a mask of 80"),
        (["objective_options.balance_corpora=true"], "needs data.temperature above 1"),
        (["objective_options.nagatives=3"], "did you mean objective_options.negatives"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    settings: list[str], message: str, recordings: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        Wav2Vec2Objective(configured("wav2vec2", tmp_path, recordings, *settings))


def test_the_network_of_the_published_base_has_its_parameters() -> None:
    """As many as transformers' Wav2Vec2ForPreTraining."""
    options = build(Wav2Vec2Options, Wav2Vec2Objective.presets["wav2vec2-base"]["objective_options"])
    with torch.device("meta"):
        model = Wav2Vec2Network(WaveEncoder(WAVE_PRESETS[options.preset]), options)
    assert sum(each.numel() for each in model.parameters()) == 95_044_608


@pytest.mark.parametrize("name", Wav2Vec2Objective.presets)
def test_recipes_are_configurations(name: str, tmp_path: Path) -> None:
    recipe: dict[str, Any] = dict(Wav2Vec2Objective.presets[name])
    sizes = tmp_path / "talks.jsonl"
    write_records([_record("one", "en", 30.0)], sizes)
    recipe["data"] = recipe["data"] | {"train": str(sizes)}
    config = make_config(recipe | {"objective": "wav2vec2", "output": str(tmp_path / "run")})
    objective = Wav2Vec2Objective(config)
    assert objective.options.preset == name
    assert objective.epoch(0)


def _record(name: str, language: str, seconds: float) -> Record:
    return Record(id=name, audio=f"/data/{name}.wav", duration=seconds, language=language, captions=())


def test_languages_and_corpora_are_drawn_as_their_hours_to_a_power_ask(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    hours = {"read": {"en": 40, "fr": 10, "it": 2.5}, "radio": {"en": 4, "sw": 1}}
    for corpus, languages in hours.items():
        records = []
        for language, wanted in languages.items():
            seconds = rng.uniform(4, 60, round(wanted * 3600 / 32))
            seconds *= wanted * 3600 / seconds.sum()
            records += [_record(f"{corpus}-{language}-{i}", language, float(x)) for i, x in enumerate(seconds)]
        write_records(records, tmp_path / f"{corpus}.jsonl")
    config = configured(
        "wav2vec2", tmp_path / "run", tmp_path, "data.temperature=2", "objective_options.balance_corpora=true",
        f"data.train=[{tmp_path / 'read.jsonl'}, {tmp_path / 'radio.jsonl'}]", "data.evaluation=[]",
        "data.pool_hours=8", "data.longest=15", "data.batch_seconds=60",
    )  # fmt: skip
    objective = Wav2Vec2Objective(config)
    drawn: Counter[tuple[str, str | None]] = Counter()
    for number in range(6):
        for batch in objective.epoch(number):
            for piece in batch:
                drawn[Path(piece.audio).stem.split("-")[0], piece.language] += piece.samples
    expected = {}
    corpora = {corpus: math.sqrt(sum(languages.values())) for corpus, languages in hours.items()}
    for corpus, languages in hours.items():
        roots = {language: math.sqrt(each) for language, each in languages.items()}
        for language, root in roots.items():
            expected[corpus, language] = corpora[corpus] / sum(corpora.values()) * root / sum(roots.values())
    total = drawn.total()
    for key, share in expected.items():
        assert drawn[key] / total == pytest.approx(share, abs=0.02)


def test_the_weights_of_corpora_are_powers_of_their_hours(tmp_path: Path) -> None:
    write_records([_record("a", "en", 900.0), _record("b", "fr", 700.0)], tmp_path / "many.jsonl")
    write_records([_record("c", "en", 100.0)], tmp_path / "few.jsonl")
    sources = [list(blocks_of(tmp_path / name)) for name in ("many.jsonl", "few.jsonl")]
    assert corpus_weights(sources, 2.0) == pytest.approx((40, 10))
    mixture = Mixture(sources, pool_seconds=1e6, weights=corpus_weights(sources, 2.0), temperature=2.0)
    assert len(mixture.pool(0)) == 3
