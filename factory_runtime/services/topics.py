"""Topics of the outbox: what is done after a commit, and by which handler."""

MEMORY_OF_TEMPLATE = "memory.template"
MEMORY_OF_RUN = "memory.run"
SHOW_RUN = "prefect.show-run"
SHOW_STATUS = "prefect.show-status"
SETTLE_EFFECTS = "effects.settle"
