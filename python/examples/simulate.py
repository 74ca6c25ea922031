"""An array in full: has pi estimated from a hundred seeds, no more than ten at a time. Start a broker and
examples/worker.py first; the worker may also come later."""

import sys

from jobyard import Client, JobyardError


def main() -> int:
    try:
        with Client() as client:
            arrays = [client.submit("estimate_pi", payload=b"10000", array=range(100), at_once=10).id()]
            if not client.wait(arrays[0]).completed:
                arrays.append(client.resubmit(arrays[0]))  # those that failed, once more
                client.wait(arrays[1]).result()
            jobs = [job.id for array in arrays for job in client.list(state="completed", array=array)]
            estimates = [float(client.wait(job).result()) for job in jobs]
            print(f"pi is about {sum(estimates) / len(estimates):.2f}")
    except JobyardError as wrong:
        print(wrong, file=sys.stderr)
        return 1
    return 0


sys.exit(main())
