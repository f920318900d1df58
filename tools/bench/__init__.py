"""``make bench``: what the layer costs, beside the function without it and beside its peers.

From the outside in: ``run`` (the command), ``cases`` (what is measured: ``costs``, ``waits``, ``peers``, ``layers``,
``curves``), ``compare`` and ``stage`` (contenders take turns in environments), ``goals`` and ``results`` (what figures
have to be, and how they are kept), ``chart`` (the picture). ``flush_traffic`` simulates the strategies of SUMO_FLUSH,
``dead_sumo`` measures what a source that is down adds to a response.
"""
