"""The network: ids and pixels in, logits out. It knows no words, no files and no sampling."""

from kosmos2.model.cache import Cache
from kosmos2.model.network import Network

__all__ = ["Cache", "Network"]
