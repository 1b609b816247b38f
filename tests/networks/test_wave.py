"""The network that reads the waveform: sizes, frames, positions, masks, and what must not depend on what."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from mtasr.errors import ModelError
from mtasr.networks.speech_encoder import SpeechEncoder
from mtasr.networks.wave import WAVE_PRESETS, WaveConfig, WaveEncoder
from mtasr.networks.wave_blocks import BiasGate, PositionConvolution, RelativeBias
from mtasr.networks.wave_config import Convolution, convolutions

#: A few milliseconds each.
SMALL = WaveConfig(
    convolutions=convolutions(16), width=32, layers=2, heads=4, feed_forward=64, position_kernel=16, position_groups=4
)


def made(config: WaveConfig, seed: int = 0) -> WaveEncoder:
    torch.manual_seed(seed)
    return WaveEncoder(config).eval()


def noise(rows: int = 2, samples: int = 6_400, seed: int = 1) -> Tensor:
    return torch.rand(rows, samples, generator=torch.Generator().manual_seed(seed)) - 0.5


@pytest.mark.parametrize(
    ("preset", "tensors", "numbers"),
    [
        ("wav2vec2-base", 211, 94_371_712),
        ("hubert-base", 211, 94_371_712),
        ("wavlm-base", 248, 94_381_936),
        ("wav2vec2-large", 422, 315_438_720),
        ("xls-r-300m", 422, 315_438_720),
        ("xls-r-1b", 806, 962_497_408),
        ("hubert-large", 415, 315_435_136),
        ("wavlm-large", 488, 315_453_120),
    ],
)
def test_presets_have_the_published_sizes(preset: str, tensors: int, numbers: int) -> None:
    with torch.device("meta"):
        state = WaveEncoder(WAVE_PRESETS[preset]).state_dict()
    assert (len(state), sum(each.numel() for each in state.values())) == (tensors, numbers)


@pytest.mark.parametrize("preset", ["tiny", "tiny-wavlm", "tiny-cpc"])
def test_states_are_those_before_each_layer_and_the_output(preset: str) -> None:
    encoder: SpeechEncoder = made(WAVE_PRESETS[preset])
    with torch.no_grad():
        states = encoder.states(noise())
    frames = 6_400 // 320 - 1 if preset != "tiny-cpc" else 6_400 // 160
    assert [each.shape for each in states] == [(2, frames, encoder.width)] * (encoder.layers + 1)
    assert all(torch.isfinite(each).all() for each in states)


@pytest.mark.parametrize("samples", [400, 401, 719, 720, 16_000, 16_079, 16_080])
def test_frames_of_wav2vec2(samples: int) -> None:
    """floor((N - 400) / 320) + 1, as windows of 25 ms every 20 ms have it."""
    encoder = made(SMALL)
    assert encoder.frames(samples) == (samples - 400) // 320 + 1
    assert encoder.convolved(noise(1, samples)).shape[1] == encoder.frames(samples)


def test_the_middle_of_the_first_frame() -> None:
    assert (SMALL.field, SMALL.hop) == (400, 320)
    assert made(SMALL).offset_seconds == 0.0125
    cpc = WAVE_PRESETS["cpc"]
    assert (cpc.field, cpc.hop, cpc.frame_seconds) == (465, 160, 0.01)
    # The zeros before the audio: 3 + 2 * 5 + (1 + 2 + 4) * 20.
    assert cpc.centre == 465 / 2 - (3 + 2 * 5 + 1 * 20 + 1 * 40 + 1 * 80)


@pytest.mark.parametrize("config", [replace(SMALL, convolution_norm="layer"), WAVE_PRESETS["tiny-cpc"]])
def test_a_frame_hears_its_field_alone(config: WaveConfig) -> None:
    """Where convolutions do not normalise over time. The gradient shows which samples a frame depends on."""
    encoder = made(config)
    audio = noise(1, 6_400).requires_grad_()
    frame = 9
    encoder.convolved(audio)[0, frame].sum().backward()  # type: ignore[no-untyped-call]
    heard = audio.grad[0].nonzero().flatten()
    first = frame * config.hop + config.centre - config.field / 2
    assert (heard.min(), heard.max() + 1) == (first, first + config.field)


def test_group_norm_hears_everything() -> None:
    audio = noise(1).requires_grad_()
    made(SMALL).convolved(audio)[0, 9].sum().backward()  # type: ignore[no-untyped-call]
    assert audio.grad[0].count_nonzero() > 6_000


def test_recurrent_layers_hear_no_later_frame() -> None:
    encoder = made(WAVE_PRESETS["tiny-cpc"])
    features = encoder.convolved(noise(1)).detach().requires_grad_()
    encoder.contextualised(features)[-1][0, 12].sum().backward()  # type: ignore[no-untyped-call]
    assert features.grad[0, :13].any(dim=1).all()
    assert not features.grad[0, 13:].any()


def test_rows_do_not_hear_each_other() -> None:
    encoder = made(replace(WAVE_PRESETS["tiny-wavlm"], convolution_norm="group"))
    audio = noise(3)
    with torch.no_grad():
        together = encoder.states(audio)
        alone = [encoder.states(row[None]) for row in audio]
    for layer, states in enumerate(together):
        torch.testing.assert_close(states, torch.cat([each[layer] for each in alone]), atol=1e-5, rtol=1e-5)


def test_masked_frames_are_replaced_by_one_vector() -> None:
    encoder = made(SMALL)
    features = encoder.convolved(noise()).detach()
    mask = torch.zeros(features.shape[:2], dtype=torch.bool)
    mask[0, 3:7] = mask[1, 0] = True
    other = torch.where(mask[:, :, None], torch.randn_like(features), features)
    with torch.no_grad():
        masked, same = encoder.contextualised(features, mask), encoder.contextualised(other, mask)
        unmasked = encoder.contextualised(features)
    assert all(torch.equal(a, b) for a, b in zip(masked, same, strict=True))
    assert not torch.equal(masked[-1], unmasked[-1])
    everything = encoder.contextualised(features, torch.ones_like(mask))
    assert torch.equal(everything[-1][0], everything[-1][1])  # nothing is left of the audio


def test_the_vector_of_masked_frames_is_drawn_between_0_and_1() -> None:
    masked = made(replace(SMALL, width=512)).masked
    assert masked is not None
    assert 0 <= masked.min() < 0.05
    assert 0.95 < masked.max() <= 1


def test_recurrent_layers_mask_nothing() -> None:
    encoder = made(WAVE_PRESETS["tiny-cpc"])
    assert encoder.masked is None
    with pytest.raises(ModelError, match="recurrent"):
        encoder.contextualised(torch.zeros(1, 4, 64), torch.zeros(1, 4, dtype=torch.bool))


def test_normalised_audio_may_be_loud_or_faint() -> None:
    encoder, audio = made(replace(SMALL, normalises=True)), noise()
    with torch.no_grad():
        torch.testing.assert_close(encoder.states(audio)[-1], encoder.states(audio * 0.02 + 0.3)[-1], atol=1e-3, rtol=0)
        assert torch.isfinite(encoder.states(torch.zeros(1, 800))[-1]).all()


def test_position_weights_are_normalised_for_each_tap() -> None:
    """Against torch's own weight norm, over the channels of each tap."""
    torch.manual_seed(0)
    ours = PositionConvolution(SMALL)
    with torch.no_grad():
        ours.gain.uniform_(0.5, 2)
        ours.bias.normal_()
    theirs = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(32, 32, 16, padding=8, groups=4), dim=2)
    names = {"original0": ours.gain, "original1": ours.direction}
    theirs.load_state_dict(
        {f"parametrizations.weight.{name}": each for name, each in names.items()} | {"bias": ours.bias}
    )
    x = torch.randn(2, 10, 32)
    expected = torch.nn.functional.gelu(theirs(x.transpose(1, 2))[:, :, :10]).transpose(1, 2)
    torch.testing.assert_close(ours(x), expected, atol=1e-6, rtol=1e-5)


def test_an_odd_position_kernel_drops_no_frame() -> None:
    encoder = made(replace(SMALL, position_kernel=15))
    assert encoder.states(noise())[-1].shape == (2, 19, 32)


def test_buckets_of_relative_distances() -> None:
    """0 to 79 exactly, then by logarithm up to 800; later frames 160 further on (WavLM, section III-B)."""
    bias = RelativeBias(replace(SMALL, relative_buckets=320))
    row, column = bias.buckets(1_000)[0], bias.buckets(1_000)[:, 0]
    assert row[0] == 0
    for distance in (1, 2, 79):
        assert (column[distance], row[distance]) == (distance, 160 + distance)
    for distance in (80, 81, 100, 253, 500, 799):
        bucket = 80 + math.floor(math.log(distance / 80) / math.log(10) * 80)
        assert (column[distance], row[distance]) == (bucket, 160 + bucket)
    for distance in (800, 801, 999):
        assert (column[distance], row[distance]) == (159, 319)
    assert bias(5).shape == (4, 5, 5)


def test_the_gate_of_the_relative_bias() -> None:
    """The bias times a (b s - 1) + 2, where a and b are sigmoids of sums of four outputs each."""
    torch.manual_seed(0)
    config = replace(SMALL, relative_buckets=320)
    gate = BiasGate(config)
    with torch.no_grad():
        gate.scale.copy_(torch.tensor([1.0, 0.5, 2.0, -1.0]).view(1, 4, 1, 1))
    split, bias = torch.randn(2, 4, 3, 8), torch.randn(4, 3, 3)
    got = gate(split, bias)
    for row in range(2):
        for head in range(4):
            for query in range(3):
                outputs = gate.gates.weight @ split[row, head, query] + gate.gates.bias
                a, b = outputs[:4].sum().sigmoid(), outputs[4:].sum().sigmoid()
                expected = (a * (b * gate.scale[0, head] - 1) + 2) * bias[head, query]
                torch.testing.assert_close(got[row, head, query], expected.flatten())


def test_layers_are_dropped_in_training_only() -> None:
    encoder, audio = made(replace(SMALL, layerdrop=0.5, layers=8)), noise()
    with torch.no_grad():
        states = encoder.states(audio)
        assert all(not torch.equal(before, after) for before, after in pairwise(states))
        encoder.train()
        torch.manual_seed(3)
        dropped = [
            torch.equal(before, after)
            for states in (encoder.states(audio) for _ in range(20))
            for before, after in pairwise(states)
        ]
    assert 50 < sum(dropped) < 110  # of 160


def test_a_dropped_layer_has_gradients_of_zero() -> None:
    encoder = made(replace(SMALL, layerdrop=0.999)).train()
    encoder.states(noise())[-1].sum().backward()  # type: ignore[no-untyped-call]
    assert all(each.grad is not None and not each.grad.any() for each in encoder.context.blocks.parameters())


def test_dropout_is_off_outside_training() -> None:
    encoder, audio = made(replace(WAVE_PRESETS["tiny-wavlm"], dropout=0.5)), noise()
    with torch.no_grad():
        assert torch.equal(encoder.states(audio)[-1], encoder.states(audio)[-1])
        encoder.train()
        assert not torch.equal(encoder.states(audio)[-1], encoder.states(audio)[-1])


@pytest.mark.parametrize("preset", ["tiny", "tiny-wavlm", "tiny-cpc"])
def test_bfloat16_by_autocast(preset: str) -> None:
    encoder = made(WAVE_PRESETS[preset])
    with torch.no_grad():
        exact = encoder.states(noise())[-1]
        with torch.autocast("cpu", torch.bfloat16):
            rounded = encoder.states(noise())[-1]
    assert (rounded.float() - exact).norm() < 0.05 * exact.norm()
    if preset == "tiny-cpc":
        assert rounded.dtype == torch.float32, "recurrent layers compute in the precision of their weights"


def test_every_weight_learns() -> None:
    """A gradient reaches each of them, where frames are masked."""
    for preset in ("tiny", "tiny-wavlm", "tiny-cpc"):
        encoder = made(WAVE_PRESETS[preset])
        features = encoder.convolved(noise())
        mask = None if encoder.masked is None else torch.arange(features.shape[1]).expand(2, -1) % 3 == 0
        (encoder.contextualised(features, mask)[-1] ** 3).sum().backward()
        # The bias of keys moves all scores of a query alike, so that its gradient is but rounding.
        still = [name for name, each in encoder.named_parameters() if each.grad is None or not each.grad.any()]
        assert still == []


@pytest.mark.parametrize("shape", [(399,), (1, 399), (1, 0), (1, 1, 4_000)])
def test_audio_of_a_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="gives no frames"):
        made(SMALL).states(torch.zeros(shape))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"convolutions": ()}, "there are no convolutions"),
        ({"convolutions": (Convolution(0, 3, 1),)}, "convolution 0 is"),
        ({"convolutions": (Convolution(8, 3, 1, -1),)}, "convolution 0 is"),
        ({"convolution_norm": "batch"}, "convolution_norm is 'batch'"),
        ({"activation": "swish"}, "activation is 'swish'"),
        ({"recurrent": "rnn"}, "recurrent is 'rnn'"),
        ({"width": 0}, "width is 0"),
        ({"heads": 5}, "not divisible by heads 5"),
        ({"position_groups": 7}, "not divisible by position_groups 7"),
        ({"feed_forward": 0}, "feed_forward is 0"),
        ({"relative_buckets": 6}, "relative_buckets is 6"),
        ({"relative_buckets": 320, "relative_distance": 80}, "relative_distance is 80"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"layerdrop": float("nan")}, "layerdrop is nan"),
        ({"recurrent": "gru"}, "width 32 follow 16 channels"),
        ({"recurrent": "gru"}, "norms over time"),
        ({"recurrent": "gru", "convolution_norm": "layer", "normalises": True}, "norms over time"),
        ({"convolutions": (Convolution(8, 10, 5, 3),)}, "zeros around the audio"),
        ({"recurrent": "gru", "width": 16, "layerdrop": 0.1}, "cannot be left out"),
        ({"recurrent": "gru", "width": 16, "relative_buckets": 4}, "no relative positions"),
    ],
)
def test_impossible_configurations_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        WaveEncoder(replace(SMALL, **changes))  # type: ignore[arg-type]
