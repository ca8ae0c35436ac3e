"""Two processes of one launch: the second dies before it connects, or is busy for a while after that.

``python connecting.py SECONDS``, run by test_processes: seconds for which it is busy; with 0 it dies.
"""

import os
import sys
import time

from support.joint_predictions import free_port

from securitynet_hub.core.errors import ProcessError
from securitynet_hub.engine import processes


def work(number, port, late):
    launch = {
        "RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2,
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
    }  # fmt: skip
    os.environ |= {name: str(value) for name, value in launch.items()}
    processes.CONNECT_SECONDS = 4.0 if late else 1.0
    if number == 1 and not late:
        return
    try:
        processes.init_processes()
        time.sleep(number * late)
        print(processes.broadcast("agreed"), flush=True)
    except ProcessError as error:
        print(error, flush=True)


def main(late):
    port, children = free_port(), []
    for number in range(2):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                work(number, port, late)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]


if __name__ == "__main__":
    main(float(sys.argv[1]))
