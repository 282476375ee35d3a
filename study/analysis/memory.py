"""Memory that arrays give up, kept for the next ones.

glibc returns freed arrays of megabytes to the system, and the next ones come as pages that are zeroed at first use. The
fits of a large study make and drop such arrays by the thousand: a third of their time went there.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: Of glibc's `mallopt`, and what they are set to: the largest block that is not mapped on its own, at most 32 MB, and
#: how much free memory is kept, bytes.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT: Final = {_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 256 << 20}


@contextmanager
def kept() -> Iterator[None]:
    """Keep what is freed until the block ends; where the C library is another than glibc nothing is done."""
    library = ctypes.CDLL(None)
    known = hasattr(library, "mallopt") and hasattr(library, "malloc_trim")
    for option, value in _KEPT.items() if known else ():
        library.mallopt(option, value)
    try:
        yield
    finally:
        if known:
            library.malloc_trim(0)
