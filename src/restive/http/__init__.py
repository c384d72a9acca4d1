"""What HTTP says, as pure functions: keys, sharing, invalidation, freshness, validators, preferences.

Nothing here does I/O, reads a clock or knows the hub; it imports nothing of ours but ``errors``.
"""
