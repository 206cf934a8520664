"""Handlers of the outbox that turn what happened into memories."""

from factory_runtime.services.learn_run import Learner as Librarian

__all__ = ["Librarian"]
