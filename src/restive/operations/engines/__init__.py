"""Where operations run: threads and one event loop in this process, or processes behind an executor."""
