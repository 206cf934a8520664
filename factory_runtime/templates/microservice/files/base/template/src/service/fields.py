"""Types of the fields that entities share."""

from typing import Annotated

from pydantic import StringConstraints

Name = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f]*$",
    ),
]
"""One line of text that is not blank."""

# PostgreSQL's text holds every character but this one.
Text = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]
"""Any text up to 2000 characters."""
