"""Adapters and prompts beside a frozen network: they begin as nothing, and only they are trained."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtasr.errors import ModelError
from mtasr.networks.adapters import Adapters, Bottleneck, Prefix, PromptedEmbedding, adapt, adapters_of
from mtasr.networks.dimensions import EncoderDimensions
from mtasr.networks.wave import WAVE_PRESETS, WaveEncoder
from mtasr.networks.whisper import ModelDimensions, TokenEmbedding, Whisper
from mtasr.networks.whisper_encoder import WhisperEncoder

DIMS = ModelDimensions(
    n_mels=80, n_audio_ctx=150, n_audio_state=16, n_audio_head=2, n_audio_layer=2,
    n_vocab=50, n_text_ctx=32, n_text_state=16, n_text_head=4, n_text_layer=2,
)  # fmt: skip
KINDS = ("houlsby", "prefix")


def recogniser() -> Whisper:
    torch.manual_seed(0)
    return Whisper(DIMS).eval().requires_grad_(False)


def heard(model: Whisper) -> Tensor:
    """Logits of the whole text at once, and of its last token through the cache, after the same audio."""
    torch.manual_seed(1)
    mel, tokens = torch.randn(2, 80, 60), torch.randint(0, DIMS.n_vocab, (2, 6))
    audio = model.encode(mel)
    first = model.decode(tokens[:, :5], audio, want_attention=True)
    last = model.decode(tokens[:, 5:], audio, first.cache).logits
    return torch.cat([model.predict(tokens, audio), last], dim=1)


def encoders() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    size = EncoderDimensions(n_mels=80, n_audio_ctx=150, n_audio_state=16, n_audio_head=2, n_audio_layer=2)
    wave = WaveEncoder(WAVE_PRESETS["tiny"])
    return {"whisper": WhisperEncoder(size).eval(), "wave": wave.eval()}


def disturb(adapters: nn.Module) -> None:
    torch.manual_seed(2)
    with torch.no_grad():
        for weight in adapters.parameters():
            weight.add_(0.1 * torch.randn_like(weight))


@pytest.mark.parametrize("kind", KINDS)
def test_new_adapters_change_nothing_to_the_bit(kind: str) -> None:
    model = recogniser()
    before = heard(model)
    adapt(model, Adapters(model, kind, 4))  # type: ignore[arg-type]
    assert heard(model).equal(before)
    disturb(model.adapters)
    assert (heard(model) - before).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_the_cache_gives_what_the_whole_text_gives(kind: str) -> None:
    model = recogniser()
    adapt(model, Adapters(model, kind, 4))  # type: ignore[arg-type]
    disturb(model.adapters)
    logits = heard(model)
    assert logits[:, 5].allclose(logits[:, 6], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_adapters_are_trained(kind: str) -> None:
    model = recogniser()
    adapt(model, Adapters(model, kind, 4))  # type: ignore[arg-type]
    disturb(model.adapters)
    heard(model).square().sum().backward()
    trained = {name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert trained == {name for name, _ in model.named_parameters() if name.startswith("adapters.")}


def test_there_is_one_after_each_part_of_a_block() -> None:
    model = recogniser()
    names = {name.replace("/", ".") for name in Adapters(model, "houlsby", 3).parts}
    encoder = {f"encoder.blocks.{n}.{part}" for n in range(2) for part in ("attention.out", "mlp.down")}
    parts = ("attention.out", "cross_attention.out", "mlp.down")
    assert names == encoder | {f"decoder.blocks.{n}.{part}" for n in range(2) for part in parts}
    prefixes = {name.replace("/", ".") for name in Adapters(model, "prefix", 3).parts}
    assert prefixes == {f"{side}.blocks.{n}.attention" for side in ("encoder", "decoder") for n in range(2)}
    sizes = [sum(each.numel() for each in Adapters(model, kind, 3).parameters()) for kind in KINDS]  # type: ignore[arg-type]
    assert sizes == [10 * (2 * 3 * 16 + 3 + 16), 2 * (2 * 3 * 16 + 2) + 2 * (2 * 3 * 16 + 4)]


def test_a_bottleneck_as_the_paper_states_it() -> None:
    part = Bottleneck(8, 2)
    disturb(part)
    x = torch.randn(1, 3, 8)
    for n in range(3):
        inner = [F.gelu(part.down.weight[k] @ x[0, n] + part.down.bias[k]) for k in range(2)]
        expected = x[0, n] + part.up.weight @ torch.stack(inner) + part.up.bias
        assert part(x)[0, n].allclose(expected, atol=1e-6)


def test_a_prefix_as_the_paper_states_it() -> None:
    attention = recogniser().encoder.blocks[0].attention
    part = Prefix(16, 2, 5)
    disturb(part)
    x = torch.randn(1, 7, 16)
    keys, values = attention.project(x)
    handle = attention.register_forward_hook(part.hook)
    found = attention(x, keys, values)
    handle.remove()
    query = attention.query(x).view(1, 7, 2, 8)
    mixed = torch.zeros(7, 2, 8)
    for n in range(7):
        for head in range(2):
            q = query[0, n, head]
            own = (keys[0, head] @ q / math.sqrt(8)).softmax(dim=0) @ values[0, head]
            learned = (part.keys[head] @ q / math.sqrt(8)).softmax(dim=0) @ part.values[head]
            mixed[n, head] = own + part.gate[head, 0] * learned
    assert found[0].allclose(attention.out(mixed.flatten(1)), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["whisper", "wave"])
def test_several_tasks_take_turns_beside_one_encoder(name: str, kind: str) -> None:
    encoder = encoders()[name]
    audio = torch.randn(2, 6400)
    plain = encoder(audio)
    one, other = (Adapters(encoder, kind, 4) for _ in range(2))  # type: ignore[arg-type]
    with one.attached(encoder):
        assert all(a.equal(b) for a, b in zip(encoder(audio), plain, strict=True))
    disturb(other)
    with other.attached(encoder):
        assert not encoder(audio)[-1].allclose(plain[-1], atol=1e-3)
    assert all(a.equal(b) for a, b in zip(encoder(audio), plain, strict=True))
    assert set(encoder.state_dict()) == set(encoders()[name].state_dict())


def test_a_copy_has_adapters_of_its_own() -> None:
    model = recogniser()
    adapt(model, Adapters(model, "houlsby", 4))
    before = heard(model)
    twin = copy.deepcopy(model)
    disturb(twin.adapters)
    assert heard(model).equal(before)
    assert not heard(twin).equal(before)
    assert adapters_of(twin) is twin.adapters
    assert adapters_of(recogniser()) is None


def test_networks_and_sizes_that_cannot_be() -> None:
    with pytest.raises(ModelError, match="need blocks with attention"):
        Adapters(WaveEncoder(WAVE_PRESETS["tiny-cpc"]), "prefix", 4)
    with pytest.raises(ModelError, match="no adapters of the kind 'lora' and size 4"):
        Adapters(recogniser(), "lora", 4)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="size 0"):
        Adapters(recogniser(), "houlsby", 0)


def test_a_prompt_computes_what_its_rows_in_the_embedding_compute() -> None:
    model = recogniser()
    start = torch.randn(3, 16)
    prompted = copy.deepcopy(model)
    prompted.decoder.embedding = PromptedEmbedding(model.decoder.embedding, (40, 7, 41), start)
    model.decoder.embedding.weight[[40, 7, 41]] = start
    torch.manual_seed(3)
    mel, tokens = torch.randn(1, 80, 60), torch.tensor([[40, 7, 41, 1, 2, 3]])
    assert prompted(mel, tokens).allclose(model(mel, tokens), atol=1e-5)
    prompted(mel, tokens).square().sum().backward()
    assert [name for name, weight in prompted.named_parameters() if weight.grad is not None] == [
        "decoder.embedding.vectors"
    ]
    assert isinstance(prompted.decoder.embedding, TokenEmbedding)
    assert "decoder.embedding.places" not in prompted.state_dict()
