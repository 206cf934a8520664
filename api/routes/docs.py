"""The API's document as a page, to be read and tried in a browser: Swagger UI, served from here.

Nothing of it comes from another host, and the browser is told to ask none: whoever looks may be
where there is no other, and a script of somebody else's would see the key that is typed in.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from fastapi.responses import FileResponse, HTMLResponse, Response

router = APIRouter(include_in_schema=False)

_TITLE = "Factory Runtime"
_PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_TITLE}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/begin.js"></script>
</body>
</html>
"""
_BEGIN = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#page",
  deepLinking: true,
  validatorUrl: null,
});
"""
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",  # the pictures in its style sheet
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_ASSETS = files("fastapi_offline") / "static"
_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}

Asset = Annotated[Literal["begin.js", "swagger-ui.css", "swagger-ui-bundle.js"], Path()]


@router.get("/docs")
async def get_page() -> HTMLResponse:
    """The page."""
    return HTMLResponse(_PAGE, headers={**_HEADERS, "Content-Security-Policy": _POLICY})


@router.get("/docs/{asset}")
async def get_asset(asset: Asset) -> Response:
    """What it is made of."""
    if asset == "begin.js":
        return Response(_BEGIN, media_type="text/javascript", headers=_HEADERS)
    return FileResponse(str(_ASSETS / asset), headers=_HEADERS)
