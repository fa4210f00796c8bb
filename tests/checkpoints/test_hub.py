"""Models of the hub, through its real client, from a small hub on 127.0.0.1 that serves folders which transformers wrote."""

import errno
import gc
import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import huggingface_hub
import numpy as np
import pytest
import torch
import transformers
from huggingface_hub import constants, file_download
from safetensors.torch import load_file

import sewnp
from originals import clips, original
from sewnp.checkpoints import hub as hub_module
from sewnp.cli import main
from sewnp.errors import CheckpointError, ConfigError, DependencyError, SewError

ID = "asapp/sew-tiny-100k-ft-ls100h"
API = "the list of files"


# The hub


@dataclass
class Repo:
    """Commits, and names for them.  A token is what a visitor has to show."""

    commits: dict[str, Path] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    private: str | None = None
    gated: str | None = None

    def push(self, folder: Path, branch: str = "main") -> str:
        commit = hashlib.sha1(f"{folder}{len(self.commits)}".encode()).hexdigest()
        self.commits[commit] = folder
        self.refs[branch] = commit
        return commit


class Hub(ThreadingHTTPServer):
    """What the client sees of huggingface.co: files with the headers that it reads, and two calls that tell commits and their files."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Visit)
        self.repos: dict[str, Repo] = {}
        self.asked: list[tuple[str, str]] = []
        """Every question about a file ("HEAD"), every file given away and every list of files ("GET"), in order."""
        self.cut: set[str] = set()
        """Files whose content ends in the middle."""
        self.down: dict[str, int] = {}
        """Files for which the hub answers with this status instead."""
        self.after = lambda name: None
        """Called with the name of each file that was given away."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def got(self) -> set[str]:
        """The files that were downloaded."""
        return {name for method, name in self.asked if method == "GET"} - {API}

    def handle_error(self, request, client_address) -> None:
        pass  # a client that hangs up


class Visit(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_) -> None:
        pass

    def do_HEAD(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/(.+))?", path):
            return self.api(*found.groups())
        # branches have slashes too (refs/pr/1), quoted in the path that came
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", urlsplit(self.path).path)
        if not found:
            return self.refuse(404, "NotFound", "Sorry, we can't find the page you are looking for.")
        return self.resolve(found[1], unquote(found[2]), unquote(found[3]))

    do_GET = do_HEAD

    def resolve(self, name: str, revision: str, file: str) -> None:
        self.server.asked.append((self.command, file))
        if (repo := self.entered(name)) is None:
            return None
        commit = repo.refs.get(revision, revision)
        if repo.gated and self.token() != repo.gated:
            return self.refuse(403 if self.token() else 401, "GatedRepo", f"Access to model {name} is restricted.")
        if commit not in repo.commits:
            return self.refuse(404, "RevisionNotFound", "Invalid rev id: " + revision)
        if file in self.server.down:
            return self.refuse(self.server.down[file], "Broken", "Something went wrong")
        path = repo.commits[commit] / file
        if not path.is_file():
            return self.refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        data = path.read_bytes()
        etag = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # as git names it
        self.send_response(200)
        self.finish_headers({"ETag": f'"{etag}"', "Content-Length": str(len(data)), "X-Repo-Commit": commit})
        if self.command == "GET":
            self.wfile.write(data[: len(data) // 2] if file in self.server.cut else data)
            self.server.after(file)
        return None

    def api(self, name: str, what: str | None, revision: str | None) -> None:
        if (repo := self.entered(name)) is None:
            return None
        commit = repo.refs.get(revision or "main", revision or "main")
        if commit not in repo.commits:
            return self.refuse(404, "RevisionNotFound", "Invalid rev id: " + commit)
        self.server.asked.append(("GET", API))
        files = sorted(path for path in repo.commits[commit].iterdir() if path.is_file())
        if what == "tree":
            return self.json([{"type": "file", "path": p.name, "size": p.stat().st_size, "oid": commit} for p in files])
        return self.json({"id": name, "sha": commit, "siblings": [{"rfilename": p.name} for p in files]})

    def entered(self, name: str) -> Repo | None:
        repo = self.server.repos.get(name)
        if self.token() == "hf_expired":
            self.refuse(401, None, "Invalid credentials in Authorization header")
        elif repo is None or (repo.private and self.token() != repo.private):
            self.refuse(
                404 if self.token() else 401, "RepoNotFound", "Invalid username or password." if repo else "Repository not found"
            )
        else:
            return repo
        return None

    def token(self) -> str | None:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None

    def refuse(self, status: int, code: str | None, message: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        said = {"X-Error-Message": message, "Content-Length": "0"} | ({"X-Error-Code": code} if code else {})
        self.finish_headers(said | (headers or {}))

    def json(self, value) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.finish_headers({"Content-Type": "application/json", "Content-Length": str(len(data))})
        if self.command == "GET":
            self.wfile.write(data)

    def finish_headers(self, headers: dict[str, str]) -> None:
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that the client in this process talks to, with an empty cache and nobody logged in."""
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    # the client has read its environment when it was imported
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    huggingface_hub.close_session()  # it would remember other proxies
    monkeypatch.chdir(tmp_path)
    yield server
    if thread.is_alive():
        stop(server)
    thread.join()
    huggingface_hub.close_session()


def stop(server: Hub) -> None:
    server.shutdown()
    server.server_close()


@pytest.fixture
def hasty(monkeypatch):
    """The client waits between its attempts; here nobody does."""
    monkeypatch.setattr("time.sleep", lambda _: None)


# What it serves


def write(folder: Path, family="sew", head="ctc", *, seed=0, shards=False, together=False, **values) -> Path:
    """A repository as its author would push it, with files besides that nobody here needs."""
    transformers.utils.logging.disable_progress_bar()
    model = original(family, head, seed=seed, dtype=torch.float32, **values)
    model.save_pretrained(folder, **({"max_shard_size": "8KB"} if shards else {}))
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=False)
    vocab = {token: i for i, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", "E", "T", "A", "O", "N", "I"])}
    (folder / "words.json").write_text(json.dumps(vocab))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(folder / "words.json"))
    if together:
        transformers.Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)
    else:
        extractor.save_pretrained(folder)
        if head == "ctc":
            tokenizer.save_pretrained(folder)
    for name in ("README.md", ".gitattributes", "words.json", "training_args.bin", "tf_model.h5", "pytorch_model.bin"):
        (folder / name).write_text(f"not needed: {name}")
    return folder


@pytest.fixture(scope="session")
def shelf(tmp_path_factory):
    """Two models of the same configuration, told apart by their weights and by their vocabulary."""
    folder = tmp_path_factory.mktemp("shelf")
    for seed, name in enumerate(("first", "second")):
        write(folder / name, seed=seed)
        vocab = json.loads((folder / name / "vocab.json").read_text())
        (folder / name / "vocab.json").write_text(
            json.dumps({name[0].upper() if key == "I" else key: i for key, i in vocab.items()})
        )
    return folder


@pytest.fixture
def served(hub, shelf):
    """The hub with the first of them on it."""
    hub.repos[ID] = Repo()
    hub.repos[ID].push(shelf / "first")
    return hub


def same(ours: sewnp.Model, folder: Path) -> bool:
    """Whether a model is, to the bit, the one of a folder: weights, vocabulary, features, what it computes."""
    theirs = sewnp.load(folder)
    x = clips(ours)
    out, expected = ours(x), theirs(x)
    return (
        (ours.tokenizer and ours.tokenizer.vocab) == (theirs.tokenizer and theirs.tokenizer.vocab)
        and ours.feature_extractor == theirs.feature_extractor
        and np.array_equal(out.last_hidden_state, expected.last_hidden_state)
        and (ours.head is None or np.array_equal(out.logits, expected.logits))
    )


# What is fetched

JSON = {"config.json", "preprocessor_config.json"}
WORDS = {"vocab.json", "tokenizer_config.json"}


@pytest.mark.parametrize(
    ("family", "head", "options", "expected"),
    [
        ("sew", "ctc", {}, JSON | WORDS | {"model.safetensors"}),
        ("sew-d", "ctc", {"together": True}, {"config.json", "processor_config.json"} | WORDS | {"model.safetensors"}),
        ("sew", None, {}, JSON | {"model.safetensors"}),
        ("sew-d", "classification", {"shards": True}, JSON | {"model.safetensors.index.json"}),
    ],
    ids=["sew-ctc", "sew-d-ctc, processor", "sew base only", "sew-d-classification, shards"],
)
def test_only_the_files_that_are_needed(hub, tmp_path, family, head, options, expected):
    folder = write(tmp_path / "origin", family, head, **options)
    hub.repos[ID] = Repo()
    hub.repos[ID].push(folder)
    shards = {path.name for path in folder.glob("model-*.safetensors")}
    assert (len(shards) > 1) == ("shards" in options)
    expected |= {name for name in ("special_tokens_map.json", "added_tokens.json") if (folder / name).exists()}
    model = sewnp.load(ID)
    assert model.name == ID
    assert model.head == head
    assert same(model, folder)
    assert hub.got() == expected | shards
    gets = [name for method, name in hub.asked if method == "GET" and name != API]
    assert len(gets) == len(set(gets))
    assert gets[0] == "config.json"
    assert not any(name.endswith(".safetensors") for name in gets[: -len(shards) or -1])  # the weights come last


def test_what_is_cached_is_not_fetched_again(served, shelf):
    sewnp.load(ID)
    served.asked.clear()
    assert same(sewnp.load(ID), shelf / "first")
    assert served.asked == [("GET", API)]  # where does main stand today?


def test_a_commit_that_is_cached_needs_no_hub(served, shelf):
    commit = served.repos[ID].refs["main"]
    assert same(sewnp.load(ID, revision=commit), shelf / "first")
    served.asked.clear()
    assert same(sewnp.load(f"{ID}@{commit}"), shelf / "first")
    assert served.asked == []


@pytest.mark.parametrize("shards", [False, True])
def test_a_pickle_only_where_there_is_nothing_else(hub, tmp_path, shards):
    twin = write(tmp_path / "twin")
    folder = shutil.copytree(twin, tmp_path / "origin")
    (folder / "model.safetensors").unlink()
    tensors = list(load_file(twin / "model.safetensors").items())
    weights = {"pytorch_model.bin"}
    torch.save(dict(tensors), folder / "pytorch_model.bin")
    if shards:
        (folder / "pytorch_model.bin").unlink()
        parts = {"pytorch_model-1.bin": tensors[:9], "pytorch_model-2.bin": tensors[9:]}
        for name, part in parts.items():
            torch.save(dict(part), folder / name)
        weight_map = {key: name for name, part in parts.items() for key, _ in part}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
        weights = {"pytorch_model.bin.index.json", *parts}
    hub.repos[ID] = Repo()
    hub.repos[ID].push(folder)
    assert same(sewnp.load(ID), twin)
    assert {name for name in hub.got() if "model" in name} == weights


# Which commit


def test_two_revisions_are_two_models(served, shelf):
    commit = served.repos[ID].push(shelf / "second", "refs/pr/1")
    served.repos[ID].refs["v2.0"] = commit
    for revision in ("refs/pr/1", "v2.0", commit):
        assert same(sewnp.load(ID, revision=revision), shelf / "second")
        assert same(sewnp.load(f"{ID}@{revision}"), shelf / "second")
    for model in (sewnp.load(ID), sewnp.load(ID, revision="main"), sewnp.load(f"{ID}@main")):
        assert same(model, shelf / "first")
        assert model.name == ID
    assert not same(sewnp.load(ID), shelf / "second")


@pytest.mark.parametrize("moment", ["config.json", "vocab.json"])
def test_all_files_come_from_one_commit(served, shelf, moment):
    """The branch moves while the model is being fetched; both commits have every file."""

    def move(name):
        if name == moment and len(served.repos[ID].commits) == 1:
            served.repos[ID].push(shelf / "second")

    served.after = move
    assert same(sewnp.load(ID), shelf / "first")
    assert len(served.repos[ID].commits) == 2
    assert same(sewnp.load(ID), shelf / "second")


# Without the hub


@pytest.mark.parametrize("how", ["stopped", "offline", "broken", "removed"])
@pytest.mark.parametrize("revision", [None, "main", "commit"])
def test_the_cache_answers_where_the_hub_does_not(served, shelf, monkeypatch, how, revision):
    revision = served.repos[ID].refs["main"] if revision == "commit" else revision
    sewnp.load(ID, revision=revision)
    if how == "stopped":
        stop(served)
    elif how == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    elif how == "broken":
        served.down = dict.fromkeys(os.listdir(shelf / "first"), 503)
    else:
        del served.repos[ID]
    served.asked.clear()
    model = sewnp.load(ID, revision=revision)
    assert same(model, shelf / "first")
    assert model.name == ID
    assert how in ("broken", "removed") or served.asked == []


def test_the_cache_answers_with_the_commit_last_seen(served, shelf):
    sewnp.load(ID)
    served.repos[ID].push(shelf / "second")
    assert same(sewnp.load(ID), shelf / "second")
    stop(served)
    assert same(sewnp.load(ID), shelf / "second")
    with pytest.raises(
        CheckpointError, match=f"{ID}@v9: no folder of that name here, nothing in the cache .*/cache, and .* reached"
    ):
        sewnp.load(ID, revision="v9")


def test_a_cache_that_others_filled(served, shelf, monkeypatch):
    """``hf download`` fetches all there is and notes nothing about what there is not."""
    huggingface_hub.snapshot_download(ID, max_workers=1)
    stop(served)
    waits = "the client waits for a hub that is known to be silent"
    monkeypatch.setattr("time.sleep", lambda seconds: None if seconds < 0.01 else pytest.fail(waits))
    assert same(sewnp.load(ID), shelf / "first")


@pytest.mark.parametrize("held", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_half_a_cache_is_not_taken_for_a_whole(served, monkeypatch, held):
    """Without preprocessor_config.json the defaults would stand in, and nobody would notice that the repository says otherwise."""
    for name in {"config.json", "preprocessor_config.json", "model.safetensors"} - {held}:
        huggingface_hub.hf_hub_download(ID, name)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    said = f"{ID}: the cache .*/cache holds this model without {held}, and HF_HUB_OFFLINE forbids asking the hub"
    with pytest.raises(CheckpointError, match=said):
        sewnp.load(ID)


def test_a_file_that_is_known_not_to_be_there_is_not_missed(hub, tmp_path, monkeypatch):
    folder = write(tmp_path / "origin", head=None)
    (folder / "preprocessor_config.json").unlink()
    hub.repos[ID] = Repo()
    hub.repos[ID].push(folder)
    assert same(sewnp.load(ID), folder)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert same(sewnp.load(ID), folder)


# Errors, each a line


def refused(model: str = ID, kind: type[SewError] = CheckpointError, **options) -> str:
    """The message of the error, which has a single line of bearable length."""
    with pytest.raises(kind) as caught:
        sewnp.load(model, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    assert message.startswith(model)
    return message


def test_a_model_that_is_not_there(served):
    message = refused("asapp/sew-huge")
    assert "asapp/sew-huge: no folder of that name here" in message
    assert f"no such model on {served.url}, or a private one: check the spelling, or log in with 'hf auth login'" in message


@pytest.mark.parametrize("token", ["hf_wrong", "hf_right"])
def test_a_private_model(served, shelf, monkeypatch, token):
    served.repos[ID].private = "hf_right"
    monkeypatch.setenv("HF_TOKEN", token)
    if token == "hf_right":
        assert same(sewnp.load(ID), shelf / "first")
    else:
        assert "or a private one" in refused()
        assert served.got() == set()


@pytest.mark.parametrize("token", [None, "hf_stranger"])
def test_a_gated_model(served, monkeypatch, token):
    served.repos[ID].gated = "hf_member"
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    assert f"the model is gated: ask for access on {served.url}/{ID}, then log in with 'hf auth login' or set HF_TOKEN" in refused()


def test_a_token_that_expired(served, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    assert f"{served.url} refuses access (401): log in" in refused()


@pytest.mark.parametrize(
    ("name", "what"), [("vocab.json", "its JSON files"), ("model.safetensors", "its weights")], ids=["JSON", "weights"]
)
@pytest.mark.parametrize(("status", "said"), [(403, "refuses access (403): log in"), (503, "answers with status 503")])
def test_a_file_that_is_not_given_away(served, shelf, hasty, name, what, status, said):
    served.down[name] = status
    assert f"{ID}: {what} could not be downloaded to {constants.HF_HUB_CACHE}: {served.url} {said}" in refused()
    served.down.clear()
    assert same(sewnp.load(ID), shelf / "first")


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("revision", ["v9", "0123456789abcdef0123456789abcdef01234567"])
def test_a_revision_that_is_not_there(served, cached, revision):
    if cached:
        sewnp.load(ID)
    assert refused(ID, revision=revision) == f"{ID}@{revision}: no branch, tag or commit {revision} on {served.url}"


@pytest.mark.parametrize("revision", ["", "..", "../../other", "/etc", "a/../../b", "a b", "a\nb", "-x", "a\\b", "~"])
def test_what_can_be_no_revision(served, revision):
    assert "expected a branch, a tag or a commit as revision, found" in refused(revision=revision)
    assert served.asked == []


@pytest.mark.parametrize("model", ["a--b/c", "a/b..c", "a/" + "b" * 97, "a/b-", "models/x.git"])
def test_what_can_be_no_id(served, model):
    assert "no folder of that name here, and no hub id: HFValidationError" in refused(model)
    assert served.asked == []


def test_a_repository_without_a_config(served, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "model.safetensors").write_text("")
    served.repos[ID].push(tmp_path / "empty")
    assert refused() == f"{ID}: the repository has no config.json: not a model that transformers wrote"
    assert served.got() == set()


@pytest.mark.parametrize(
    ("config", "kind", "message"),
    [
        ('{"model_type": "wav2vec2"}', ConfigError, "config.json: model_type: expected 'sew' or 'sew-d', found 'wav2vec2'"),
        ('{"model_type": "sew", "hidden_size": -1}', ConfigError, "config.json: hidden_size: "),
    ],
)
def test_another_model_costs_its_config_alone(served, tmp_path, config, kind, message):
    folder = write(tmp_path / "other")
    (folder / "config.json").write_text(config)
    served.repos[ID].push(folder)
    assert f"{ID}: {message}" in refused(kind=kind)
    assert served.got() == {"config.json"}


def test_a_config_that_is_no_json(served, tmp_path):
    folder = write(tmp_path / "other")
    (folder / "config.json").write_text("<html>")
    served.repos[ID].push(folder)
    with pytest.raises(CheckpointError, match=r"config\.json: not a readable JSON file"):
        sewnp.load(ID)
    assert served.got() == {"config.json"}


def test_a_repository_without_weights(served, tmp_path):
    folder = write(tmp_path / "other")
    for name in ("model.safetensors", "pytorch_model.bin"):
        (folder / name).unlink()
    served.repos[ID].push(folder)
    assert "the repository has no model.safetensors or model.safetensors.index.json or pytorch_model.bin or" in refused()


def test_an_index_names_what_is_not_there(served, tmp_path):
    folder = write(tmp_path / "other", shards=True)
    next(folder.glob("model-00002-*")).unlink()
    served.repos[ID].push(folder)
    assert re.search(
        r"the repository has no model-00002-of-\d+\.safetensors, which model\.safetensors\.index\.json names", refused()
    )


@pytest.mark.parametrize("weight_map", [{"a": "../../x"}, {"a": "/etc/passwd"}, {"a": ".."}, {"a": "sub/x"}, {"a": 5}, [], None])
def test_an_index_that_leads_astray(served, tmp_path, weight_map):
    folder = write(tmp_path / "other", shards=True)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    served.repos[ID].push(folder)
    with pytest.raises(CheckpointError, match=r"model\.safetensors\.index\.json: expected"):
        sewnp.load(ID)
    assert not any("/" in name or name == "x" or "passwd" in name for _, name in served.asked)


def test_an_index_that_names_a_pattern(served, tmp_path):
    folder = write(tmp_path / "other", shards=True)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "*"}}))
    served.repos[ID].push(folder)
    assert "the repository has no *, which model.safetensors.index.json names" in refused()
    assert "README.md" not in served.got()


def test_no_network_and_nothing_cached(served, monkeypatch):
    stop(served)
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("nobody wants to wait half a minute for this"))
    message = refused()
    assert (
        f"{ID}: no folder of that name here, nothing in the cache {constants.HF_HUB_CACHE}, and {served.url} cannot be reached"
        in message
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert refused().endswith(f"nothing in the cache {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE forbids asking the hub")


def test_a_server_that_is_no_hub(served, monkeypatch):
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", served.url + "/elsewhere/{repo_id}/resolve/{revision}/{filename}")
    assert "answers with status 404" in refused()


@pytest.mark.parametrize("shards", [False, True])
def test_a_download_that_breaks_off(hub, tmp_path, hasty, shards):
    hub.repos[ID] = Repo()
    hub.repos[ID].push(folder := write(tmp_path / "other", shards=shards))
    hub.cut.add(max(path.name for path in folder.glob("model*.safetensors")))
    assert (
        f"its weights could not be downloaded to {constants.HF_HUB_CACHE}: {hub.url} cannot be reached, or broke off" in refused()
    )
    hub.cut.clear()
    assert same(sewnp.load(ID), folder)  # nothing of the broken one was left to be taken for whole


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "[Errno 28] No space left on device"),
        (RuntimeError("Task error:\n\nCAS client"), "cannot be reached, or broke off (RuntimeError: Task error: CAS client)"),
        (ValueError("The file is too large"), "(ValueError: The file is too large)"),
    ],
    ids=["a full disk", "hf_xet, in Rust", "a size that the client refuses"],
)
def test_what_else_a_download_can_end_in(served, shelf, monkeypatch, error, said):
    real = file_download.http_get

    def failing(url, temp_file, **options):
        if "safetensors" in url:
            raise error
        real(url, temp_file, **options)

    with monkeypatch.context() as patch:
        patch.setattr(file_download, "http_get", failing)
        patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 0))  # of which the client warns, and goes on
        message = refused()
    assert f"{ID}: its weights could not be downloaded to {constants.HF_HUB_CACHE}: " in message
    assert message.endswith(said)
    assert same(sewnp.load(ID), shelf / "first")


def test_a_cache_that_cannot_be_written(served, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "cache"))
    assert f"nothing in the cache {constants.HF_HUB_CACHE}, and [Errno 20] Not a directory" in refused()


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    message = refused(kind=DependencyError)
    assert "no folder of that name here, and models of the hub need huggingface_hub: python -m pip install 'sewnp[hub]'" in message
    assert sewnp.load("digits").name == "digits"


# Paths, names and ids


def test_a_folder_wins_over_an_id(served, shelf):
    shutil.copytree(shelf / "second", "asapp/sew-tiny-100k-ft-ls100h")
    model = sewnp.load(ID)
    assert same(model, shelf / "second")
    assert model.name == "sew-tiny-100k-ft-ls100h"
    assert served.asked == []
    with pytest.raises(ConfigError, match="revision: expected only with a hub id"):
        sewnp.load(ID, revision="main")
    assert same(sewnp.load(f"{ID}@main"), shelf / "first")  # no folder is called that


@pytest.mark.parametrize("path", ["./a/b", "../a/b", "/a/b", "~/a/b", "a/b/", "a/b/c", "a//b", "digits/"])
def test_what_looks_like_a_path_is_not_asked_of_the_hub(served, path):
    with pytest.raises(CheckpointError, match="no such folder"):
        sewnp.load(path)
    with pytest.raises(CheckpointError, match="no such folder"):
        sewnp.load(Path("a/b"))
    assert served.asked == []


def test_home(served, shelf, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(shelf / "first", tmp_path / "models" / "mine")
    assert sewnp.load("~/models/mine").name == "mine"


def test_a_revision_needs_an_id(served):
    for model in ("digits", ".", Path("a/b")):
        with pytest.raises(ConfigError, match=r"revision: expected only with a hub id \(name/name\), found model="):
            sewnp.load(model, revision="main")
    with pytest.raises(ConfigError, match=f"revision: expected once, found 'main' beside '{ID}@v1'"):
        sewnp.load(f"{ID}@v1", revision="main")


def test_options_are_checked_before_anything_is_fetched(served):
    for options in ({"dtype": "float16"}, {"masking": "all"}, {"head": "regression"}, {"fresh_head_seed": 0}):
        with pytest.raises(ConfigError):
            sewnp.load(ID, **options)
    assert served.asked == []


# What is printed


def test_the_library_prints_nothing(served, capfd, hasty, monkeypatch):
    served.repos[ID].push(write(Path("other"), "sew-d"), "v2")
    logged = []
    handler = logging.Handler()
    handler.emit = logged.append
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "handlers", [handler])
    monkeypatch.setenv("TQDM_POSITION", "-1")  # the client then draws its bars without a terminal too
    huggingface_hub.utils.enable_progress_bars()  # transformers, told to be quiet while it wrote, disables them for everybody
    sewnp.load(ID)
    served.cut.add("model.safetensors")
    with pytest.raises(CheckpointError):
        sewnp.load(ID, revision="v2")
    assert capfd.readouterr() == ("", "")
    assert logged == []
    assert not huggingface_hub.utils.are_progress_bars_disabled(
        "huggingface_hub.http_get"
    )  # whoever uses the client besides has them still


@pytest.mark.parametrize("shards", [False, True])
def test_progress_where_it_is_asked_for(hub, tmp_path, capfd, monkeypatch, shards):
    hub.repos[ID] = Repo()
    hub.repos[ID].push(write(tmp_path / "other", shards=shards))
    monkeypatch.setenv("TQDM_POSITION", "-1")
    huggingface_hub.utils.enable_progress_bars()
    with hub_module.progress():
        sewnp.load(ID)
        gc.collect()  # the client leaves its bars to it, and they draw once more when they go
        out, err = capfd.readouterr()
        assert out == ""
        assert "100%" in err
        sewnp.load(ID)
        assert capfd.readouterr() == ("", "")  # nothing was left to be downloaded


def test_the_command_line_says_it_in_a_line(served, capsys):
    assert main(["inspect", "asapp/sew-huge"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"sewnp: error: asapp/sew-huge: no folder of that name here.*\n", err)


def test_commands_with_the_environment_of_a_user(served, tmp_path):
    """A process of its own, so that the client reads HF_HOME, HF_ENDPOINT and HF_HUB_OFFLINE as it does for everybody."""
    (tmp_path / "home").mkdir()
    served.repos[ID].push(write(tmp_path / "other", "sew-d"), "v2")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_ENDPOINT": served.url, "HF_HOME": str(tmp_path / "hf"), "HOME": str(tmp_path / "home")}

    def inspect(**more):
        command = [sys.executable, "-m", "sewnp", "inspect", f"{ID}@v2"]
        # in the checkout, where sewnp can be imported without being installed
        root = Path(sewnp.__file__).parents[1]
        return subprocess.run(command, env=environment | more, cwd=root, capture_output=True, text=True, check=False)

    first = inspect()
    assert first.stdout.startswith(f"{ID}: SEW-D (SEW with disentangled attention), ctc head"), first.stderr
    assert (first.returncode, first.stderr) == (0, "")
    assert Counter(path.name for path in (tmp_path / "hf" / "hub").iterdir() if path.name.startswith("models--")).total() == 1
    assert not (tmp_path / "home" / ".cache").exists()
    stop(served)
    again = inspect(HF_HUB_OFFLINE="1")
    assert (again.returncode, again.stdout, again.stderr) == (0, first.stdout, "")
