"""Two processes of one launch: the second dies before it connects, or is busy for a while after that.

``python connecting.py SECONDS``, run by test_processes: seconds for which it is busy; with 0 it dies.
"""

import functools
import sys
import time

from support.joint_predictions import in_two_processes

from securitynet_hub.core.errors import ProcessError
from securitynet_hub.engine import processes


def work(number, late):
    processes.CONNECT_SECONDS = 4.0 if late else 1.0
    if number == 1 and not late:
        return
    try:
        processes.init_processes()
        time.sleep(number * late)
        print(processes.broadcast("agreed"), flush=True)
    except ProcessError as error:
        print(error, flush=True)


if __name__ == "__main__":
    in_two_processes(functools.partial(work, late=float(sys.argv[1])))
