"""One fan-out in other tools that promise durable execution, to set ours beside."""
