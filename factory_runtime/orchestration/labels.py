"""Labels that travel on a flow run: the one link between Prefect's record and ours."""

RUN_ID = "factory.run-id"
TENANT_ID = "factory.tenant-id"
TRACE_ID = "factory.trace-id"
