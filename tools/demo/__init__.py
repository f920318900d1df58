"""``make demo``: a small function's life with the layer, on this machine, as a table and as a page with a picture.

From the outside in: ``run`` (the command), ``story`` (what happens), ``stage`` (where), ``facts`` and ``counts`` (what
was seen of it), ``page``, ``picture``, ``timeline`` and ``svg`` (how it is shown).
"""
