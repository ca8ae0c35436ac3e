"""What benchmarks share: functions timed in turn, so that they see the same machine."""

import statistics
import time


def in_turn(*functions, rounds=7):
    """Return each function's median time of the processor, in seconds, after one warm-up.

    The processor's time is that of all threads together: another process on the machine does not count.
    """
    times = {function: [] for function in functions}
    for round_ in range(rounds + 1):
        for function in functions:
            started = time.process_time()
            function()
            if round_:
                times[function].append(time.process_time() - started)
    return [statistics.median(times[function]) for function in functions]


def tell(name, ours, peer, peer_name):
    """Print a benchmark's outcome as one line and return how many times faster ours is."""
    print(
        f"\n  {name}: {ours * 1e3:.1f} ms against {peer * 1e3:.1f} ms of {peer_name}: {peer / ours:.1f} times"
    )
    return peer / ours
