"""The bytes of blobs: read whole or in ranges, opened as files, written as files."""
