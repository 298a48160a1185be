"""Pictures of every page of the dashboard, at 1400 x 900 and 800 x 1200, to look at before a change to them is done.

    just screenshots [RUN] [FOLDER]

The few small ones in docs/ are made of these.
"""

import sys
from pathlib import Path

from apps.dashboard.serving import Dashboard
from recorder.runs import find_run
from tests.browser import chromium

RUNS = Path("data/runs")
SIZES = ((1400, 900, "light"), (800, 1200, "dark"))
PAGES = {
    "overview": "Newest fills",
    "strategy": "Round trips",
    "decisions": "Trades until then",
    "market": "Tape quality passport",
    "time": "What had just happened",
    "compare": "First decision that differs",
    "sql": "Answer",
    "runs": "Delete",
}
"""Path of each page, and what is on it last."""
SETTLED_MS = 1500


def main() -> None:
    """Draw every page of a run in every size."""
    run = find_run(sys.argv[1] if len(sys.argv) > 1 else "latest", RUNS)
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else "data/screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    with Dashboard(run.resolve().parent, str(run.resolve()), port=0) as dashboard, chromium() as browser:
        dashboard.wait_until_it_listens()
        for width, height, scheme in SIZES:
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            for path, last in PAGES.items():
                page.goto(f"{dashboard.url}/{'' if path == 'overview' else path}")
                page.wait_for_function("text => document.body.innerText.includes(text)", arg=last)
                page.wait_for_timeout(SETTLED_MS)
                picture = folder / f"{path}-{width}x{height}.png"
                page.screenshot(path=picture)
                print(picture)
            page.close()


if __name__ == "__main__":
    main()
