"""Models of the Hugging Face hub: an id on one side, a folder in the user's own cache on the other.

The client (huggingface_hub, extra ``hub``) does the talking and keeps the cache, the one that transformers uses too; its environment
variables (HF_HOME, HF_TOKEN, HF_HUB_OFFLINE, HF_ENDPOINT ...) count here as they do there.  What is added here is the choice of files,
the commit that all of them come from, and errors that fit on a line.
"""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from pathlib import Path

from sewnp.checkpoints.tensors import INDEX, SINGLE, TORCH_INDEX, TORCH_SINGLE
from sewnp.config import config_from_dict
from sewnp.errors import CheckpointError, ConfigError, DependencyError
from sewnp.extras import need
from sewnp.files import read_json

CONFIG = "config.json"
FEATURES = ("preprocessor_config.json", "processor_config.json")
TOKENS = ("vocab.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
WEIGHTS = ((SINGLE, INDEX), (TORCH_SINGLE, TORCH_INDEX))
"""One file, or shards with an index; the second pair only where a repository has nothing of the first."""

_shown: ContextVar[bool] = ContextVar("_shown", default=False)


def split_id(text: str) -> tuple[str, str | None] | None:
    """``name/name`` and ``name/name@revision`` -> id and revision; None for what has another form."""
    match = re.fullmatch(r"(\w[\w.-]*/\w[\w.-]*)(?:@(.*))?", text, re.ASCII)
    return None if match is None else (match[1], match[2])


def fetch(model: str, revision: str | None = None) -> Path:
    """The cached folder of a hub model at one commit, downloaded where the cache does not hold it already.

    revision: a branch, a tag or a commit; by default the main branch.  It is looked up once, and every file comes from the commit found.
    config.json comes first, and a model that is neither SEW nor SEW-D costs no more than that; the weights come last.  Where the hub
    does not answer, the cache does: with the commit that the revision stood for when the hub was last asked.

    Raises CheckpointError and ConfigError naming the model, and DependencyError without the extra.
    """
    repository = _Repository(model, revision)
    with _quiet():
        folder = repository.pin()
        try:
            config_from_dict(read_json(folder / CONFIG))
        except ConfigError as error:
            raise ConfigError(f"{repository.name}: {CONFIG}: {error}") from None
        repository.get_features()
        for name in TOKENS:
            repository.get(name)
        repository.get_weights(folder)
    return folder


@contextmanager
def progress() -> Iterator[None]:
    """Let downloads inside the block draw the client's progress bars on standard error; outside of it nothing is printed."""
    token = _shown.set(True)
    try:
        yield
    finally:
        _shown.reset(token)


class _Repository:
    """A repository at a revision, and after ``pin`` at a commit, as hub and cache together show it."""

    def __init__(self, model: str, revision: str | None) -> None:
        self.id, self.revision = model, revision
        self.name = model if revision is None else f"{model}@{revision}"
        try:
            self.client = need("huggingface_hub", "hub")
        except DependencyError as error:
            raise DependencyError(
                f"{self.name}: no folder of that name here, and models of the hub need huggingface_hub:"
                " python -m pip install 'sewnp[hub]'",
                name=error.name,
            ) from error
        self.errors = need("huggingface_hub.errors", "hub")
        # What calls of the client can end in: OSError from disk and sockets, ValueError for ids and sizes that it refuses, RuntimeError from
        # its Rust part (hf_xet), and errors of its HTTP library, which is another one in each major version: its errors inherit from it
        self.failures = (OSError, ValueError, RuntimeError, *self.errors.HfHubHTTPError.__bases__)
        self.unknown: list[str] = []
        """Files that the cache does not hold and that the hub could not be asked for."""
        self._check_names()

    def pin(self) -> Path:
        """Settle on a commit -> the folder of its files in the cache, config.json among them."""
        cached = self.client.try_to_load_from_cache(self.id, CONFIG, revision=self.revision)
        held = Path(cached).parent if isinstance(cached, str) else None
        if held is None or held.name != self.revision:  # a commit never changes: nobody needs to be asked about it
            if self.silence is None:
                # by its revision, so that the client notes in the cache which commit that is today
                held = self._download(CONFIG, self.revision)
            elif isinstance(self.silence, (self.errors.RevisionNotFoundError, self.errors.EntryNotFoundError)):
                raise CheckpointError(f"{self.name}: {self._why(self.silence)}")  # an answer, and not to be doubted
            elif held is None:
                raise CheckpointError(
                    f"{self.name}: no folder of that name here, nothing in the cache {self._cache}, and {self._why(self.silence)}"
                )
            if held is None:  # gone since it was asked for
                raise self._missing(CONFIG)
        self.commit = held.name
        return held

    @cached_property
    def silence(self) -> Exception | None:
        """Why the hub does not give config.json; None where it does.

        Asked once and without patience: the client would repeat its question for half a minute, for each file anew.
        """
        try:
            self.client.get_hf_file_metadata(self.client.hf_hub_url(self.id, CONFIG, revision=self.revision))
        except self.failures as error:
            return error
        return None

    def get(self, name: str) -> bool:
        """Have a file of the commit in the cache -> whether there is one.  Where the hub is silent, the cache alone decides."""
        cached = self.client.try_to_load_from_cache(self.id, name, revision=self.commit)
        if cached is not None:
            return isinstance(cached, str)  # the other thing it can be is a mark that the commit has no such file
        if self.silence is not None:
            self.unknown.append(name)
            return False
        return self._download(name, self.commit) is not None

    def get_features(self) -> None:
        """Have the file that says how audio is prepared, under either of its names."""
        held = [self.get(name) for name in FEATURES]
        if not any(held) and self.unknown:
            # the defaults that stand in for a missing file might be other numbers than those of the file that nobody could look for
            raise self._uncached(FEATURES[0])

    def get_weights(self, folder: Path) -> None:
        """Have the weights, in the first format that there is."""
        for single, index in WEIGHTS:
            if self.get(single):
                return
            if self.get(index):
                for shard in _shards(folder / index):
                    if not self.get(shard):
                        raise self._uncached(shard) if self.unknown else self._missing(f"{shard}, which {index} names")
                return
        raise self._uncached(SINGLE) if self.unknown else self._missing(" or ".join(name for pair in WEIGHTS for name in pair))

    def _download(self, name: str, revision: str | None) -> Path | None:
        """A file into the cache -> its folder there; None where the repository does not have it."""
        errors = self.errors
        try:
            with warnings.catch_warnings():
                # the client warns that the disk may be too small, and goes on; if it is, the error says so
                warnings.filterwarnings("ignore", message="Not enough free disk space")
                return Path(self.client.hf_hub_download(self.id, name, revision=revision)).parent
        except errors.EntryNotFoundError as error:
            if not isinstance(error, errors.LocalEntryNotFoundError):  # that one is its child, and says that the hub fell silent
                return None
            failure = error.__cause__ or error
        except self.failures as error:
            failure = error
        raise CheckpointError(f"{self.name}: {name} could not be downloaded to {self._cache}: {self._why(failure)}") from failure

    def _why(self, error: BaseException) -> str:
        """What a person can do about a failure, in half a line."""
        errors, status = self.errors, getattr(getattr(error, "response", None), "status_code", None)
        login = "log in with 'hf auth login' or set HF_TOKEN"
        if isinstance(error, errors.OfflineModeIsEnabled):
            return "HF_HUB_OFFLINE forbids asking the hub"
        if isinstance(error, errors.GatedRepoError):
            return f"the model is gated: ask for access on {self._endpoint}/{self.id}, then {login}"
        if isinstance(error, errors.RepositoryNotFoundError):
            return f"no such model on {self._endpoint}, or a private one: check the spelling, or {login}"
        if isinstance(error, errors.RevisionNotFoundError):
            return f"no branch, tag or commit {self.revision or 'main'} on {self._endpoint}"
        if isinstance(error, errors.EntryNotFoundError) and status is not None:
            return f"the repository has no {CONFIG}: not a model that transformers wrote"
        if status in (401, 403):
            return f"{self._endpoint} refuses access ({status}): {login}, with a token that may read this model"
        if status is not None:
            return f"{self._endpoint} answers with status {status}"
        if isinstance(error, OSError) and error.strerror:  # from disk or socket: it names what it is about by itself
            return str(error)
        return f"{self._endpoint} cannot be reached, or broke off ({_line(error)})"

    def _check_names(self) -> None:
        """Refuse what can be no id and no revision before it becomes part of a path in the cache."""
        try:
            need("huggingface_hub.utils", "hub").validate_repo_id(self.id)
        except self.errors.HFValidationError as error:
            raise CheckpointError(f"{self.id}: no folder of that name here, and no hub id: {_line(error)}") from None
        if self.revision is not None and not re.fullmatch(r"\w(?!.*\.\.)[^\s\\:?*\[~^]*", self.revision):
            raise CheckpointError(f"{self.id}: expected a branch, a tag or a commit as revision, found {self.revision!r}")

    def _missing(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self.name}: the repository has no {what}")

    def _uncached(self, name: str) -> CheckpointError:
        said = self._why(self.silence) if self.silence else ""
        return CheckpointError(f"{self.name}: the cache {self._cache} holds this model without {name}, and {said}")

    @property
    def _cache(self) -> str:
        return str(need("huggingface_hub.constants", "hub").HF_HUB_CACHE)

    @property
    def _endpoint(self) -> str:
        return str(need("huggingface_hub.constants", "hub").ENDPOINT)


def _shards(index: Path) -> list[str]:
    """The files an index names.  What is no plain file name is left out here and refused by whoever reads the index."""
    weight_map = read_json(index).get("weight_map")
    names = weight_map.values() if isinstance(weight_map, dict) else ()
    return sorted({name for name in names if isinstance(name, str) and Path(name).name == name and name != ".."})


def _line(error: BaseException) -> str:
    """An error on one line of bearable length; the client's own run over several."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the client's progress bars and warnings off standard error: a library prints nothing.

    Whoever wants them says so, by ``progress``, by HF_HUB_DISABLE_PROGRESS_BARS=0, or by a level of the client's logger.
    """
    utils, constants = need("huggingface_hub.utils", "hub"), need("huggingface_hub.constants", "hub")
    if _shown.get():
        yield
        return
    group, logger = "huggingface_hub", logging.getLogger("huggingface_hub")
    bars = constants.HF_HUB_DISABLE_PROGRESS_BARS is None and not utils.are_progress_bars_disabled(group)
    level = logger.level
    if bars:
        utils.disable_progress_bars(group)
    if level == logging.WARNING:  # its default
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            utils.enable_progress_bars(group)
