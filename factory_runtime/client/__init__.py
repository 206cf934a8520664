"""A typed client of the Factory API.

from factory_runtime.client import FactoryClient, Target, calls
from factory_runtime.wire.run import NewRun

asked = NewRun(template_recipe_id="microservice", inputs={"service_name": "orders"})
with FactoryClient(Target("http://127.0.0.1:4280")) as client:
run = client.send(calls.request_run(asked))
for event in client.stream(calls.follow_run(run.run_id)):
print(event.kind, event.data)
"""

from factory_runtime.client import calls
from factory_runtime.client.client import AsyncFactoryClient, FactoryClient
from factory_runtime.client.events import StreamEvent
from factory_runtime.client.exchange import ApiUnavailableError
from factory_runtime.client.refusals import UnreadableAnswerError
from factory_runtime.client.target import KeyInClearError, Target

__all__ = [
    "ApiUnavailableError",
    "AsyncFactoryClient",
    "FactoryClient",
    "KeyInClearError",
    "StreamEvent",
    "Target",
    "UnreadableAnswerError",
    "calls",
]
