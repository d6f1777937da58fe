"""Measure the Slicer module in the test host: set-up of the panel, click to landmarks, standstill, memory, cases.

The module's own panel and the real engine process. The 3D view is not drawn: the processor would do what the
application leaves to the graphics card.

    python Testing/benchmarks/module_benchmark.py [--predictions 50]
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing" / "host"), str(ROOT / "PALNetLandmarks"), str(ROOT)]

import psutil  # noqa: E402
import slicer_host  # noqa: E402


def resident(process: psutil.Process) -> float:
    """Return a process's resident memory in MB."""
    return float(process.memory_info().rss / 1e6)


def engine_of(process: psutil.Process) -> psutil.Process:
    """Find the engine's process."""
    found = [p for p in process.children(recursive=True) if "engine.worker" in " ".join(p.cmdline())]
    return found[0]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=int, default=50)
    parser.add_argument("--cases", type=int, default=300, help="cases of a batch opened one after the other")
    options = parser.parse_args()

    host = slicer_host.install()
    import slicer
    from slicer_host.user import BlockingMeter, wait_until

    from PALNetLandmarksLib.gui.review_desk import SceneDesk
    from PALNetLandmarksLib.gui.scene.removing import remove_whole
    from PALNetLandmarksLib.landmark_files import write_landmarks
    from PALNetLandmarksLib.resources import sample_scans

    own = psutil.Process()
    times = []
    for _ in range(3):
        module = host.load_module(ROOT / "PALNetLandmarks" / "PALNetLandmarks.py")
        started = time.perf_counter()
        representation = module.widgetRepresentation()
        times.append(time.perf_counter() - started)
        if len(times) < 3:
            host.unload_module(module)
    print(f"panel set-up: first {1000 * times[0]:.0f} ms (with imports), then {1000 * min(times[1:]):.0f} ms")

    widget: Any = representation.self()
    widget.enter()
    panels = widget.panels
    panels.environment.set_external_python(sys.executable)
    ui = {child.objectName: child for child in slicer.util.findChildren(representation)}
    ui["sampleButton"].click()
    label = ui["checkLabel"]
    wait_until(lambda: "Checking" not in label.text, 120, "the check")

    seconds, blocked, memory = [], [], []
    for number in range(options.predictions):
        panels.case.set_landmarks_node(None)
        meter = BlockingMeter()
        with meter:
            started = time.perf_counter()
            ui["placeButton"].click()
            wait_until(lambda: panels.case.landmarks_node is not None, 120, "the landmarks")
            seconds.append(time.perf_counter() - started)
        blocked.append(meter.longest)
        first = panels.case.landmarks()
        remove_whole(panels.case.landmarks_node)
        if number % 5 == 4:
            gc.collect()
            memory.append((resident(own), resident(engine_of(own))))
    print(
        f"click to landmarks, warm engine, {len(seconds)} times: median {np.median(seconds):.2f} s, "
        f"largest {max(seconds):.2f} s"
    )
    standstill = 1000 * np.array(blocked)
    print(
        f"standstill of the panel meanwhile: median {np.median(standstill):.0f} ms, longest {standstill.max():.0f} ms"
    )
    if len(memory) > 2:
        module_growth, engine_growth = (memory[-1][k] - memory[1][k] for k in (0, 1))
        print(
            f"memory growth from prediction 10 to {5 * len(memory)}: "
            f"module {module_growth:.0f} MB, engine {engine_growth:.0f} MB"
        )
    panels.environment.set_external_python("")

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "case.mrk.json"
        write_landmarks(file, first.in_coordinate_system("LPS"), case="case")
        desk = SceneDesk(panels.case, panels._choose_case, lambda: None)
        memory, times = [], []
        for number in range(options.cases):
            started = time.perf_counter()
            desk.open_case(str(sample_scans()[0]), str(file), f"case_{number:04d}", 1.0)
            desk.close_case()
            times.append(time.perf_counter() - started)
            if number % 50 == 49:
                gc.collect()
                memory.append(resident(own))
        if len(memory) > 1:
            print(
                f"{options.cases} cases opened and closed, median {1000 * np.median(times):.0f} ms each: "
                f"memory {memory[0]:.0f} MB after 50, {memory[-1]:.0f} MB at the end, "
                f"{slicer.mrmlScene.GetNumberOfNodes()} nodes in the scene"
            )
    host.unload_module(module)


if __name__ == "__main__":
    main()
