"""Training in this process: starting a worker takes longer than a run of a few thousand tokens.

That workers come to the same losses is a fact about `proxies.launch`, and about studies that were killed.
"""

import io

from proxies.launch import arrange


def launch_here(jobs, setup, *, workers=None, stack=32, on_event=None):
    """As `proxies.launch.launch` on a CPU, one run after another, without a process of its own."""
    from proxies.worker import Worker

    class Here(Worker):
        def emit(self, event, **more):
            if on_event:
                on_event({"event": event, **more})

    if jobs:
        setup.out.mkdir(parents=True, exist_ok=True)
        here = Here(setup, io.StringIO())
        for group in arrange(jobs, setup.recipe, gpu=False, workers=1, stack=1)[0]:
            here.work(group)
