"""Who watches what in this process, and the looks that keep it fresh."""
