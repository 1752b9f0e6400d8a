"""Makes the small snapshots beside it, as Python's own pickle writes them.

The dictionary has the shape of torch.cuda.memory._snapshot() with stack frames,
an out-of-memory event (device_free in place of addr), expandable segments and
two devices, of which the first has no events.
"""

import gzip
import os
import pickle

FRAMES = [{"filename": "model.py", "line": 7, "name": "forward"}, {"filename": "train.py", "line": 300, "name": "<module>"}]
SIDE = 0x7F0000001230  # a second stream's handle
BASE = 0x7F_1234_0000_00


def event(action, addr, size, stream, time_us, **more):
    return {"action": action, "addr": addr, "size": size, "stream": stream, "time_us": time_us, "frames": FRAMES, **more}


def oom(size, free, time_us):
    return {"action": "oom", "device_free": free, "size": size, "stream": 0, "time_us": time_us, "frames": []}


EVENTS = [
    event("free_completed", BASE + 0x9000, 64, 0, 100),
    event("segment_alloc", BASE, 2 << 20, 0, 101),
    event("alloc", BASE, 1000, 0, 102, compile_context="N/A", user_metadata=""),
    event("segment_map", BASE + (4 << 20), 2 << 20, SIDE, 103),
    event("alloc", BASE + (4 << 20), 70_000, SIDE, 104, pool_id=(0, 0)),
    event("free_requested", BASE, 1000, 0, 105),
    oom(5 << 30, 12345, 106),
    event("free_completed", BASE, 1000, 0, 107),
    event("alloc", BASE, 500, 0, 108),
    event("segment_free", BASE + (8 << 20), 2 << 20, 0, 109),
    event("snapshot", 0, 70_500, 0, 110),
]
SNAPSHOT = {
    "segments": [{"device": 1, "address": BASE, "total_size": 2 << 20, "stream": 0, "segment_pool_id": (0, 0),
                  "blocks": [{"address": BASE, "size": 512, "requested_size": 500, "state": "active_allocated", "frames": FRAMES}]}],
    "device_traces": [[], EVENTS],
    "allocator_settings": {"garbage_collection_threshold": 0.8, "expandable_segments": True, "max_split_size": -1},
    "external_annotations": [],
}

if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    for protocol in (0, 2, 3, 4, 5):
        with open(os.path.join(here, f"protocol{protocol}.pickle"), "wb") as f:
            f.write(pickle.dumps(SNAPSHOT, protocol=protocol))
    with open(os.path.join(here, "protocol4.pickle.gz"), "wb") as f:
        f.write(gzip.compress(pickle.dumps(SNAPSHOT, protocol=4), mtime=0))
