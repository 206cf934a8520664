"""Topics of the outbox: what is done after a commit, and by which handler."""

MEMORY_OF_TEMPLATE = "memory.template"
MEMORY_OF_RUN = "memory.run"
MEMORY_OF_CODE = "memory.code"
MEMORY_OF_TREE = "memory.tree"
MEMORY_INDEX = "memory.index"
MEMORY_FORGET = "memory.forget"
MEMORY_DROP_MODEL = "memory.drop-model"
SHOW_RUN = "prefect.show-run"
SHOW_STATUS = "prefect.show-status"
SETTLE_EFFECTS = "effects.settle"
STOP_OUTSIDE = "effects.stop"
UNDO_RUN = "run.undo"
TAKE_INVENTORY = "effects.inventory"
GO_ON_REDRIVING = "redrive.go-on"
NOTICE = "notice"
SEND_NOTICE = "notice.send"
PREFECT_EVENT = "prefect.event"
SIGNALS = "prefect.signals"
SEND_JOB = "prefect.send-job"
DELIVERY = "webhook.delivery"
CALLBACK = "callback"

FORGETFUL = frozenset({MEMORY_FORGET})
"""Of what is done of these, nothing is kept: ids and digests may confirm a text that was guessed."""

BACKGROUND = frozenset({MEMORY_OF_CODE, MEMORY_OF_TREE})
"""What may take long, and is done by whoever waits for nothing."""
