"""Icons of the blocks.

Prefect takes nothing but web addresses for them, so these are those of its own collections: the
server and the workers never ask for them, only the browser of who looks at the UI does.
"""

from __future__ import annotations

from pydantic import HttpUrl

_IMAGES = "https://cdn.sanity.io/images/3ugk85nk/production"
_ASSETS = (
    "https://raw.githubusercontent.com/PrefectHQ/prefect/"
    "420d0d6a78bb6df1fc18bcf188fdad43c1d22ea9/assets/block-logos"
)

GIT = HttpUrl(f"{_IMAGES}/41971cfecfea5f79ff334164f06ecb34d1038dd4-250x250.png")
MODEL = HttpUrl(f"{_IMAGES}/760539393a7dbf93a143fb01c2a8b0fe7157a8d8-247x250.png")
STORAGE = HttpUrl(f"{_IMAGES}/54e3fa7e00197a4fbd1d82ed62494cb58d08c96a-250x250.png")
NOTIFICATION = HttpUrl(f"{_ASSETS}/webhook.png")
