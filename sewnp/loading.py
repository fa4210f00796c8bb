"""From a name, a folder, a hub id or a configuration to a model; and from any checkpoint to a folder of safetensors."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, overload

import numpy as np

from sewnp.checkpoints import Checkpoint, nest, read_any, read_checkpoint, write_checkpoint
from sewnp.checkpoints.fairseq import DICTIONARY
from sewnp.checkpoints.folder import held_files, replaced_files
from sewnp.checkpoints.hub import fetch, split_id
from sewnp.config import Config, SEWConfig, SEWDConfig
from sewnp.errors import CheckpointError, ConfigError, TokenizerError, brief, check_whole
from sewnp.fast import ENGINES, Engine
from sewnp.fast.crew import LARGEST_CREW
from sewnp.fields import alike
from sewnp.files import AnyPath, naming, overwritten, path_name
from sewnp.initialization import initial_weights
from sewnp.layers.masking import MASKINGS, Masking
from sewnp.machine import memory
from sewnp.model import Model
from sewnp.parameters import HEADS, Head, parameter_count
from sewnp.speech.audio import Audio
from sewnp.speech.features import FeatureExtractor
from sewnp.speech.own_keys import own_keys
from sewnp.speech.spelling import vocabulary_spelling
from sewnp.speech.tokenizer import CTCTokenizer
from sewnp.speech.transcript import Transcript

EMBEDDED = ("digits", "digits-d", "digit-words")
"""The models that come with the package."""

DEFAULTS = {"transcribe": "digits", "classify": "digit-words"}
"""Which of them does what unless another is asked for."""

Loadable: TypeAlias = str | os.PathLike[str] | Model | None
A = TypeVar("A", bound=Audio)

_PRETRAINED = Path(__file__).parent / "pretrained"


def embedded(name: str) -> Path:
    """The folder of a model of :data:`EMBEDDED`: for :func:`load` that model, whatever lies in the working directory."""
    return _PRETRAINED / name


def load(
    model: str | os.PathLike[str] | None = None,
    *,
    revision: str | None = None,
    dtype: str | np.dtype[Any] | type[Any] = "float32",
    masking: Masking = "any",
    engine: Engine | None = None,
    threads: int | None = None,
    head: Head | Literal["auto"] | None = "auto",
    fresh_head_seed: int | None = None,
) -> Model:
    """Load an embedded model by name ("digits", "digits-d", "digit-words", in any case), a checkpoint folder as transformers writes it, or a model of
    the Hugging Face hub by its id ("asapp/sew-tiny-100k-ft-ls100h"; extra ``hub``), whose files are kept in the hub's usual cache.  Without
    a name it is the embedded "digits", whatever lies in the working directory.

    What exists as a folder is one: "a/b" is asked of the hub only where there is no folder a/b.  A folder wins over an embedded name when it
    is spelled with a separator or holds config.json.  revision: a branch, tag or commit of a hub model, also written "name/name@revision".
    dtype: "float32" or "float64".  engine: "fast", the default in float32, or "textbook", the plain layers, the default in float64, which run
    wherever somebody looks.  threads: of the fast engine; by default SEWNP_THREADS, or one a processor up to four.  masking: the set of mask
    rules, "any" (transformers since 5.13) or "floor" (before).  head: "ctc", "classification", None for the base model; by default whatever
    the checkpoint holds.  fresh_head_seed: give the model a head, which ``head`` has to name, with fresh weights drawn from this seed.

    Raises CheckpointError and ConfigError naming file and key, ConfigError for unknown options, DependencyError without the extra.
    """
    _check_options(masking, head)
    if fresh_head_seed is not None and head not in HEADS:
        raise ConfigError(f"fresh_head_seed: expected together with head='ctc' or head='classification', found head={brief(head)}")
    if fresh_head_seed is not None:
        check_whole("fresh_head_seed", fresh_head_seed, error=ConfigError)
    kind = _float(dtype)
    engine = _engine(engine, kind, threads)
    folder, name = _folder(
        embedded(DEFAULTS["transcribe"]) if model is None else model, revision
    )  # the last of the checks: it may download
    checkpoint = read_checkpoint(folder, head=head, fresh_head_seed=fresh_head_seed, dtype=kind)
    tokenizer = _tokenizer(folder, checkpoint)
    _check_blank(folder, checkpoint, tokenizer)
    return Model(
        config=checkpoint.config,
        weights=nest(checkpoint.weights),
        head=checkpoint.head,
        masking=masking,
        feature_extractor=_feature_extractor(folder, checkpoint, tokenizer),
        tokenizer=tokenizer,
        name=name,
        engine=engine,
        threads=threads,
    )


def from_config(
    config: Config,
    *,
    head: Head | None = "ctc",
    seed: int = 0,
    dtype: str | np.dtype[Any] | type[Any] = "float32",
    masking: Masking = "any",
    engine: Engine | None = None,
    threads: int | None = None,
) -> Model:
    """A model with fresh weights drawn from ``seed``, without a tokenizer.

    Raises ConfigError for unknown options, and for a configuration whose weights would not fit into this machine's memory.
    """
    _check_options(masking, head)
    if head not in (*HEADS, None) or not isinstance(config, (SEWConfig, SEWDConfig)):
        raise ConfigError(
            f"expected a SEWConfig or SEWDConfig and a head by name or None, found {type(config).__name__} and {brief(head)}"
        )
    check_whole("seed", seed, error=ConfigError)
    kind = _float(dtype)
    engine = _engine(engine, kind, threads)
    count = parameter_count(config, head)
    if count * kind.itemsize > memory():
        raise ConfigError(
            f"the configuration describes {count:,} parameters, more than fit into {memory() / 2**30:.0f} GiB of memory"
        )
    return Model(
        config=config,
        weights=nest(initial_weights(config, head, seed=seed, dtype=kind)),
        head=head,
        masking=masking,
        engine=engine,
        threads=threads,
    )


def convert(source: AnyPath, target: AnyPath, *, dictionary: AnyPath | None = None, config: AnyPath | None = None) -> Checkpoint:
    """Turn any checkpoint into a folder that this package and transformers load, with safetensors -> what was written.

    source: a checkpoint folder, a hub id, or an original ``.pt`` of fairseq, whose dictionary (by default ``dict.ltr.txt`` beside it) and
    configuration may be given.  target: the folder; files of the same names in it are replaced, unless they are what is being read.  Nothing
    in the source is executed.  Weights keep their precision; bfloat16 becomes float32.  The files of tokenizer and feature extractor are those
    that transformers 5 writes.

    Raises CheckpointError, ConfigError and TokenizerError, naming what is wrong.
    """
    source = Path(source)
    inputs = [*held_files(source), source, source.parent / DICTIONARY, *(path for path in (dictionary, config) if path is not None)]
    if (lost := overwritten(replaced_files(target), inputs)) is not None:
        raise CheckpointError(f"{path_name(lost[0])}: is what is being converted, and would be overwritten; name another folder")
    checkpoint = read_any(source, dictionary=dictionary, config=config)
    tokenizer = _tokenizer(source, checkpoint)
    checkpoint = replace(checkpoint, preprocessor=_feature_extractor(source, checkpoint, tokenizer).to_dict())
    if tokenizer is not None:
        checkpoint = replace(checkpoint, vocab=tokenizer.vocab, tokenizer=tokenizer.config)
    write_checkpoint(Path(target), checkpoint)
    return checkpoint


@overload
def transcribe(audio: Audio, *, model: Loadable = None, sampling_rate: int | None = None) -> Transcript: ...
@overload
def transcribe(audio: list[A] | tuple[A, ...], *, model: Loadable = None, sampling_rate: int | None = None) -> list[Transcript]: ...
def transcribe(
    audio: Audio | list[A] | tuple[A, ...], *, model: Loadable = None, sampling_rate: int | None = None
) -> Transcript | list[Transcript]:
    """The words in a clip, in one call; of a list of clips, a list.  model: as for :func:`load`, or loaded; by default the embedded "digits".

    To transcribe one after another, load the model once and use ``model.transcribe``.
    """
    ready = model if isinstance(model, Model) else load(model)
    return ready.transcribe(audio, sampling_rate=sampling_rate)


def _folder(model: str | os.PathLike[str], revision: str | None) -> tuple[Path, str]:
    """Where a model lies, and what to call it.  A model of the hub is downloaded first."""
    if not isinstance(model, str | os.PathLike):
        raise ConfigError(f"model: expected a name, a folder or a hub id, found {type(model).__name__}")
    # a hub id has a separator like a path, and like a path that exists it is none
    hub = split_id(model) if isinstance(model, str) and not os.path.exists(model) else None
    if hub is not None:
        name, own = hub
        if revision is not None and own is not None:
            raise ConfigError(f"revision: expected once, found {brief(revision)} beside {brief(model)}")
        return fetch(name, revision if own is None else own), name
    if revision is not None:
        raise ConfigError(f"revision: expected only with a hub id (name/name), found model={brief(os.fspath(model))}")
    # a null character, a link to itself
    with naming(model, CheckpointError, problems=(OSError, ValueError, RuntimeError)):
        path = Path(os.path.expanduser(model))
        separators = {os.sep, os.altsep or os.sep}
        if not isinstance(model, str) or separators & set(model) or os.path.isfile(path / "config.json"):
            return path, path.resolve().name
    if (meant := alike(model, EMBEDDED)) is not None:
        return embedded(meant), meant
    raise CheckpointError(
        f"{path_name(path)}: no embedded model of that name ({', '.join(EMBEDDED)}), no folder with a config.json, and no hub id (name/name)"
    )


def _check_options(masking: str, head: str | None) -> None:
    if masking not in MASKINGS:
        raise ConfigError(f"masking: expected one of {MASKINGS}, found {brief(masking)}")
    if head not in (*HEADS, "auto", None):
        raise ConfigError(f"head: expected one of {HEADS} or None, found {brief(head)}")


def _engine(engine: Engine | None, dtype: np.dtype[Any], threads: int | None) -> Engine:
    if threads is not None:
        check_whole("threads", threads, 1, LARGEST_CREW, error=ConfigError)
    if engine not in (*ENGINES, None):
        raise ConfigError(f"engine: expected one of {ENGINES}, found {brief(engine)}")
    if engine == "fast" and dtype != np.float32:
        raise ConfigError(f"engine: 'fast' computes in float32, found dtype {dtype}")
    return engine or ("fast" if dtype == np.float32 else "textbook")


def _float(dtype: str | np.dtype[Any] | type[Any]) -> np.dtype[Any]:
    try:
        chosen = None if dtype is None else np.dtype(dtype)  # np.dtype(None) would be float64
    except TypeError:
        chosen = None
    if chosen not in (np.float32, np.float64):
        raise ConfigError(f"dtype: expected 'float32' or 'float64', found {brief(dtype)}")
    return chosen


def _tokenizer(folder: Path, checkpoint: Checkpoint) -> CTCTokenizer | None:
    if checkpoint.vocab is None:
        return None
    try:
        files = (checkpoint.vocab, checkpoint.tokenizer, checkpoint.special_tokens, checkpoint.added_tokens)
        return CTCTokenizer.from_files(*files)
    except TokenizerError as error:
        raise TokenizerError(f"{path_name(folder)}: {error}") from error


def _check_blank(folder: Path, checkpoint: Checkpoint, tokenizer: CTCTokenizer | None) -> None:
    """The loss must not learn one blank and the text be read with another."""
    blank = checkpoint.config.pad_token_id
    if tokenizer is not None and checkpoint.head == "ctc" and tokenizer.pad_token_id != blank:
        problem = f"the blank is pad_token_id {blank}, the tokenizer's pad token is {brief(tokenizer.special['pad_token'])}"
        raise TokenizerError(f"{path_name(folder)}: config.json says that {problem} with id {tokenizer.pad_token_id}")


def _feature_extractor(folder: Path, checkpoint: Checkpoint, tokenizer: CTCTokenizer | None) -> FeatureExtractor:
    try:
        extractor = FeatureExtractor.from_dict({} if checkpoint.preprocessor is None else checkpoint.preprocessor)
        if tokenizer is not None and checkpoint.head == "ctc":
            own_keys(extractor.extra).check_vocabulary(vocabulary_spelling(tokenizer, checkpoint.config.vocab_size))
        return extractor
    except ConfigError as error:
        raise ConfigError(f"{path_name(folder)}: feature extractor: {error}") from error
