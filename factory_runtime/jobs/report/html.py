"""A report as one page of HTML: pictures inside, nothing from elsewhere, everything escaped."""

from __future__ import annotations

from base64 import b64encode
from functools import cache

from jinja2 import Environment, StrictUndefined, Template

from factory_runtime.jobs.report.contents import Contents

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{{ report.title }}</title>
<style>
body { font: 15px/1.5 sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse } th, td { padding: .2rem .6rem; border-bottom: 1px solid #ccc }
td + td, th + th { text-align: right } img { max-width: 100%; height: auto }
.stale { background: #fde9c9; padding: 0 .4rem } .facts { color: #555 }
</style>
</head>
<body>
<h1>{{ report.title }}</h1>
{% for section in report.sections %}
<h2>{{ section.name }}{% if section.is_stale %} <span class="stale">stale</span>{% endif %}</h2>
<p class="facts">{{ section.facts|join('; ') }}</p>
{% if section.table %}
<table>
<tr>{% for head in section.table[0] %}<th>{{ head }}</th>{% endfor %}</tr>
{% for row in section.table[1:] %}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</table>
{% endif %}
{% if section.picture %}
<p><img alt="chart of {{ section.name }}" width="{{ section.picture.width }}"
 src="data:image/png;base64,{{ inline(section.picture.png) }}"></p>
{% endif %}
{% endfor %}
<h2>What is missing or approximate</h2>
{% if report.notes %}
<ul>
{% for note in report.notes %}
<li>{{ note }}</li>
{% endfor %}
</ul>
{% else %}
<p>Nothing: every source was fetched, read in full and drawn.</p>
{% endif %}
</body>
</html>
"""


def write_html(report: Contents) -> bytes:
    """The page; the same report gives the same bytes."""
    return _template().render(report=report, inline=_inline).encode("utf-8", "replace")


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_PAGE)


def _inline(png: bytes) -> str:
    return b64encode(png).decode()
