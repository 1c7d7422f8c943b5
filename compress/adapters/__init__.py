"""Compressors of ragopt behind the interfaces of other libraries."""
