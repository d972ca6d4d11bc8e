"""Zero-redundancy storage: every distinct tensor lies in one pack, and a small manifest names what a checkpoint needs.

::

    store       the storage backend: write, read, verify, forget, collect
    pack        the file format: a safetensors file whose header carries the digests of its tensors
    pack_write  one new pack: hashing beside writing
    pack_read   tensors out of packs, checked
    sound       where the tensors of a checkpoint are, and whether they are whole
    catalog     finds, opens and remembers packs
    collect     deletes what no checkpoint needs
    marks       pins, tags, notes, aliases, damage
    segments    the data of a file that several threads write
    index       digest -> pack: a cache, rebuilt from the headers
    intents     who is at work: what the collector waits for
"""
