"""Thousands of damaged files a second, for every reader: only SewError may escape, soon, in little memory, and silently.

    cd tests
    python -m hostile.fuzz safetensors 100000                      # the first hundred thousand inputs; a report in JSON
    python -m hostile.fuzz safetensors 1 --first 4711              # the one with this number again
    python -m hostile.fuzz safetensors 1 --first 4711 --keep FILE  # ... into a file, to look at

The number of an input makes the input (:mod:`mutations`), so that what a report names can be had again.  tests/hostile/test_fuzz.py runs
this in processes of its own: a reader in C may end its process, or take all the memory there is.
"""

import argparse
import io
import json
import math
import os
import random
import re
import resource
import shutil
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from hostile.mutations import Mutate, damage, damage_bin, damage_json, damage_safetensors
from safetensors.numpy import save

import sewnp
from sewnp.checkpoints import open_file, open_tensors, read_checkpoint
from sewnp.checkpoints.pickles import open_pickle, read_pickle, tensors_of
from sewnp.config import SEWConfig, SEWDConfig, config_from_dict
from sewnp.errors import SewError
from sewnp.files import read_json
from sewnp.parameters import HEADS, parameter_count
from sewnp.speech import CTCTokenizer, FeatureExtractor, read_audio

MEMORY = 2**31
"""Bytes of address space that the process may have, Python, NumPy and libsndfile included."""
SLOW = 3.0
"""Seconds of the processor beyond which an input is reported."""
_LIBSNDFILE = re.compile(r"^(Note: |Warning: |\[src/libmpg123/|alac_pakt_|$)")
"""What the MP3 and ALAC decoders inside libsndfile say about damaged files; from Python nobody can keep them from it."""
LONGEST_MESSAGE = 20_000
"""Characters.  An error is for people, whatever the file says."""

TINY: dict[str, Any] = {
    "vocab_size": 8, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 4, "conv_dim": (2, 4),
    "num_conv_pos_embeddings": 2, "num_conv_pos_embedding_groups": 2, "conv_stride": (5, 2), "conv_kernel": (10, 3),
}  # fmt: skip
VOCAB = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "A": 5, "B": 6, "C": 7}
TOKENIZER = {
    "added_tokens_decoder": {"0": {"content": "<pad>", "lstrip": True, "normalized": False, "rstrip": True, "single_word": False}},
    "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": {"content": "<unk>", "lstrip": True},
    "word_delimiter_token": "|", "do_lower_case": True, "replace_word_delimiter_char": " ", "extra_special_tokens": ["<x>"],
    "clean_up_tokenization_spaces": False, "target_lang": None, "tokenizer_class": "Wav2Vec2CTCTokenizer",
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A reader: valid files for it, what is done to them, and what is done with the result."""

    seeds: Callable[[Path], list[bytes]]
    mutate: Mutate
    read: Callable[[bytes, Path], Any]
    """Reads, and uses what was read.  The path is a folder of its own, the seeds' files in it."""


@dataclass
class Report:
    """What came of a run."""

    target: str
    first: int
    inputs: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: tuple[float, int] = (0.0, -1)
    mebibytes: float = 0.0
    """Peak of the process beyond where it stood before the first input."""
    findings: dict[str, list[int]] = field(default_factory=dict)
    """What must not be, and the numbers of the first inputs that did it."""


# --- audio ------------------------------------------------------------------------------------------------------------------------


def _sound(samples: int, channels: int, rate: int, kind: str, subtype: str | None = None) -> bytes:
    x = np.random.default_rng(samples).standard_normal((samples, channels)) * np.hanning(samples)[:, None] * 0.1
    file = io.BytesIO()
    soundfile.write(file, x, rate, format=kind, subtype=subtype)
    return file.getvalue()


def _sounds(*kinds: tuple[int, int, int, str, str | None]) -> Callable[[Path], list[bytes]]:
    return lambda _: [_sound(*kind) for kind in kinds]


def _hear(data: bytes, _: Path) -> None:
    x = read_audio(io.BytesIO(data))
    assert x.dtype == np.float32
    assert x.ndim == 1
    assert len(x)
    assert np.isfinite(x).all()


# --- checkpoints ------------------------------------------------------------------------------------------------------------------


def _folder(folder: Path, config: SEWConfig | SEWDConfig | None = None) -> Path:
    """A tiny checkpoint, all of its files."""
    sewnp.from_config(config or SEWConfig(**TINY)).save(folder)
    (folder / "vocab.json").write_text(json.dumps(VOCAB))
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER))
    return folder


def _tensor_files(folder: Path) -> list[bytes]:
    numbers = {"a.weight": np.ones((3, 4), np.float32), "b": np.zeros((), np.float64), "c": np.ones(7, np.float16)}
    header = {"x": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, "__metadata__": {"format": "pt"}}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    bfloat16 = struct.pack("<Q", len(text)) + text + bytes(12)
    return [save(numbers, {"format": "pt"}), bfloat16, save({"e": np.ones((0, 3), np.int64), "i": np.ones(3, np.bool_)})]


def _read_tensors(data: bytes, folder: Path) -> None:
    path = folder / "x.safetensors"
    path.write_bytes(data)
    file = open_file(path)
    for key, shape in file.shapes.items():
        assert file.read(key).shape == shape


def _torch_files(_: Path) -> list[bytes]:
    return [_torch_file(_state(shapes)) for shapes in ({"a.weight": (3, 4)}, {"a": (2,), "b.c": (1, 3), "d": ()})]


def _fairseq_files(_: Path) -> list[bytes]:
    """A state dict among things that only fairseq knows: an argparse.Namespace, and something made by a function."""
    namespace = b"cargparse\nNamespace\n)\x81}(X\x05\x00\x00\x00layerK\x0cX\x03\x00\x00\x00actX\x04\x00\x00\x00geluub"
    made = b"comegaconf.base\nContainer\n(K\x01X\x01\x00\x00\x00atR"
    parts = (_word("args") + namespace, _word("cfg") + made, _word("model") + _state({"w": (2, 2), "b": (2,)}))
    return [_torch_file(b"}(" + b"".join(parts) + b"u"), _torch_file(b"}(" + _word("args") + namespace + b"u")]


def _word(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def _state(shapes: dict[str, tuple[int, ...]]) -> bytes:
    """A pickled dict of tensors in the operations of ``torch.save``."""
    body = b"}("
    for i, (key, shape) in enumerate(shapes.items()):
        strides = [math.prod(shape[j + 1 :]) for j in range(len(shape))]
        body += _word(key) + b"ctorch._utils\n_rebuild_tensor_v2\n(("
        body += _word("storage") + b"ctorch\nFloatStorage\n" + _word(str(i)) + _word("cpu") + b"K" + bytes([_NUMBERS]) + b"tQK\x00"
        for numbers in (shape, strides):
            body += b"(" + b"".join(b"K" + bytes([n]) for n in numbers) + b"t"
        body += b"\x89ccollections\nOrderedDict\n)RtR"
    return body + b"u"


_NUMBERS = 12
"""In every storage; the tensors see some of them."""


def _torch_file(body: bytes) -> bytes:
    """The archive around a pickle, with three storages.  Written by hand, so that torch is not needed to break one."""
    records = {"data.pkl": b"\x80\x02" + body + b".", "byteorder": b"little", "version": b"3\n"}
    records |= {f"data/{i}": np.arange(_NUMBERS, dtype="<f4").tobytes() for i in range(3)}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, record in records.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), record)
    return file.getvalue()


def _read_torch(data: bytes, folder: Path) -> None:
    path = folder / "x.bin"
    path.write_bytes(data)
    file = open_pickle(path)
    for key, shape in file.shapes.items():
        assert file.read(key).shape == shape


def _read_fairseq(data: bytes, folder: Path) -> None:
    """With placeholders for what is foreign, as ``sewnp convert`` reads it."""
    path = folder / "x.pt"
    path.write_bytes(data)
    content, archive = read_pickle(path, placeholders=True)
    for state in content.values() if isinstance(content, dict) else ():
        if isinstance(state, dict):
            file = tensors_of(path, archive, state)
            for key, shape in file.shapes.items():
                assert file.read(key).shape == shape


def _json(folder: Path, name: str, data: bytes) -> dict[str, Any]:
    path = folder / name
    path.write_bytes(data)
    return read_json(path)


def _configs(_: Path) -> list[bytes]:
    labels = {"id2label": {0: "no", 1: "yes", 2: "perhaps"}}
    configs = [SEWConfig(**TINY), SEWDConfig(**TINY), SEWDConfig(**labels), SEWConfig(use_weighted_layer_sum=True)]
    return [json.dumps(config.to_dict() | {"architectures": ["SEWForCTC"], "dtype": "float32"}).encode() for config in configs]


def _read_config(data: bytes, folder: Path) -> None:
    config = config_from_dict(_json(folder, "config.json", data))
    assert config_from_dict(json.loads(json.dumps(config.to_dict(), ensure_ascii=False))).to_dict() is not None
    for head in (None, *HEADS):
        assert f"{parameter_count(config, head):,}"
    assert f"{config.minimum_samples} {config.receptive_field} {config.hop} {config.num_labels} {config.frames(16000)}"


def _vocabularies(_: Path) -> list[bytes]:
    return [json.dumps(vocab).encode() for vocab in (VOCAB, VOCAB | {"AB": 8, "é": 9}, {"eng": VOCAB, "fra": VOCAB})]


def _spell(tokenizer: CTCTokenizer) -> None:
    """Everything that a tokenizer does."""
    unknown = tokenizer.special["unk_token"] is None
    ids = tokenizer.encode("" if unknown else "AB C<pad>'s é")
    tokenizer.decode(ids, group_tokens=False, skip_special_tokens=True)
    offsets = tokenizer.offsets(list(range(len(tokenizer))) * 2)
    json.dumps([tokenizer.vocab, tokenizer.config, offsets.text], ensure_ascii=False).encode()


def _read_vocabulary(data: bytes, folder: Path) -> None:
    vocab = _json(folder, "vocab.json", data)
    nested = any(isinstance(value, dict) for value in vocab.values())
    _spell(CTCTokenizer.from_files(vocab, {"target_lang": "eng"} if nested else None))


def _tokenizers(_: Path) -> list[bytes]:
    old = {"additional_special_tokens": ["<x>", {"content": "<y>"}], "pad_token": "<pad>", "do_lower_case": False}
    return [json.dumps(values).encode() for values in (TOKENIZER, old)]


def _read_tokenizer(data: bytes, folder: Path) -> None:
    values = _json(folder, "tokenizer_config.json", data)
    _spell(CTCTokenizer.from_files(VOCAB, values))
    _spell(CTCTokenizer.from_files(VOCAB, {}, values))


def _read_old_tokens(data: bytes, folder: Path) -> None:
    values = _json(folder, "added_tokens.json", data)
    _spell(CTCTokenizer.from_files(VOCAB, {}, {"pad_token": "<pad>"}, values))


def _preprocessors(_: Path) -> list[bytes]:
    return [json.dumps(FeatureExtractor().to_dict()).encode(), json.dumps({"sampling_rate": 8000, "padding_value": 1.5}).encode()]


def _read_preprocessor(data: bytes, folder: Path) -> None:
    extractor = FeatureExtractor.from_dict(_json(folder, "preprocessor_config.json", data))
    assert FeatureExtractor.from_dict(extractor.to_dict()).to_dict() == extractor.to_dict() or "NaN" in str(data)
    features = extractor([[0.0, 1.0, 2.0], [1.0]], attention_mask=True)
    assert features.input_values.shape == (2, 3)


def _indices(folder: Path) -> list[bytes]:
    _folder(folder)
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    return [json.dumps({"metadata": {"total_size": 100}, "weight_map": {"x": "a.safetensors", "y": "a.safetensors"}}).encode()]


def _read_index(data: bytes, folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_bytes(data)
    open_tensors(folder)


def _whole_folders(folder: Path) -> list[bytes]:
    """The files of two checkpoints, one after the other: which file an input is shows in its first byte."""
    kinds = (SEWConfig(**TINY), SEWDConfig(**TINY, position_buckets=4, max_position_embeddings=8))
    for i, config in enumerate(kinds):
        _folder(folder / str(i), config)
        (folder / str(i) / "processor_config.json").write_text(json.dumps({"feature_extractor": FeatureExtractor().to_dict()}))
        (folder / str(i) / "special_tokens_map.json").write_text(
            json.dumps({"pad_token": "<pad>", "unk_token": {"content": "<unk>"}})
        )
        (folder / str(i) / "added_tokens.json").write_text(json.dumps({"<x>": 8}))
    return [bytes([i, j]) + (folder / str(i) / name).read_bytes() for i in range(2) for j, name in enumerate(_FILES)]


_FILES = ("config.json", "model.safetensors", "vocab.json", "tokenizer_config.json", "preprocessor_config.json",
          "processor_config.json", "special_tokens_map.json", "added_tokens.json")  # fmt: skip


def _damage_a_file(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    mutate = damage_safetensors if data[1] == 1 else damage_json
    return data[:2] + mutate(rng, data[2:], [other[2:] for other in others if other[1] == data[1]])


def _load_folder(data: bytes, folder: Path) -> None:
    """One file of the folder is damaged; it is loaded and, if that succeeds, put to work."""
    path = folder / str(data[0]) / _FILES[data[1]]
    valid = path.read_bytes()
    try:
        path.write_bytes(data[2:])
        read_checkpoint(path.parent, head="ctc")
        model = sewnp.load(path.parent)
    finally:
        path.write_bytes(valid)
    with np.errstate(all="ignore"):  # what the weights say is theirs; the arithmetic may overflow
        if model.head == "ctc":
            model.transcribe(np.sin(np.arange(400.0)))


TARGETS = {
    "wav": Target(
        _sounds((200, 1, 16000, "WAV", "PCM_16"), (150, 2, 8000, "WAV", "FLOAT"), (200, 1, 16000, "WAV", "ULAW"),
                (600, 1, 16000, "WAV", "MS_ADPCM"), (640, 1, 8000, "WAV", "GSM610"), (100, 3, 48000, "WAVEX", "PCM_24")),
        damage, _hear,
    ),
    "flac": Target(_sounds((300, 1, 16000, "FLAC", "PCM_16"), (300, 2, 44100, "FLAC", "PCM_24")), damage, _hear),
    "ogg": Target(_sounds((400, 1, 16000, "OGG", "VORBIS"), (960, 1, 48000, "OGG", "OPUS")), damage, _hear),
    "mp3": Target(_sounds((3000, 1, 16000, "MP3", None), (2500, 2, 44100, "MP3", None)), damage, _hear),
    "other audio": Target(
        _sounds((200, 1, 16000, "AIFF", "PCM_16"), (200, 1, 16000, "AU", "PCM_16"), (200, 2, 16000, "CAF", "PCM_16"),
                (200, 1, 16000, "W64", "PCM_16"), (200, 1, 16000, "RF64", "PCM_16"), (400, 1, 8000, "CAF", "ALAC_16"),
                (200, 1, 16000, "VOC", "PCM_16"), (200, 1, 16000, "NIST", "PCM_16"), (200, 1, 16000, "MAT5", "PCM_16")),
        damage, _hear,
    ),
    "safetensors": Target(_tensor_files, damage_safetensors, _read_tensors),
    "bin": Target(_torch_files, damage_bin, _read_torch),
    "fairseq": Target(_fairseq_files, damage_bin, _read_fairseq),
    "index": Target(_indices, damage_json, _read_index),
    "config": Target(_configs, damage_json, _read_config),
    "vocabulary": Target(_vocabularies, damage_json, _read_vocabulary),
    "tokenizer": Target(_tokenizers, damage_json, _read_tokenizer),
    "added tokens": Target(lambda _: [b'{"<x>": 8, "<y>": 9}', b"{}"], damage_json, _read_old_tokens),
    "preprocessor": Target(_preprocessors, damage_json, _read_preprocessor),
    "folder": Target(_whole_folders, _damage_a_file, _load_folder),
}  # fmt: skip


# --- the run ----------------------------------------------------------------------------------------------------------------------


def make_input(target: str, number: int, seeds: Sequence[bytes]) -> bytes:
    """The input with this number; the first ones are the valid files themselves, which have to be accepted."""
    if number < len(seeds):
        return seeds[number]
    rng = random.Random(f"{target} {number}")
    return TARGETS[target].mutate(rng, rng.choice(seeds), seeds)


def scratch() -> Path:
    """A folder of our own, in memory where the system has such."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="sewnp-fuzz-", dir=memory))


def verdict(read: Callable[[bytes, Path], Any], data: bytes, folder: Path) -> tuple[bool, str | None]:
    """Read an input -> whether it was refused; what must not be, None if all is well."""
    try:
        read(data, folder)
    except SewError as error:
        message = str(error)
        if len(message) > LONGEST_MESSAGE:
            return True, f"a message of {len(message)} characters: {message[:100]!r}"
        if not message.replace("\n", "").isprintable():
            return True, f"a message with characters that steer a terminal, from {_last(error)}"
        return True, None
    except Exception as error:
        return True, f"{type(error).__name__} from {_last(error)}: {str(error)[:150]}"
    return False, None


def _last(error: BaseException) -> str:
    """The places in sewnp that an error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f"{Path(frame.filename).name}:{frame.name}" for frame in frames if f"{os.sep}sewnp{os.sep}" in frame.filename]
    return " > ".join(own[-3:]) or f"{frames[-1].name} in {Path(frames[-1].filename).name}:{frames[-1].lineno}"


def run(target: str, inputs: int, *, first: int = 0, seconds: float = float("inf"), progress: int | None = None) -> Report:
    """Try so many inputs, or as many as the time allows.  progress: an open file that the number of each is written to beforehand."""
    report, folder = Report(target, first), scratch()
    read = TARGETS[target].read
    try:
        seeds = TARGETS[target].seeds(folder)
        for number, seed in enumerate(seeds):
            if TARGETS[target] is not TARGETS["folder"] or len(seed) > 2:
                refused, problem = verdict(read, seed, folder)
                if refused:
                    _note(report, f"valid file {number} is refused: {problem}", number)
        before, began = _peak(), time.perf_counter()
        printed = os.fstat(2).st_size
        for number in range(first, first + inputs):
            data = make_input(target, number, seeds)
            if progress is not None:
                os.pwrite(progress, number.to_bytes(8, "little"), 0)
            start = time.process_time()  # what waits for ever is ended by whoever started this process
            refused, problem = verdict(read, data, folder)
            end = time.process_time()
            report.inputs += 1
            report.refused += refused
            report.slowest = max(report.slowest, (end - start, number))
            if problem is not None:
                _note(report, problem, number)
            if end - start > SLOW:
                _note(report, f"takes more than {SLOW} s", number)
            if os.fstat(2).st_size != printed:
                said = [
                    line
                    for line in os.pread(2, 2**20, printed).decode(errors="replace").splitlines()
                    if not _LIBSNDFILE.match(line)
                ]
                if said:
                    _note(report, f"printed: {said[-1]}", number)
                printed = os.fstat(2).st_size
            if time.perf_counter() - began > seconds:
                break
        report.seconds, report.mebibytes = time.perf_counter() - began, (_peak() - before) / 2**20
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return report


def _note(report: Report, problem: str, number: int) -> None:
    numbers = report.findings.setdefault(problem, [])
    if len(numbers) < 5:
        numbers.append(number)


def _peak() -> int:
    """Bytes of memory that the process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Run one target, and print its report as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("inputs", type=int)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--progress", type=Path, help="a file for the number of the input that is being read")
    parser.add_argument("--keep", type=Path, help="write the first input there")
    options = parser.parse_args()
    if options.keep:
        folder = scratch()
        options.keep.write_bytes(make_input(options.target, options.first, TARGETS[options.target].seeds(folder)))
        shutil.rmtree(folder)
        return
    warnings.simplefilter("error")
    if TARGETS[options.target].read is _hear:
        import scipy.signal  # noqa: F401  (its half second is no input's fault)

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    channel = os.dup(1)  # for the report alone: what anybody prints is looked at with what goes to standard error
    os.dup2(2, 1)
    progress = os.open(options.progress, os.O_WRONLY | os.O_CREAT) if options.progress else None
    report = run(options.target, options.inputs, first=options.first, seconds=options.seconds, progress=progress)
    os.write(channel, json.dumps(vars(report)).encode())


if __name__ == "__main__":
    main()
