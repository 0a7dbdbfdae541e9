"""The one object: pictures and words in, grounded answers out."""

from kosmos2.grounder.kosmos2 import Kosmos2
from kosmos2.grounder.locating import Located
from kosmos2.grounder.seen import Seen
from kosmos2.grounder.stream import Event, Streams

__all__ = ["Event", "Kosmos2", "Located", "Seen", "Streams"]
