"""Packages that only some parts of sewnp need: imported when they are used, and asked for by name where they are missing."""

import importlib
from types import ModuleType

from sewnp.errors import DependencyError


def need(module: str, extra: str) -> ModuleType:
    """Import a module that the extra ``sewnp[extra]`` installs.

    Raises DependencyError, which says what to install, when its package is missing.  A package that is there but fails while it is
    imported fails with its own error: installing it again would not help.
    """
    package = module.partition(".")[0]
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise DependencyError(
            f"this part of sewnp needs {package}: python -m pip install 'sewnp[{extra}]'", name=package
        ) from error
    return importlib.import_module(module)
