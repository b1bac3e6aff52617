"""A real Prometheus, and before it what Amazon Managed Prometheus asks of a call: a signature for the service `aps`.

```
exporter (a text that tests set) <── Prometheus <── proxy ──┬─ /workspaces/WS/api/v1/query, query_range: signed
                                                            └─ /api/v1/...: as any Prometheus, unsigned
```

From a shell: python -m tests.components.prometheus. In a test: the fixture `prometheus`, see fixtures.py and running.py.
"""
