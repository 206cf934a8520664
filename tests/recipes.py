"""Small templates for tests of whole runs: one repository, and layers on it."""

from __future__ import annotations

COPIER = "_subdirectory: content\nname: {type: str, default: x}\n"

DELIVERY = ("run-pipeline", "track")
"""Steps of the built-in microservice that commit nothing, and do nothing at the local host."""


def a_template(name: str, *extra_steps: str, version: str = "1.0.0") -> str:
    return "\n".join(
        [
            f"id: {name}",
            f"version: {version}",
            "title: A test",
            "description: Makes a repository for a test.",
            "inputs:",
            "  type: object",
            "  required: [name]",
            "  properties: {name: {type: string}, note: {type: string}}",
            "steps:",
            "  - name: base",
            "    type: repo-generation",
            "    with: {repository: '${{ inputs.name }}', source: files/base}",
            *extra_steps,
            "",
        ]
    )


def a_source(text: str = "hello\n", folder: str = "files/base") -> dict[str, str | bytes]:
    return {f"{folder}/copier.yml": COPIER, f"{folder}/content/readme.txt.jinja": text}


def a_layer(name: str, source: str, **more: str) -> list[str]:
    return [
        f"  - name: {name}",
        "    type: template-layer",
        "    needs: [base]",
        *(f"    {key.replace('_', '-') if key != 'on_failure' else key}: {value}"
          for key, value in more.items()),
        f"    with: {{repository: '${{{{ steps.base.outputs.repository }}}}', source: {source}}}",
    ]  # fmt: skip
