"""The one list of training settings: typed, from YAML, with `key=value` overrides on top."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import yaml

from mtasr.errors import InputError, UsageError
from mtasr.text_files import read_text

Precision = Literal["float32", "bfloat16", "float16"]
Method = Literal["full", "decoder", "lora", "houlsby", "prefix", "prompt"]
_Kind = TypeVar("_Kind")

#: The methods that leave the model as it is and add something beside it.
ADAPTER_METHODS: tuple[Method, ...] = ("houlsby", "prefix", "prompt")
#: Wider than any network.
_MOST_ADAPTER_SIZE = 8192
#: Those of wav2vec 2.0's fine-tuning.
_HOLD, _FINAL = 0.4, 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """What the model learns from, and how it is cut. Shares and probabilities are between 0 and 1."""

    #: Records: files, shards, folders of shards, or patterns. A recording is in the data as often as it is listed.
    #: Objectives that learn from audio alone also take recordings, folders of them with their subfolders, or patterns.
    train: tuple[str, ...] = ()
    #: The share of the audio that each entry of `train` gets, in any unit. By default all recordings are equal.
    weights: tuple[float, ...] = ()
    #: Languages are drawn in proportion to p^(1/temperature), where p is their share of the audio: 1 is as they are,
    #: and rare languages come the more often the higher it is. 5 is common.
    temperature: float = 1.0
    #: Hours of audio that an epoch has at most. If there is more, each epoch takes the next so many hours, and only
    #: their records are in memory.
    pool_hours: float = 50.0
    #: Records that keep the model from forgetting: other languages, translations.
    rehearsal: tuple[str, ...] = ()
    #: Share of the excerpts that are rehearsal, if there is any.
    rehearsal_share: float = 0.3
    #: Records that the model is evaluated on while it is trained. They must not be among the others.
    evaluation: tuple[str, ...] = ()
    #: Excerpts of them at most, spread evenly.
    evaluation_windows: int = 64
    #: Folder for decoded audio, and its most gigabytes; an hour takes .115. By default it is in the folder of the run.
    cache: str | None = None
    cache_gigabytes: float = 50.0
    #: Most seconds of audio and most tokens in a batch, with the padding. A batch must have room for one excerpt: of
    #: `longest` seconds, or of the encoder's full length if any are padded to it (`full_context`, `margin`).
    batch_seconds: float = 60.0
    batch_tokens: int = 2000
    #: Share of excerpts whose targets have timestamps.
    timestamps: float = 0.5
    #: Share of excerpts whose targets begin with the previous text, of those that have any.
    previous: float = 0.5
    #: Share of merges of tokens that are skipped in the text that the model learns, so that it sees words in other
    #: tokens (`mtasr.training.targets.with_dropout`).
    bpe_dropout: float = 0.0
    #: Share of the excerpts of silence that are used.
    silence: float = 0.1
    #: Share of excerpts that begin with silence, and the most seconds of it.
    lead: float = 0.5
    lead_seconds: float = 1.0
    #: Most seconds of an excerpt; less if the encoder takes less. Longer captions, and longer recordings without times,
    #: are left out.
    longest: float = 30.0
    #: Share of excerpts that are cut shorter, to any length from `shortest` seconds on.
    short: float = 0.5
    shortest: float = 4.0
    #: Share of short recordings that are joined to longer excerpts, and the most seconds of such an excerpt.
    join: float = 0.5
    join_seconds: float = 20.0
    #: Share of excerpts that are padded to the encoder's full length, and share of the others that are padded as
    #: decoding pads them for the published models. The rest is not padded.
    full_context: float = 0.1
    margin: float = 0.5
    #: Most of the encoder's input that may be padding. Half of it is for the two settings above; excerpts beyond that
    #: are not padded. The other half is for excerpts that share a batch with a longer one.
    padding: float = 0.08


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """AdamW, and how its rate changes from step to step and from layer to layer."""

    learning_rate: float = 1e-4
    #: Steps until the learning rate is reached. It must be reached before the last step, and with tri_stage it must
    #: fall again; only this default may be more than the steps of a run.
    warmup: int = 20
    #: Afterwards it falls linearly towards 0 at the last step; or (tri_stage) it stays for a share `hold` of all steps,
    #: then falls exponentially to the share `final` of it (Baevski et al. 2020, fine-tuning of wav2vec 2.0); or
    #: (inverse_sqrt) it falls with the root of the step and knows no last one (Vaswani et al. 2017).
    schedule: Literal["linear", "tri_stage", "inverse_sqrt"] = "linear"
    hold: float = _HOLD
    final: float = _FINAL
    #: The rate of each layer of the encoder, as a share of that of the layer above it. The last layer has this share of
    #: the rate of all other weights, and what comes before the first layer has the lowest.
    layer_decay: float = 1.0
    #: Steps at the beginning in which the encoder is not trained; with all steps, it never is. What the optimiser
    #: remembers of its weights begins when they thaw.
    frozen_encoder_steps: int = 0
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.98
    epsilon: float = 1e-6
    #: Norm to which larger gradients are scaled down.
    clip: float = 1.0
    #: Batches per step of each process.
    accumulation: int = 1
    #: Batches per step of all processes together, whatever their number, which must divide it. null: as many as
    #: accumulation gives. Only one of the two may be set.
    batches_per_step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegularisationConfig:
    """What keeps a model from learning its data by heart."""

    #: SpecAugment (Park et al. 2019): masks in time and frequency, and their most frames and mel bins.
    time_masks: int = 2
    time_mask_frames: int = 40
    frequency_masks: int = 2
    frequency_mask_bins: int = 15
    #: Probability that a block of the encoder is skipped (Huang et al. 2016).
    stochastic_depth: float = 0.0
    label_smoothing: float = 0.0
    #: Weight of the CTC loss on the encoder (`mtasr.training.objectives.lessons`). It lets a model that is trained from
    #: scratch learn early where in the audio to look.
    ctc: float = 0.0
    #: Decay of the exponential moving average of the weights, which then is the result; 0 for none.
    ema: float = 0.0
    #: Share of the initial weights in the result (Wortsman et al. 2022, arXiv:2109.01903).
    initial_share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Everything that a run depends on."""

    #: The model to begin with: a name, a folder or a .pt file.
    model: str = "base"
    #: Other sizes than those of `model`, by their names in `ModelDimensions`. The weights are then random.
    scratch: Mapping[str, int] | None = None
    #: A folder that `mtasr tokenizer train` made, whose vocabulary replaces that of `model`. Needs `scratch`; only the
    #: sizes of `model` are used.
    vocabulary: str | None = None
    #: A pre-trained encoder to begin with in place of that of `model`: the folder of a run of `mtasr pretrain`, or a
    #: Whisper model, as a name, a folder or a .pt file. Its sizes must be those of the model's encoder.
    init_encoder: str | None = None
    #: What the model learns: sequence (to write the text), ctc (its encoder spells it), or another name in
    #: `mtasr.training.objectives`. The settings that only this objective has are in objective_options.
    objective: str = "sequence"
    objective_options: Mapping[str, Any] = field(default_factory=dict)
    #: The folder of the run.
    output: str
    steps: int
    seed: int = 0
    device: str = "auto"
    precision: Precision = "float32"
    #: How several processes share the work: each holds everything (data parallelism), or a part of the weights, of the
    #: gradients and of what the optimiser remembers (FSDP). One process alone holds everything.
    parallel: Literal["data", "fsdp"] = "data"
    #: Compute each layer twice instead of keeping its activations: less memory, a third more time.
    activation_checkpointing: bool = False
    #: Compile the layers (`torch.compile`), which takes a minute or more at the start. Needs a C++ compiler.
    compile: bool = False
    #: What is trained: all weights, only the decoder, or low-rank changes of the attention and feed-forward weights
    #: (lora); adapters beside the frozen model (houlsby, prefix; see `mtasr.networks.adapters`); or a prompt that
    #: stands before each text (prompt).
    method: Method = "full"
    lora_rank: int = 16
    lora_alpha: float = 32.0
    #: Width of the bottlenecks (houlsby), vectors of each prefix (prefix) or tokens of the prompt (prompt). By default
    #: 32 for houlsby, 16 for the others.
    adapter_size: int | None = None
    #: auto resumes from the last checkpoint in `output`, if there is one; never needs a folder without any.
    resume: Literal["auto", "never"] = "auto"
    #: Steps between checkpoints, and between evaluations; 0 for one at the end.
    save_every: int = 50
    evaluate_every: int = 0
    #: Checkpoints that are kept, beside the best.
    keep: int = 2
    #: The result is the mean of this many checkpoints: the best ones if any were evaluated, or else the last. They are
    #: kept. The mean itself is not evaluated.
    average_best: int = 1
    #: Also write the log for TensorBoard, to the folder `tensorboard` of the run. Needs that package.
    tensorboard: bool = False
    #: How the result is stored for CTranslate2.
    export: Literal["int8", "float16", "float32"] = "int8"
    #: Whether the result is decoded with hardly any silence after its windows, as in its training. null: as `model` is,
    #: or false from scratch.
    variable_length: bool | None = None
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    regularisation: RegularisationConfig = field(default_factory=RegularisationConfig)

    def __post_init__(self) -> None:
        data, optimizer, regularisation = self.data, self.optimizer, self.regularisation
        checks = {
            "steps": self.steps >= 1,
            "keep": self.keep >= 1,
            "average_best": self.average_best >= 1,
            "save_every": self.save_every >= 0,
            "evaluate_every": self.evaluate_every >= 0,
            "regularisation.ctc": regularisation.ctc >= 0,
            "lora_rank": self.lora_rank >= 1,
            "adapter_size": self.adapter_size is None or 1 <= self.adapter_size <= _MOST_ADAPTER_SIZE,
            "data.train": bool(data.train),
            "data.weights": len(data.weights) in {0, len(data.train)} and all(each > 0 for each in data.weights),
            "data.temperature": data.temperature >= 1,
            "data.pool_hours": data.pool_hours > 0,
            "data.cache_gigabytes": data.cache_gigabytes > 0,
            "data.evaluation_windows": data.evaluation_windows >= 0,
            "data.batch_seconds": data.batch_seconds >= data.longest,
            "data.batch_tokens": data.batch_tokens >= 448,
            "data.longest": 1 <= data.longest <= 30,
            "data.shortest": 1 <= data.shortest <= data.longest,
            "data.join_seconds": 0 < data.join_seconds <= 30,
            "data.lead_seconds": 0 <= data.lead_seconds <= 30,
            "optimizer.accumulation": optimizer.accumulation >= 1,
            "optimizer.batches_per_step": optimizer.batches_per_step is None or optimizer.batches_per_step >= 1,
            "optimizer.learning_rate": optimizer.learning_rate > 0,
            "optimizer.warmup": optimizer.warmup >= 0,
            "optimizer.hold": 0 <= optimizer.hold <= 1,
            "optimizer.final": 0 < optimizer.final <= 1,
            "optimizer.layer_decay": 0 < optimizer.layer_decay <= 1,
            "optimizer.frozen_encoder_steps": optimizer.frozen_encoder_steps >= 0,
            "optimizer.clip": optimizer.clip > 0,
            **{f"data.{name}": 0 <= getattr(data, name) <= 1 for name in _SHARES},
            **{
                f"regularisation.{name}": 0 <= getattr(regularisation, name) < 1
                for name in ("stochastic_depth", "label_smoothing", "ema", "initial_share")
            },
        }
        for name, fine in checks.items():
            if not fine:
                raise UsageError(f"{name} cannot be {_get(self, name)!r}")
        if self.parallel == "fsdp" and self.precision == "float16":
            raise UsageError("parallel=fsdp takes precision=bfloat16 or float32, not float16")
        if optimizer.batches_per_step is not None and optimizer.accumulation != 1:
            raise UsageError("set optimizer.accumulation or optimizer.batches_per_step, not both")
        if optimizer.schedule != "tri_stage" and (optimizer.hold, optimizer.final) != (_HOLD, _FINAL):
            raise UsageError("optimizer.hold and optimizer.final need optimizer.schedule=tri_stage")
        if self.vocabulary is not None and self.scratch is None:
            raise UsageError("vocabulary needs scratch: a model has no weights for the tokens of another vocabulary")
        self._check_method()

    def _check_method(self) -> None:
        method = self.method
        if self.regularisation.ctc and method in {"decoder", "prompt"}:
            raise UsageError(f"regularisation.ctc trains the encoder, which method={method} leaves as it is")
        if method == "decoder" or method in ADAPTER_METHODS:
            for name in ("layer_decay", "frozen_encoder_steps"):
                if getattr(self.optimizer, name) != getattr(OptimizerConfig(), name):
                    raise UsageError(
                        f"optimizer.{name} is for weights of the encoder, which method={method} does not train"
                    )
        if method not in ADAPTER_METHODS:
            if self.adapter_size is not None:
                raise UsageError(f"adapter_size is for method={', '.join(ADAPTER_METHODS)}, not {method}")
            return
        if self.scratch is not None:
            raise UsageError(f"method={method} adapts a trained model, but scratch makes all weights random")
        if self.init_encoder is not None:
            raise UsageError(f"method={method} adapts the model as it is, but init_encoder replaces its encoder")
        if self.regularisation.initial_share:
            raise UsageError(f"method={method} leaves the model as it is; set regularisation.initial_share=0")

    def options(self, kind: type[_Kind]) -> _Kind:
        """The settings of the objective as a dataclass of this kind. Raises `UsageError`."""
        return build(kind, self.objective_options, "objective_options.")


#: Bytes of a configuration file at most, far more than anybody writes.
_MOST_BYTES = 30_000

_SHARES = (
    "rehearsal_share", "timestamps", "previous", "bpe_dropout", "silence", "lead", "short", "join", "full_context",
    "margin", "padding",
)  # fmt: skip


def read_config(path: Path, overrides: Iterable[str] = ()) -> TrainConfig:
    """The configuration in a YAML file, with overrides such as `optimizer.learning_rate=1e-5` on top.

    Paths to records are relative to the current folder. Raises `InputError` for a file that cannot be read as YAML,
    `UsageError` for settings that are wrong.
    """
    return make_config(read_document(path), overrides)


def read_document(path: Path) -> object:
    """The value in a YAML file, an empty mapping if it has none. Raises `InputError`."""
    text = read_text(path, most=_MOST_BYTES)
    try:
        document = _parsed(text)
    except (ValueError, RecursionError, yaml.YAMLError) as exc:
        raise InputError(f"{path}: cannot be read: {' '.join(str(exc).split())}") from exc
    return {} if document is None else document


class _Loader(yaml.SafeLoader):
    """Refuses a name that a mapping has twice. YAML's own loader would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for name, _ in node.value:
            if isinstance(name, yaml.ScalarNode):
                if name.value in seen:
                    line = name.start_mark.line + 1
                    raise ValueError(f"{_shown(name.value)} is set twice, the second time in line {line}")
                seen.add(name.value)
        return super().construct_mapping(node, deep)


def _parsed(text: str) -> Any:
    """The value of a YAML text. Raises `YAMLError`, `ValueError` and `RecursionError`."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a kind of SafeLoader
    except (LookupError, AttributeError, TypeError, ArithmeticError) as exc:  # of PyYAML, for example for `!!bool x`
        raise ValueError("a value does not have the type of its tag") from exc


def make_config(document: object, overrides: Iterable[str] = ()) -> TrainConfig:
    """The configuration in a mapping, as `to_document` gives it. Raises `UsageError`."""
    return build(TrainConfig, overridden(document, overrides))


def overridden(document: object, overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of a mapping of settings with overrides in it, such as `data.longest=20`. Raises `UsageError`."""
    if not isinstance(document, Mapping):
        raise UsageError("a configuration must be a mapping of names to values")
    merged = copy.deepcopy(dict(document))
    for override in overrides:
        key, mark, value = override.partition("=")
        if not mark or not key:
            raise UsageError(f"an override must be key=value, not {override!r}")
        *parents, name = key.strip().split(".")
        place = merged
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise UsageError(f"{key}: {parent} has no settings below it")
        try:
            place[name] = _parsed(value)
        except (ValueError, RecursionError, yaml.YAMLError) as exc:
            raise UsageError(f"{key} is not YAML: {_shown(value)}") from exc
    return merged


def to_document(config: TrainConfig) -> dict[str, Any]:
    """Plain values that `make_config` turns back into the same configuration."""
    document: dict[str, Any] = _plain(dataclasses.asdict(config))
    return document


def named_settings(config: TrainConfig) -> dict[str, Any]:
    """All settings by their names, such as data.cache."""
    found: dict[str, Any] = {}
    for name, value in to_document(config).items():
        found |= {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value


def _get(config: object, dotted: str) -> object:
    for name in dotted.split("."):
        config = getattr(config, name)
    return config


def build(kind: type[_Kind], document: object, where: str = "") -> _Kind:
    """A dataclass from a mapping, each value checked against the type of its field.

    `where` is what messages put before the names. Raises `UsageError`.
    """
    if not isinstance(document, Mapping):
        raise UsageError(f"{where.rstrip('.')} must be a mapping of names to values, not {_shown(document)}")
    hints = typing.get_type_hints(kind)
    for name in document:
        if name not in hints:
            near = difflib.get_close_matches(str(name), hints, n=1)
            hint = f"; did you mean {where}{near[0]}?" if near else ""
            raise UsageError(f"there is no setting {where}{_shown(name, str)}{hint}")
    values = {name: _value(hints[name], value, where + name) for name, value in document.items()}
    for each in dataclasses.fields(kind):  # type: ignore[arg-type]
        if each.name not in values and each.default is each.default_factory is dataclasses.MISSING:
            raise UsageError(f"the setting {where}{each.name} is missing")
    return kind(**values)


def _value(hint: Any, value: Any, name: str) -> Any:
    """The value in the type of its field: a whole number is also a number, and one text is also a list of one."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, f"{name}.")
    origin, options = get_origin(hint), get_args(hint)
    if origin in {Union, types.UnionType}:
        return None if value is None else _value(next(each for each in options if each is not type(None)), value, name)
    if origin is Literal:
        return _required(value in options, value, name, f"{', '.join(options[:-1])} or {options[-1]}")
    if origin is tuple:
        return _items(options[0], value, name)
    if origin is not None:
        whole = options[1] is int
        fine = isinstance(value, Mapping) and (not whole or all(type(each) is int for each in value.values()))
        return dict(_required(fine, value, name, f"a mapping of names to {'whole numbers' if whole else 'values'}"))
    if hint is float and type(value) in {int, str}:
        with contextlib.suppress(ValueError, OverflowError):
            value = float(value)  # YAML reads 1e-4 as a text
    kinds = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    fine = type(value) is hint and (hint is not float or math.isfinite(value)) and not (hint is str and "\0" in value)
    return _required(fine, value, name, kinds[hint])


def _items(kind: type, value: Any, name: str) -> tuple[Any, ...]:
    """Texts or numbers, of which one may stand alone."""
    items = value if isinstance(value, list | tuple) else [value]
    if kind is float:
        return tuple(_value(float, each, name) for each in items)
    fine = isinstance(value, list | tuple | str) and all(isinstance(each, str) and "\0" not in each for each in items)
    return tuple(_required(fine, items if fine else value, name, "a list of texts"))


def _required(fine: bool, value: Any, name: str, kind: str) -> Any:
    if not fine:
        raise UsageError(f"{name} must be {kind}, not {_shown(value)}")
    return value


def _shown(value: object, text_of: Callable[[object], str] = repr) -> str:
    """The value for a message, shortened if it is long."""
    text = text_of(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
