"""`mtasr models optimize`: the choice of tokens, the copy, and what the command says."""

from __future__ import annotations

import json
import random
import sys
from difflib import SequenceMatcher
from pathlib import Path
from types import SimpleNamespace

import ctranslate2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from small_checkpoint import small_checkpoint
from speech import speak
from tiny_model import make_tiny_model
from vocabularies import vocabulary

from mtasr.checkpoints import optimize as module
from mtasr.checkpoints.checkpoint import PRECISIONS, Precision
from mtasr.checkpoints.convert import convert
from mtasr.checkpoints.ctranslate2 import stored_weights
from mtasr.checkpoints.formats import load_checkpoint, save_checkpoint
from mtasr.checkpoints.optimize import optimize
from mtasr.checkpoints.vocabulary_choice import (
    own_alphabets,
    spellings,
    token_frequencies,
    tokens_to_keep,
    with_ancestors,
)  # fmt: skip
from mtasr.cli import program
from mtasr.engines.torch import TorchEngine
from mtasr.errors import ModelError, ModelIntegrityError
from mtasr.extras import install_extra
from mtasr.models import int8_copy, model_bin
from mtasr.tokenizer import Tokenizer
from mtasr.transcribe import load_model

#: The words of two languages, the most frequent first.
LISTS = {"en": ["the", "you", "people", "water", "have"], "fr": ["not", "on", "most"], "ru": ["вода", "there"]}


@pytest.fixture(autouse=True)
def lists(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small stand-in for the package of word lists."""
    if "weights" in request.keywords:
        return
    fake = SimpleNamespace(
        available_languages=lambda size: {code: "" for code in LISTS if size == "small" or code == "en"},
        get_frequency_list=lambda name, size: [[]] * 100 + [[word] for word in LISTS[name]],
    )
    monkeypatch.setitem(sys.modules, "wordfreq", fake)


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(program, ["models", *map(str, args)])


# Which tokens


def test_the_words_stay_and_what_they_are_made_of() -> None:
    tokenizer = Tokenizer(vocabulary())
    kept = tokens_to_keep(tokenizer, ["en"], always=[tokenizer.encode(" number")[0]])
    pieces = {tokenizer.token_bytes(token) for token in kept}
    assert {bytes([byte]) for byte in range(256)} <= pieces
    assert b"" in pieces
    assert {b" people", b"people", b" peopl", b" pe", b" number"} <= pieces
    assert not {b" most", b" there"} & pieces
    assert kept == sorted(set(kept))
    assert max(kept) < tokenizer.eot


def test_rare_tokens_go() -> None:
    tokenizer = Tokenizer(vocabulary())
    pieces = {tokenizer.token_bytes(token) for token in tokens_to_keep(tokenizer, ["en"], least=0.0785)}
    assert b" the" in pieces  # 0.8 of 0.1
    assert b" you" not in pieces  # 0.8 of 10 ** -1.01


def test_a_text_adds_its_words() -> None:
    tokenizer = Tokenizer(vocabulary())
    without, given_text = (set(tokens_to_keep(tokenizer, ["en"], text)) for text in ((), ["number two"]))
    added = {tokenizer.token_bytes(token) for token in given_text - without}
    assert {b" number", b"number", b" two"} <= added


def test_frequencies_add_up() -> None:
    tokenizer = Tokenizer(vocabulary())
    found = token_frequencies(tokenizer, {"the": 0.5, "thezz": 0.25})
    assert found[tokenizer.encode(" the")[0]] == pytest.approx(0.8 * 0.75)
    assert sum(share for _, share in spellings("the")) == pytest.approx(1.06)


def test_alphabets() -> None:
    assert own_alphabets({"вода": 0.5, "water": 0.5}) == {"CYRILLIC"}
    assert own_alphabets({"water": 0.9, "пи": 0.001}) == set()
    tokens = vocabulary()
    cyrillic = ["Ð²Ð¾", "Î±"]  # a syllable and a Greek letter
    tokens[300:302] = cyrillic
    tokenizer = Tokenizer(tokens)
    assert {300, 301} & set(tokens_to_keep(tokenizer, ["ru"])) == {300}
    assert not {300, 301} & set(tokens_to_keep(tokenizer, ["en"]))


TOKENS = vocabulary()
WHOLE = Tokenizer(TOKENS)
_KEPT = with_ancestors(WHOLE, random.Random(3).sample(range(WHOLE.eot - 1), 150))
KEPT = sorted({*_KEPT, *range(256), WHOLE.eot - 1, *range(WHOLE.eot, WHOLE.n_vocab)})
CUT = Tokenizer([TOKENS[token] for token in KEPT])
_words = st.sampled_from([WHOLE.decode([token]) for token in range(256, WHOLE.eot)])


@given(st.one_of(st.text(), st.lists(_words).map("".join)))
def test_any_text_can_be_written(text: str) -> None:
    assert CUT.decode(CUT.encode(text)) == text


@given(st.lists(st.sampled_from([" ", *(CUT.decode([token]) for token in range(256, CUT.eot))])).map("".join))
def test_text_of_kept_tokens_is_cut_as_before(text: str) -> None:
    before = WHOLE.encode(text)
    if set(before) <= set(KEPT):
        assert [KEPT[token] for token in CUT.encode(text)] == before


def test_every_kept_token_that_could_be_encoded_still_can() -> None:
    for token, before in enumerate(KEPT[: CUT.eot]):
        text = WHOLE.decode([before])
        if WHOLE.encode(text) == [before]:
            assert CUT.encode(text) == [token]


def test_an_emoji_in_bytes() -> None:
    assert CUT.decode(CUT.encode("see 👩‍🚀 ñ")) == "see 👩‍🚀 ñ"


# The copy


def test_nothing_else_changes(source: Path, tmp_path: Path) -> None:
    done = optimize(str(source), tmp_path / "cut", ["en"], "float16")
    before, after = load_checkpoint(source), load_checkpoint(tmp_path / "cut")
    assert done.tokens_before == len(before.tokens)
    assert done.tokens == len(after.tokens) == after.model.dims.n_vocab < len(before.tokens) - 200
    assert done.size == sum(file.stat().st_size for file in (tmp_path / "cut").iterdir())
    old, new = before.model.state_dict(), after.model.state_dict()
    end = Tokenizer(before.tokens).eot
    # A text may have one spelling twice, so tokens are told apart by their embeddings too.
    kept = [before.tokens.index(token) for token in after.tokens]
    assert after.tokens[-(len(before.tokens) - end) :] == before.tokens[end:]
    assert new.pop("decoder.embedding.weight").equal(old.pop("decoder.embedding.weight")[kept])
    assert all(new[name].equal(old[name]) for name in old)
    for name in ("suppress_ids", "suppress_ids_begin", "lang_ids"):
        assert [after.tokens[token] for token in getattr(after.settings, name)] == [
            before.tokens[token] for token in getattr(before.settings, name)
        ]
    assert after.settings.alignment_heads == before.settings.alignment_heads
    assert Tokenizer(after.tokens).is_multilingual


@pytest.mark.parametrize("precision", PRECISIONS)
def test_precisions_are_those_of_the_conversion(source: Path, tmp_path: Path, precision: Precision) -> None:
    optimize(str(source), tmp_path / "cut", ["en"], precision)
    save_checkpoint(load_checkpoint(source), tmp_path / "whole", "ctranslate2", precision)
    cut, whole = (model_bin.read_contents(tmp_path / name / "model.bin") for name in ("cut", "whole"))
    compared = 0
    for name, variable in cut.variables.items():
        other = whole.variables[name]
        if name.startswith(("decoder/embeddings", "decoder/projection")) or "/conv" in name:
            continue
        assert (variable.dtype, variable.shape) == (other.dtype, other.shape)
        assert cut.read(variable) == whole.read(other), name
        compared += 1
    assert compared > 40
    shown = "int8" if precision == "int8_float32" else precision
    assert f"precision\t{shown}\n" in run("info", tmp_path / "cut").stdout


@pytest.mark.parametrize("stored", ["int8", "int8_float16", "bfloat16", "float32"])
def test_sources_in_other_precisions(source: Path, tmp_path: Path, stored: Precision) -> None:
    save_checkpoint(load_checkpoint(source), tmp_path / "source", "ctranslate2", stored)
    done = optimize(str(tmp_path / "source"), tmp_path / "cut", ["en"])
    assert done.logits.rms == 0
    again = optimize(str(tmp_path / "source"), tmp_path / "float", ["en"], "float32")
    assert again.logits.rms < 1e-6
    before, exact, cut = (load_checkpoint(tmp_path / name) for name in ("source", "float", "cut"))
    kept = [before.tokens.index(token) for token in exact.tokens]
    embeddings = [each.model.decoder.embedding.weight.detach() for each in (before, exact, cut)]
    assert embeddings[1].equal(embeddings[0][kept])
    assert (embeddings[2] - embeddings[1]).abs().amax() <= embeddings[1].abs().amax() / 250


def test_quantising_with_numpy_and_with_torch_is_the_same() -> None:
    rng = np.random.default_rng(1)
    matrix = (rng.normal(size=(64, 33)) * 10.0 ** rng.integers(-40, 30, (64, 1))).astype(np.float32)
    matrix[3] = 0
    whole, scale = stored_weights.quantized("x/weight", matrix, 127)
    rows = torch.from_numpy(matrix)
    largest = rows.abs().amax(dim=1)
    largest[largest == 0] = 127.0
    # Divided as tensors: torch computes a number / a tensor through the reciprocal, which rounds twice.
    full = torch.tensor(127.0)
    factors = full / largest.maximum(full / torch.finfo(torch.float32).max)
    assert whole.data == (rows * factors[:, None]).round().to(torch.int8).numpy().tobytes()
    assert scale.data == factors.numpy().tobytes()


def test_rounding_to_bfloat16_with_numpy_and_with_torch_is_the_same() -> None:
    numbers = np.random.default_rng(2).integers(0, 1 << 32, 20_000, np.uint32).view(np.float32)
    numbers = numbers[np.abs(numbers) < 1e38]  # no "not a number"
    bits = torch.from_numpy(numbers).to(torch.bfloat16).view(torch.uint8).numpy().tobytes()
    assert stored_weights.stored("x", numbers, "bfloat16").data == bits


@pytest.mark.parametrize(("precision", "value"), [("float16", 70_000.0), ("bfloat16", 3.4e38)])
def test_a_weight_out_of_range(precision: str, value: float) -> None:
    with pytest.raises(ModelError, match=f"x has values that {precision} cannot hold"):
        stored_weights.stored("x", np.array([value], np.float32), precision)


def test_rows_that_went_elsewhere_are_noticed(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = module._write

    def shifted(whole: object, kept: list[int], *rest: object) -> None:
        right = module._stored

        def wrong(file: object, name: str, rows: object, *args: object, **options: object) -> object:
            return right(file, name, [*rows[1:], rows[0]] if isinstance(rows, list) else rows, *args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(module, "_stored", wrong)
        write(whole, kept, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_write", shifted)
    with pytest.raises(ModelError, match="parity: the logits differ"):
        optimize(str(source), tmp_path / "cut", ["en"])
    assert list(tmp_path.iterdir()) == []


def test_settings_that_were_not_renumbered_are_noticed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = module.write_documents

    def stale(folder: Path, *args: object, **options: object) -> None:
        write(folder, *args, **options)  # type: ignore[arg-type]
        config = json.loads((folder / "config.json").read_text())
        config["suppress_ids"][-1] -= 1
        (folder / "config.json").write_text(json.dumps(config))

    monkeypatch.setattr(module, "write_documents", stale)
    with pytest.raises(ModelError, match="parity: the settings changed"):
        optimize(str(source), tmp_path / "cut", ["en"])
    assert list(tmp_path.iterdir()) == []


def test_a_weight_that_is_no_number(source: Path, tmp_path: Path) -> None:
    file = model_bin.read_contents(source / "model.bin")
    place = file.variables["decoder/embeddings/weight"].offset
    broken = tmp_path / "broken"
    broken.mkdir()
    for each in source.iterdir():
        (broken / each.name).write_bytes(each.read_bytes())
    data = bytearray((broken / "model.bin").read_bytes())
    data[place : place + 2] = b"\x00\x7e"
    (broken / "model.bin").write_bytes(data)
    with pytest.raises(ModelIntegrityError, match="decoder/embeddings/weight holds values that are not finite"):
        optimize(str(broken), tmp_path / "cut", ["en"])
    assert not (tmp_path / "cut").exists()


def test_the_copy_goes_where_others_go(source: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    optimize(str(source), cut, ["en"])
    convert(str(cut), tmp_path / "cut.pt", "openai")
    convert(str(tmp_path / "cut.pt"), tmp_path / "hub", "huggingface")
    convert(str(tmp_path / "hub"), tmp_path / "back")
    assert load_checkpoint(tmp_path / "back").tokens == load_checkpoint(cut).tokens
    assert load_checkpoint(tmp_path / "back").settings == load_checkpoint(cut).settings
    optimize(str(cut), tmp_path / "again", ["en"])
    assert load_checkpoint(tmp_path / "again").tokens == load_checkpoint(cut).tokens
    engine = load_model(str(cut), engine="torch", device="cpu").engine
    assert isinstance(engine, TorchEngine)
    assert engine.limits.variable_length
    assert load_model(str(cut), device="cpu").engine.limits.variable_length
    assert engine.tokenizer.n_vocab == len(load_checkpoint(cut).tokens)


def test_ctranslate2_detects_languages_with_it(source: Path, tmp_path: Path) -> None:
    optimize(str(source), tmp_path / "cut", ["en", "fr"])
    noise = np.random.default_rng(0).normal(0, 1, (1, 80, 300)).astype(np.float32)
    whole, cut = (
        ctranslate2.models.Whisper(str(folder), device="cpu", compute_type="int8_float32").detect_language(
            ctranslate2.StorageView.from_array(noise)
        )
        for folder in (source, tmp_path / "cut")
    )
    assert len(whole[0]) == 99
    assert whole == cut


@pytest.mark.usefixtures("narrow")
def test_an_overflowing_processor_hears_the_same_of_source_and_copy(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The matrices are those of the int8 copy of the source, which is what is loaded there."""
    monkeypatch.setattr(int8_copy, "_SMALLEST", 0)
    assert optimize(str(source), tmp_path / "cut", ["en"]).logits.rms < 1e-6
    monkeypatch.setattr(int8_copy, "provide", lambda _: None)
    assert 1e-3 < optimize(str(source), tmp_path / "again", ["en"]).logits.rms < 0.4


def test_a_projection_of_its_own_is_refused(tmp_path: Path) -> None:
    tiny = make_tiny_model(tmp_path / "tiny")
    with pytest.raises(ModelIntegrityError, match="decoder/projection/weight is not that of the embedding"):
        optimize(str(tiny), tmp_path / "cut", ["en"])


# The command


def test_what_the_command_says(source: Path, tmp_path: Path) -> None:
    done = run("optimize", source, tmp_path / "cut", "--languages", "French, en,fr")
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    rows = dict(line.split("\t") for line in run("info", tmp_path / "cut").stdout.splitlines())
    count = rows["vocabulary"].split()[0]
    assert f"kept {count} of 2308 tokens" in done.stderr
    assert f"optimized for fr en in {tmp_path / 'cut'}" in done.stderr
    assert rows["optimized for"] == "fr en"
    assert "optimized for" not in run("info", source).stdout
    assert rows["precision"] == "int8"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--languages", "klingon"], 2, "unknown language 'klingon'"),
        (["--languages", ","], 2, "no language to optimize for"),
        (["--languages", "yue"], 2, "does not know cantonese"),
        (["--languages", "cy,en"], 2, "no word list for welsh: give a text with --text, or languages out of en, fr"),
        (["--languages", "en", "--text", "nowhere.txt"], 3, "nowhere.txt: cannot be read: No such file"),
        (["--languages", "en", "--least-frequency", "2"], 2, "2"),
        ([], 2, "--languages"),
    ],
)
def test_what_cannot_be_done(source: Path, tmp_path: Path, options: list[str], code: int, message: str) -> None:
    result = run("optimize", source, tmp_path / "cut", *options)
    assert (result.exit_code, "Traceback" in result.output) == (code, False), result.output
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_text_stands_in_for_a_word_list(source: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("water\npeople\n")
    done = run("optimize", source, tmp_path / "cut", "--languages", "cy", "--text", tmp_path / "words.txt")
    assert done.exit_code == 0, done.output
    tokens = load_checkpoint(tmp_path / "cut").tokens
    assert "Ġwater" in tokens
    assert "Ġmost" not in tokens
    (tmp_path / "words.txt").write_bytes(b"\xff\xfe\x00")
    result = run("optimize", source, tmp_path / "other", "--languages", "en", "--text", tmp_path / "words.txt")
    assert result.exit_code == 3
    assert "words.txt: is not UTF-8 (byte 0)" in result.stderr


def test_other_sources(tmp_path: Path) -> None:
    save_checkpoint(small_checkpoint("english"), tmp_path / "english", "ctranslate2", "float16")
    result = run("optimize", tmp_path / "english", tmp_path / "cut", "--languages", "en")
    assert result.exit_code == 2
    assert "is English-only" in result.stderr
    save_checkpoint(small_checkpoint(), tmp_path / "model.pt", "openai")
    result = run("optimize", tmp_path / "model.pt", tmp_path / "cut", "--languages", "en")
    assert result.exit_code == 5
    assert "is in the openai format: `mtasr models convert` it to ctranslate2 first" in result.stderr
    assert not (tmp_path / "cut").exists()


def test_what_is_at_the_destination(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "cut"
    optimize(str(source), target, ["en"])
    again = run("optimize", source, target, "--languages", "fr")
    assert again.exit_code == 4
    assert "exists; --force replaces it" in again.stderr
    assert run("optimize", source, target, "--languages", "fr", "--force").exit_code == 0
    assert json.loads((target / "config.json").read_text())["mtasr"] == {"languages": ["fr"], "variable_length": True}
    itself = run("optimize", target, target, "--languages", "fr", "--force")
    assert itself.exit_code == 2
    assert "is the source itself" in itself.stderr


def test_without_the_word_lists(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wordfreq", None)
    result = run("optimize", source, tmp_path / "cut", "--languages", "en")
    assert result.exit_code == 2
    assert f"this needs wordfreq: {install_extra('optimize')} brings it" in result.stderr


@pytest.mark.weights
@pytest.mark.slow
def test_base_writes_the_same(tmp_path: Path) -> None:
    result = run("optimize", "base", tmp_path / "cut", "--languages", "en,es")
    assert result.exit_code == 0, result.output
    assert "difference 0.0e+00" in result.stderr
    sentences = {
        "en": ("en-us", "Good morning. The train to the city leaves at nine, and the tickets are on the table."),
        "es": ("es", "Buenos días a todos. Mañana vamos a la playa con nuestros amigos y con toda la familia."),
    }
    # Both are the same to the bit (the difference above), but sums are made in another order where memory lies
    # elsewhere, and a synthetic voice leaves words on the edge.
    models = [load_model(str(name), device="cpu", compute_type="int8") for name in ("base", tmp_path / "cut")]
    for language, (voice, sentence) in sentences.items():
        samples = speak(sentence, voice)
        for beam_size in (1, 5):
            whole, cut = (model.transcribe(samples, beam_size=beam_size, temperature=0.0) for model in models)
            assert cut.language == whole.language == language
            assert SequenceMatcher(None, cut.text, whole.text, autojunk=False).ratio() > 0.8
            assert len(cut.text) > 40
