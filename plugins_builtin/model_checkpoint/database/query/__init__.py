"""The query language: ``metrics.val_loss < 0.2 and tags.stage = 'dev' order by step desc``.

::

    text --parse (filter.lark)--> Query of small values (tree) --compile--> one SELECT with every value bound

A comparison with something that a checkpoint does not have is false, whatever the operator; ``not`` negates that to
true; ``is null`` asks for it. ``!=``, ``not in`` and ``not like`` hold for whatever is there and does not equal, so
also for NaN, which equals nothing. Numbers are compared as 64-bit floats. ``tags.x`` is the checkpoint's tag, else its
run's; ``damage`` is null for a checkpoint that is sound. A parameter is text, and a number too where it was one.
``like`` minds case, ``ilike`` does not mind that of ASCII letters; ``%`` stands for any text, ``_`` for one character.
Without ``order by``, the newest come first; what lacks the field of an ``order by`` comes last, in either direction.
"""
