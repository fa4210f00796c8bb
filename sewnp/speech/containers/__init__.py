"""What a sound file holds, by the walk from header to header: where its recordings begin and end, and what is missing of them.

libsndfile decodes, but believes headers: it ends where one says, or where it guesses, and leaves out what follows.
"""

from sewnp.speech.containers.chunks import chunk_piece
from sewnp.speech.containers.flac import flac_piece
from sewnp.speech.containers.foreign import foreign_piece
from sewnp.speech.containers.mpeg import mpeg_pieces
from sewnp.speech.containers.ogg import ogg_piece
from sewnp.speech.containers.source import BEGINNING, MOST_PIECES, Broken, Piece, Source, View
from sewnp.speech.containers.tags import after_tags

__all__ = ["Broken", "Piece", "Source", "View", "recordings"]


def recordings(source: Source) -> list[Piece]:
    """The recordings in a file, one after the other: most files hold one, those that were joined hold several.

    Raises Broken for what cannot be read, OSError and ValueError where the file itself cannot.
    """
    place, pieces = after_tags(source, 0), list[Piece]()
    if (foreign := foreign_piece(source, place)) is not None:
        return [foreign]
    if source.at(0, 3) != b"ID3" and not _is_known(source, place):  # what libsndfile finds behind ID3, it takes for MPEG audio
        if (
            source.at(0, 2) == b"\xf0\x7e"
        ):  # nobody speaks in one, and libsndfile writes a line for every block that it does not understand
            raise Broken("not audio that can be decoded: a MIDI sample dump")
        return [Piece((range(source.size),))]
    while not pieces or (place < source.size and _is_known(source, place)):
        found, place = _at(source, place)
        pieces += found
        if len(pieces) > MOST_PIECES:
            raise Broken(f"damaged: more than {MOST_PIECES:,} recordings in one file")
        place = after_tags(source, place)
    return pieces


def _is_known(source: Source, place: int) -> bool:
    """Whether what begins there is looked into, and not left to libsndfile."""
    head = source.at(place, 12)
    return bool(BEGINNING.match(head)) or (head[:1] == b"\xff" and head[1:2] >= b"\xe0")


def _at(source: Source, place: int) -> tuple[list[Piece], int]:
    """The recordings that begin there, and where they end."""
    head = source.at(place, 12)
    if not BEGINNING.match(head):
        return mpeg_pieces(source, place)
    walk = {b"fLaC": flac_piece, b"OggS": ogg_piece}.get(head[:4], chunk_piece)
    piece, stop = walk(source, place)
    return [piece], max(stop, place + 1)
