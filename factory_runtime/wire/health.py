"""How the factory is, as it is told."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ConfigDict, Field, JsonValue

from factory_runtime.domain.health import Finding, Health, overall
from factory_runtime.wire.base import Answer

_TOLD: dict[str, JsonValue] = {
    "status": "degraded",
    "components": {
        "factoryApi": "healthy",
        "runStore": "healthy",
        "orchestrator": "healthy",
        "agentHost": "unhealthy",
        "knowledgeSystem": "healthy",
        "artifactStorage": "healthy",
    },
}


class HealthAnswer(Answer):
    """The whole and its parts."""

    model_config = ConfigDict(json_schema_extra={"examples": [_TOLD]})

    status: Health
    components: Mapping[str, Health]
    details: Mapping[str, str] | None = Field(
        default=None, description="why a part is as it is, by its name; for administrators"
    )

    @classmethod
    def of(cls, found: Mapping[str, Finding], *, in_detail: bool) -> HealthAnswer:
        """What looks at the parts found."""
        why = {name: one.about for name, one in found.items() if one.about is not None}
        return cls(
            status=overall(found),
            components={name: one.health for name, one in found.items()},
            details=why if in_detail else None,
        )


class SignAnswer(Answer):
    """Whether it is so: for whoever starts and stops processes, and sends requests to them."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "healthy"}]})

    status: Health
