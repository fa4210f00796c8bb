"""Models of the Hugging Face hub: an id on one side, a folder in the user's own cache on the other.

The client (huggingface_hub, extra ``hub``) does the talking and keeps the cache, the one that transformers uses too; its environment
variables (HF_HOME, HF_TOKEN, HF_HUB_OFFLINE, HF_ENDPOINT ...) count here as they do there.  What is added here is the choice of files,
the one commit that all of them come from, and errors that fit on a line.
"""

import glob
import logging
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partialmethod
from pathlib import Path

from sewnp.checkpoints.tensors import INDEX, SINGLE, TORCH_INDEX, TORCH_SINGLE, shards_of
from sewnp.config import config_from_dict
from sewnp.errors import CheckpointError, ConfigError, DependencyError
from sewnp.extras import need
from sewnp.files import is_there, read_json, read_text

CONFIG = "config.json"
FEATURES = ("preprocessor_config.json", "processor_config.json")
TOKENS = ("vocab.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
WEIGHTS = ((SINGLE, INDEX), (TORCH_SINGLE, TORCH_INDEX))
"""One file, or shards with an index; the second pair only where a repository has nothing of the first."""

_GROUP = "huggingface_hub"
"""Of progress bars: all that have a name."""

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
    snapshot = _Snapshot(model, revision)
    if not snapshot.has(CONFIG):
        raise snapshot.lacking(CONFIG, f"{CONFIG}: not a model that transformers wrote")
    try:
        config_from_dict(read_json(snapshot.folder / CONFIG))
    except ConfigError as error:
        raise ConfigError(f"{snapshot.name}: {CONFIG}: {error}") from None
    snapshot.get("its JSON files", *FEATURES, *TOKENS)
    if not any(map(snapshot.has, FEATURES)):
        # the defaults that stand in for a missing file might be other numbers than those of a file that nobody could look for
        snapshot.check_absent(FEATURES[0])
    for single, index in WEIGHTS:
        if not snapshot.has(single):
            snapshot.get("its weights", single, index, shown=not snapshot.has(index))
        if snapshot.has(single):
            return snapshot.folder
        if snapshot.has(index):
            shards = shards_of(snapshot.folder / index)
            snapshot.get("its weights", *shards, shown=True)
            for shard in shards:
                if not snapshot.has(shard):
                    raise snapshot.lacking(shard, f"{shard}, which {index} names")
            return snapshot.folder
    raise snapshot.lacking(SINGLE, " or ".join(name for pair in WEIGHTS for name in pair))


def cached_models() -> Iterator[tuple[str, Path]]:
    """What the cache holds of any family, by id: the folder of the commit that the main branch stood for when the hub was last asked, or of the
    only commit there is.  Nothing without the extra."""
    try:
        cache = Path(need("huggingface_hub.constants", "hub").HF_HUB_CACHE)
    except DependencyError:
        return
    for repository in sorted(cache.glob("models--*--*")):
        name = repository.name.removeprefix("models--").replace("--", "/")
        commits = sorted(path.parent for path in repository.glob(f"snapshots/*/{CONFIG}"))
        main = (
            read_text(repository / "refs" / "main", error=CheckpointError).strip() if is_there(repository / "refs" / "main") else ""
        )
        chosen = [folder for folder in commits if folder.name == main]
        if chosen or len(commits) == 1:
            yield name if chosen else f"{name}@{commits[0].name}", (chosen or commits)[0]


@contextmanager
def progress() -> Iterator[None]:
    """Let downloads of weights inside the block draw the client's progress bars on standard error; outside of it nothing is printed."""
    token = _shown.set(True)
    try:
        yield
    finally:
        _shown.reset(token)


class _Snapshot:
    """A repository at one commit, as far as the cache holds it: its config.json to begin with."""

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
        self.errors, constants = need("huggingface_hub.errors", "hub"), need("huggingface_hub.constants", "hub")
        self.cache, self.endpoint = constants.HF_HUB_CACHE, constants.ENDPOINT
        # What calls of the client can end in: OSError from disk and sockets, ValueError for ids and sizes that it refuses, RuntimeError from
        # its Rust part (hf_xet), and errors of its HTTP library, which is another one in each major version: its errors inherit from it
        self.failures = (OSError, ValueError, RuntimeError, *self.errors.HfHubHTTPError.__bases__)
        if revision is not None and not re.fullmatch(r"\w(?!.*\.\.)[^\s\\:?*\[~^]*", revision):  # it becomes a path in the cache
            raise CheckpointError(f"{self.id}: expected a branch, a tag or a commit as revision, found {revision!r}")
        try:
            self.folder = self._download(revision, [CONFIG])
        except self.errors.HFValidationError as error:
            raise self.error(f"no folder of that name here, and no hub id: {_line(error)}") from None
        except self.errors.RevisionNotFoundError as error:
            raise self.error(self._why(error)) from error
        except self.failures as error:
            said = f"no folder of that name here, nothing in the cache {self.cache}, and {self._why(error)}"
            raise self.error(said) from error

    def has(self, name: str) -> bool:
        """Whether the cache holds a file of the commit."""
        return (self.folder / name).is_file()

    def get(self, what: str, *names: str, shown: bool = False) -> None:
        """Have those of the files in the cache that the commit has.  shown: whether a progress bar may be drawn."""
        if all(map(self.has, names)):
            return
        try:
            self._download(self.folder.name, names, shown=shown)
        except self.failures as error:
            raise self.error(f"{what} could not be downloaded to {self.cache}: {self._why(error)}") from error

    def check_absent(self, name: str) -> None:
        """Raise unless the commit is known to have no such file: the client notes in its cache what the hub has said of it."""
        if self.client.try_to_load_from_cache(self.id, name, revision=self.folder.name) is None:
            try:
                with _quiet(shown=False):
                    self.client.hf_hub_download(self.id, name, revision=self.folder.name)
            except self.failures as error:
                silent = isinstance(error, self.errors.LocalEntryNotFoundError)  # which is a child of EntryNotFoundError
                if silent or not isinstance(error, self.errors.EntryNotFoundError):
                    said = f"the cache {self.cache} holds this model without {name}, and {self._why(error)}"
                    raise self.error(said) from error

    def lacking(self, name: str, said: str) -> CheckpointError:
        """The error for a file that the repository does not have; raises another one where that cannot be known."""
        self.check_absent(name)
        return self.error(f"the repository has no {said}")

    def error(self, said: str) -> CheckpointError:
        return CheckpointError(f"{self.name}: {said}")

    def _download(self, revision: str | None, names: Iterable[str], *, shown: bool = False) -> Path:
        bar = need("huggingface_hub.utils", "hub").tqdm
        # The client counts files in a bar of its own, even where nothing is to be done: without a name, and drawn into logs too.  Here only
        # the bars of bytes are, which have names
        silent = type("silent", (bar,), {"__init__": partialmethod(bar.__init__, disable=True)})
        patterns = [glob.escape(name) for name in names]
        with _quiet(shown=shown and _shown.get()):
            return Path(self.client.snapshot_download(self.id, revision=revision, allow_patterns=patterns, tqdm_class=silent))

    def _why(self, error: BaseException) -> str:
        """What a person can do about a failure, in half a line."""
        errors = self.errors
        if isinstance(
            error, errors.LocalEntryNotFoundError
        ):  # says that there is nothing to fall back on; why it had to is behind it
            error = error.__cause__ or error
        status = getattr(getattr(error, "response", None), "status_code", None)
        login = "log in with 'hf auth login' or set HF_TOKEN"
        if isinstance(error, errors.OfflineModeIsEnabled):
            return "HF_HUB_OFFLINE forbids asking the hub"
        if isinstance(error, errors.GatedRepoError):
            return f"the model is gated: ask for access on {self.endpoint}/{self.id}, then {login}"
        if isinstance(error, errors.RepositoryNotFoundError):
            return f"no such model on {self.endpoint}, or a private one: check the spelling, or {login}"
        if isinstance(error, errors.RevisionNotFoundError):
            return f"no branch, tag or commit {self.revision or 'main'} on {self.endpoint}"
        if status in (401, 403):
            return f"{self.endpoint} refuses access ({status}): {login}, with a token that may read this model"
        if status is not None:
            return f"{self.endpoint} answers with status {status}"
        if isinstance(error, OSError) and error.strerror:  # from disk or socket: it names what it is about by itself
            return str(error)
        return f"{self.endpoint} cannot be reached, or broke off ({_line(error)})"


def _line(error: BaseException) -> str:
    """An error on one line of bearable length; the client's own run over several."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300]


@contextmanager
def _quiet(*, shown: bool) -> Iterator[None]:
    """Keep the client's warnings off standard error, and its progress bars unless they are to be shown: a library prints nothing.

    Whoever wants them says so, by ``progress``, by HF_HUB_DISABLE_PROGRESS_BARS=0, or by a level of the client's logger.
    """
    utils, constants = need("huggingface_hub.utils", "hub"), need("huggingface_hub.constants", "hub")
    log = need("huggingface_hub.utils.logging", "hub")  # sets the client's logger up, which must not happen inside the block
    hidden = not shown and constants.HF_HUB_DISABLE_PROGRESS_BARS is None and not utils.are_progress_bars_disabled(_GROUP)
    level = log.get_verbosity()
    if hidden:
        utils.disable_progress_bars(_GROUP)
    if level == logging.WARNING:  # its default
        log.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # the client warns that the disk may be too small, and goes on; if it is, the error says so
            warnings.filterwarnings("ignore", message="Not enough free disk space")
            yield
    finally:
        log.set_verbosity(level)
        if hidden:
            utils.enable_progress_bars(_GROUP)
