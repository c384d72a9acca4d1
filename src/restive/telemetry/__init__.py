"""What can be seen of a running process: metrics, traces and health (docs/observe.md).

The other packages count through ``metrics`` and trace through ``tracing``, which need no dependency; only
``prometheus`` needs ``prometheus-client``, and nobody imports it before metrics are asked for.
"""
