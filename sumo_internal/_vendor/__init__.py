"""``sumo_internal._vendor.urllib3``: the installed urllib3, loaded once more under a private name.

What tracing libraries and the function itself change in ``urllib3`` does not change this one, nor the other way round.
In the layer this file is another and the package lies beside it, as published.
"""

from importlib.util import find_spec
from os.path import dirname

_spec = find_spec("urllib3")
if _spec is not None and _spec.origin is not None:
    __path__ = [dirname(dirname(_spec.origin))]
