"""Files of the user's: opened for reading where they are regular and of bounded size, written whole or not at all.

Every error names the file.  Whoever reads or writes says as which :class:`~sewnp.errors.SewError`.
"""

from sewnp.files.json import LARGEST_JSON, ascii_json, json_text, parse_json, read_json, unique_keys, write_json
from sewnp.files.names import NO_PATH, READING, WRITING, AnyPath, naming, path_name
from sewnp.files.reading import (
    LARGEST_TEXT,
    LONGEST_LINE,
    check_regular,
    files_in,
    is_folder,
    is_there,
    mistaken,
    open_regular,
    read_bytes,
    read_lines,
    read_text,
)
from sewnp.files.writing import check_writable, overwritten, remove_scratch, whole_file, whole_folder, write_text

__all__ = [
    "LARGEST_JSON",
    "LARGEST_TEXT",
    "LONGEST_LINE",
    "NO_PATH",
    "READING",
    "WRITING",
    "AnyPath",
    "ascii_json",
    "check_regular",
    "check_writable",
    "files_in",
    "is_folder",
    "is_there",
    "json_text",
    "mistaken",
    "naming",
    "open_regular",
    "overwritten",
    "parse_json",
    "path_name",
    "read_bytes",
    "read_json",
    "read_lines",
    "read_text",
    "remove_scratch",
    "unique_keys",
    "whole_file",
    "whole_folder",
    "write_json",
    "write_text",
]
