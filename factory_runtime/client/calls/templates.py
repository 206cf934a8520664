"""Templates."""

from __future__ import annotations

from factory_runtime.client.call import Call, body_of, path_of
from factory_runtime.wire.page import Part
from factory_runtime.wire.suggestion import SuggestionAnswer, SuggestQuestion
from factory_runtime.wire.template import TemplateDetail, TemplateSummary


def list_templates() -> Call[Part[TemplateSummary]]:
    """The templates that the tenant may ask for."""
    return Call("GET", "/templates", Part[TemplateSummary])


def get_template(template_id: str, version: str | None = None) -> Call[TemplateDetail]:
    """A template and its inputs, in a version or as a run would get it now."""
    beside = () if version is None else ("versions", version)
    return Call("GET", path_of("templates", template_id, *beside), TemplateDetail)


def suggest_template(asked: SuggestQuestion) -> Call[SuggestionAnswer]:
    """A template that fits what somebody wants."""
    return Call("POST", "/templates/suggest", SuggestionAnswer, body=body_of(asked))
