"""Runs that are killed, interrupted or out of room, and go on as if nothing had happened."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sewnp.training import prepare, train

from .conftest import assert_same_run, tiny_recipe, tiny_values

families = pytest.mark.parametrize("family", ["sew", "sew-d"])

KILLED = """
import json, os, signal, sys
from pathlib import Path
from sewnp.training import prepare, recipe_from_dict, train

values, data, output, lives = json.loads(sys.argv[1]), *map(Path, sys.argv[2:4]), json.loads(sys.argv[4])
events = ("open", "os.mkdir", "os.rename", "os.remove", "shutil.rmtree")

def die_at(touch):
    left = [touch]
    def hook(event, arguments):
        if event in events and str(output) in str(arguments):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

for touch in lives:
    pid = os.fork()
    if pid == 0:
        die_at(touch)
        train(prepare(recipe_from_dict(values), output, folder=data), resume=True)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL, touch
    print(touch, sorted(os.listdir(output)))
"""
"""Lives of a run, each of which is killed when it touches a file in its folder for the n-th time."""


@families
def test_killed_anywhere_it_goes_on_bit_for_bit(family: str, data: Path, tmp_path: Path) -> None:
    train(prepare(tiny_recipe(family), tmp_path / "whole", folder=data))
    lives = [3, 8, 17, 30, 50, 22, 61, 73, 41, 89] if family == "sew" else [9, 35, 66]
    command = [
        sys.executable,
        "-c",
        KILLED,
        json.dumps(tiny_values(family)),
        str(data),
        str(tmp_path / "killed"),
        json.dumps(lives),
    ]
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"MPLBACKEND": "agg"})
    assert told.returncode == 0, told.stdout + told.stderr
    train(prepare(tiny_recipe(family), tmp_path / "killed", folder=data), resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


@families
def test_threads_change_nothing(family: str, data: Path, tmp_path: Path) -> None:
    train(prepare(tiny_recipe(family), tmp_path / "one", folder=data))
    train(prepare(tiny_recipe(family, threads=3), tmp_path / "three", folder=data))
    assert_same_run(tmp_path / "one", tmp_path / "three")
