"""What the machine does: one rule for each thing that a user of a blob store may do."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from ltxcore.errors import BlobTooLargeError, SizeMismatchError

from tests.helpers.blob_machine import (
    PREFIXES,
    BrokenSourceError,
    Machine,
    Source,
    Writing,
    batch_actions,
    capacities,
    names,
    outcome,
    payloads,
    picks,
    prefixes,
)


class BlobRules(Machine):
    """The whole machine."""

    # --- writing -----------------------------------------------------------------------------------------------------

    @rule(name=names, data=payloads, waits=st.booleans())
    def put(self, name: str, data: bytes, waits: bool) -> None:
        if waits:
            self.write(lambda: self.store.put(name, data), self.model.put, name, data)
            return

        def put_later() -> None:
            future = self.store.put_nowait(name, data)
            self.store.flush()
            future.result(20)

        self.write(put_later, self.model.put, name, data)

    @rule(name=names, data=payloads, more=st.sampled_from([0, 0, 0, 1, 20, -1]), breaks=st.booleans())
    def put_sized(self, name: str, data: bytes, more: int, breaks: bool) -> None:
        """The right size, or too short, or too long, or a source that breaks off."""
        size = max(len(data) + more, 0)
        source = Source(data, breaks=breaks)

        def effect() -> None:
            if breaks and len(data) <= size:
                self.model.refuse_large(size)
                raise BrokenSourceError
            self.model.put_sized(name, data, size)

        self.write(lambda: self.store.put_sized(name, source, size), effect)

    @rule(pick=picks, offset=st.integers(0, 20), data=st.binary(max_size=40))
    def write_at(self, pick: int, offset: int, data: bytes) -> None:
        name = self.existing(pick)
        self.write(lambda: self.store.write_at(name, offset, data), self.model.write_at, name, offset, data)

    @precondition(lambda self: len(self.writers) < 3)
    @rule(name=names, data=payloads, is_new=st.booleans(), size=st.sampled_from([None, None, 40, 400]))
    def begin_writing(self, name: str, data: bytes, is_new: bool, size: int | None) -> None:
        def begin() -> None:
            file = self.store.open(name, "xb" if is_new else "wb", size=size)
            self.writers.append(Writing(file, name, is_new))

        def effect() -> None:
            if is_new:
                self.model.refuse_existing(name)
            if size is not None:
                self.model.refuse_large(size)

        if self.write(begin, effect) is None:
            self.write_more(len(self.writers) - 1, data)

    @precondition(lambda self: self.writers)
    @rule(pick=picks, data=payloads)
    def write_more(self, pick: int, data: bytes) -> None:
        writing = self.writers[pick % len(self.writers)]
        expected = writing.file._expected

        def effect() -> int:
            if expected is not None and len(writing.data) + len(data) > expected:
                raise SizeMismatchError
            before, after = (self.staged(size) for size in (len(writing.data), len(writing.data) + len(data)))
            if after > before:
                self.model.refuse_large(after)
            writing.data += data
            return len(data)

        if self.write(lambda: writing.file.write(data), effect) is BlobTooLargeError:
            assert writing.file.closed
            self.writers.remove(writing)

    def staged(self, size: int) -> int:
        """Bytes of a blob on its way that are in the file: all but its last chunk."""
        chunk = self.setting["chunk_size"]
        return max(size - 1, 0) // chunk * chunk

    @precondition(lambda self: self.writers)
    @rule(pick=picks, how=st.sampled_from(["close", "close", "abort", "error", "forget"]))
    def end_writing(self, pick: int, how: str) -> None:
        writing = self.writers.pop(pick % len(self.writers))
        if how == "close":
            self.write(writing.file.close, self.appear, writing)
        elif how == "abort":
            self.write(writing.file.abort, lambda: None)
        elif how == "error":
            self.write(lambda: writing.file.__exit__(ValueError, ValueError(), None), lambda: None)
        else:
            file, writing.file = writing.file, None  # type: ignore[assignment]
            file.__del__()
            # That never waits; so it is waited for here.
            self.write(self.store.flush, lambda: None)

    def appear(self, writing: Writing) -> None:
        data, expected = bytes(writing.data), writing.file._expected
        if expected not in {None, len(data)}:
            raise SizeMismatchError
        if len(data) > self.setting["chunk_size"]:
            self.model.refuse_large(len(data))  # a long one is refused for its size first
        if writing.is_new:
            self.model.refuse_existing(writing.name)
        self.model.put(writing.name, data)

    # --- reading -----------------------------------------------------------------------------------------------------

    @rule(pick=picks)
    def get(self, pick: int) -> None:
        name = self.existing(pick)
        blob = self.model.blobs.get(name)
        self.read(lambda: self.store.get(name), lambda: blob and blob.data, name)

    @rule(pick=picks, offset=st.integers(0, 100), length=st.integers(0, 100))
    def read_range(self, pick: int, offset: int, length: int) -> None:
        name = self.existing(pick)
        self.read(
            lambda: self.store.read_range(name, offset, length),
            lambda: self.model.find(name)[offset : offset + length],
            name,
        )

    @rule(prefix=st.sampled_from(PREFIXES), size=st.one_of(st.none(), st.integers(0, 60)))
    def read_chunks(self, prefix: str, size: int | None) -> None:
        found = outcome(lambda: self.model.chunks(prefix, size))
        used = found if isinstance(found, list) else []

        def expected() -> bytes:
            return b"".join(self.model.find(name) for name in self.model.chunks(prefix, size))

        self.read(lambda: self.store.read_consecutive_chunks(prefix, size=size), expected, *used)

    @precondition(lambda self: len(self.readers) < 3 and self.store.effective_options.journal_mode == "wal")
    @rule(pick=picks)
    def open_reader(self, pick: int) -> None:
        """It is kept, and what it reads does not change."""
        name = self.existing(pick)

        def open_it() -> int:
            self.readers.append((self.store.open(name), self.model.find(name)))
            return 1

        self.read(open_it, lambda: self.model.find(name) is not None, name)

    @precondition(lambda self: self.readers)
    @rule(pick=picks, offset=st.integers(0, 100), length=st.integers(0, 100))
    def read_from_kept(self, pick: int, offset: int, length: int) -> None:
        reader, data = self.readers[pick % len(self.readers)]
        reader.seek(offset)
        assert reader.read(length) == data[offset : offset + length]

    @precondition(lambda self: self.readers)
    @rule(pick=picks)
    def close_reader(self, pick: int) -> None:
        self.readers.pop(pick % len(self.readers))[0].close()

    @rule(prefix=prefixes, pick=picks)
    def list_names(self, prefix: str, pick: int) -> None:
        below, after = self.model.below(prefix), self.existing(pick)
        assert list(self.store.list(prefix)) == below
        assert list(self.store.list(prefix, after=after, limit=3)) == [n for n in below if n > after][:3]

    # --- names -------------------------------------------------------------------------------------------------------

    @rule(pick=picks, missing_ok=st.booleans())
    def delete(self, pick: int, missing_ok: bool) -> None:
        name = self.existing(pick)
        self.write(
            lambda: self.store.delete(name, missing_ok=missing_ok), self.model.delete, name, missing_ok
        )

    @rule(pick=picks, to=names, overwrite=st.booleans())
    def rename(self, pick: int, to: str, overwrite: bool) -> None:
        source = self.existing(pick)
        call = lambda: self.store.rename(source, to, overwrite=overwrite)  # noqa: E731
        self.write(call, self.model.rename, source, to, overwrite)

    @rule(prefix=prefixes)
    def delete_prefix(self, prefix: str) -> None:
        self.write(lambda: self.store.delete_prefix(prefix), self.model.delete_prefix, prefix)

    @rule(old=prefixes, new=st.one_of(prefixes, st.just("")))
    def rename_prefix(self, old: str, new: str) -> None:
        self.write(lambda: self.store.rename_prefix(old, new), self.model.rename_prefix, old, new)

    # --- chunks ------------------------------------------------------------------------------------------------------

    @rule(prefix=st.sampled_from(PREFIXES), data=st.binary(max_size=25), gap=st.sampled_from([0, 0, 0, 0, 3]))
    def append_chunk(self, prefix: str, data: bytes, gap: int) -> None:
        there = outcome(lambda: self.model.chunks(prefix, None))
        end = sum(len(self.model.find(name)) for name in there) if isinstance(there, list) else 0
        name = f"{prefix}{end + gap}"
        self.write(lambda: self.store.put(name, data), self.model.put, name, data)

    @rule(
        to=names,
        prefix=st.sampled_from(PREFIXES),
        size=st.one_of(st.none(), st.none(), st.integers(0, 60)),
        delete=st.booleans(),
    )
    def compose(self, to: str, prefix: str, size: int | None, delete: bool) -> None:
        call = lambda: self.store.compose(to, prefix, size=size, delete=delete)  # noqa: E731
        self.write(call, self.model.compose, to, prefix, size, delete)

    # --- the store ---------------------------------------------------------------------------------------------------

    @rule(
        actions=st.lists(batch_actions, min_size=1, max_size=4), breaks=st.sampled_from([False, False, True])
    )
    def batch(self, actions: list[tuple], breaks: bool) -> None:
        """All of it or nothing, whether one of the changes or the block itself fails."""

        def call() -> None:
            with self.store.batch() as batch:
                for verb, *arguments in actions:
                    getattr(batch, verb)(*arguments)
                if breaks:
                    raise BrokenSourceError

        defaults = {"delete": (False,), "rename": (False,), "compose": (None, True)}

        def effect() -> None:
            if breaks:
                raise BrokenSourceError
            for verb, *arguments in actions:
                getattr(self.model, verb)(*arguments, *defaults.get(verb, ()))

        self.write(call, effect)

    @rule(capacity=capacities)
    def set_capacity(self, capacity: int | None) -> None:
        self.write(lambda: setattr(self.store, "capacity", capacity), self.model.set_capacity, capacity)

    @rule(name=names)
    def put_one_byte_too_many(self, name: str) -> None:
        if self.model.capacity is not None:
            data = bytes(self.model.capacity + 1)
            assert (
                self.write(lambda: self.store.put(name, data), self.model.put, name, data)
                is BlobTooLargeError
            )

    @rule()
    def flush(self) -> None:
        self.write(self.store.flush, lambda: None)
        assert not self.model.noted

    @rule(repair=st.booleans())
    def check(self, repair: bool) -> None:
        assert self.store.check(repair=repair).problems == ()

    @rule()
    def vacuum(self) -> None:
        self.store.vacuum()
