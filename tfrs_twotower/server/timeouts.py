"""Time limits that cost no task of their own, as `asyncio.wait_for` does."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:  # aiohttp requires it there
    from async_timeout import timeout

__all__ = ["timeout"]
