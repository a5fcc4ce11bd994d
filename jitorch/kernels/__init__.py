"""From source to machine code (`cpu`), its objects on disk (`cache.py`, `objects.py`), and buffers (`memory.py`). Knows neither tensors nor operations."""
