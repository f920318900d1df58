"""What the wrapper gives, where its door is closed, to the interpreter in place of the runtime's own script.

As short as can be, because a script has no bytecode: it is compiled at each cold start. sys.path is as it was
when it has run.
"""

import sys

sys.path.insert(0, __file__.rpartition("/sumo_internal/")[0])
from sumo_internal import go_on, launch

del sys.path[0]
launch.set_up()
go_on.main()
