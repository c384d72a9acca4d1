"""The wire without any I/O: frames, the server's side of a socket, event streams, lines, patches.

Nothing here reads a clock, draws a random number or knows a transport; the shells hand these in.
"""
