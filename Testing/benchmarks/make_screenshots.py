"""Make the README's screenshots: the module's own panel beside Slicer's own 3D view, in the stand-in.

    python Testing/benchmarks/make_screenshots.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing" / "host"), str(ROOT / "PALNetLandmarks"), str(ROOT)]

import slicer_host  # noqa: E402
from conftest import MODULE, Panel  # noqa: E402


def main() -> None:
    """Work through the sample as the tutorial does, and take the pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "Resources" / "Screenshots"
    host = slicer_host.install()
    host.clear()
    from PIL import Image
    from slicer_host.user import click, click_view, process_events, save_screenshot, wait_until

    panel = Panel(host, MODULE)
    panels: Any = panel.widget.panels
    panels.environment.set_external_python(sys.executable)

    def picture(name: str, *sections: str) -> None:
        for section in ("scan", "landmarks", "review", "placement", "measurement", "export", "batch", "comparison"):
            panel.find(f"{section}Section").collapsed = section not in sections
        for _ in range(5):
            process_events()
        file = save_screenshot(folder / f"{name}.png", panel.area, panel.view)
        Image.open(file).convert("RGB").quantize(256, method=Image.Quantize.FASTOCTREE).save(file, optimize=True)

    click(panel.find("sampleButton"))
    wait_until(lambda: "Checking" not in panel.find("checkLabel").text, 120, "the check")
    click(panel.find("placeButton"))
    wait_until(lambda: not panel.find("progressRow").visible, 120, "the landmarks")
    truth = panels.case.landmarks()
    panels.case.select("Ch_R")
    picture("review", "scan", "landmarks", "review")
    panels._look_at_face()
    table = panel.find("measurementTable")
    panel.find("measurementSection").collapsed = False
    process_events()
    for row in range(table.rowCount):
        if table.item(row, 0) is not None and table.item(row, 0).text().startswith("Ex_R-Ex_L"):
            table.selectRow(row)
    panel.find("asymmetryButton").collapsed = False
    wait_until(lambda: panel.find("asymmetryChart").pixmap is not None, 5, "the chart")
    picture("measurements", "measurement")
    panels._look_at_face()
    panel.find("placementSection").collapsed = False
    process_events()
    click(panel.find("newSetButton"))
    for label in ("Tr", "G", "N"):
        click_view(panel.view, panels.case.surface().project(truth.position(label)[None])[0][0])
    picture("placement", "placement")
    panels.environment.set_external_python("")
    panel.close()


if __name__ == "__main__":
    main()
