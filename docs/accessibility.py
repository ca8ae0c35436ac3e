"""Check pages with axe-core in Chromium: ``accessibility.py AXE.min.js PAGE.html ...``.

It looks at each page at 1,280 and 390 pixels, light and dark, all details unfolded, and for what is wider
than the window. The exit status is 1 if a fault is found. `make accessibility` fetches axe-core (MPL-2.0, not
part of this repository) from npm and looks at a report, a leaderboard, the explorer, the study and, where
`make docs` has built it, the site.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.browsers import running_browser

RUN = "async () => (await axe.run(document, {resultTypes: ['violations']})).violations"
OPEN = "() => document.querySelectorAll('details').forEach((part) => { part.open = true; })"
WIDER = """() => {
  const most = document.documentElement.clientWidth, wide = [];
  if (document.documentElement.scrollWidth <= most) return wide;
  for (const part of document.querySelectorAll("body *")) {
    if (part.getBoundingClientRect().right > most + 1 && ![...part.children].some((child) =>
        child.getBoundingClientRect().right > most + 1)) wide.push(part.tagName + "." + part.className);
  }
  return [document.documentElement.scrollWidth + " px", ...wide];
}"""
SHOWN = 5
"""Places of one fault that are printed."""


def faults(script: str, pages: list[Path]) -> list[str]:
    """Return a line for each fault, with the first places of it."""
    found = []
    with running_browser() as browser:
        for path in pages:
            for width in (1280, 390):
                for scheme in ("light", "dark"):
                    # A page's own policy forbids scripts from elsewhere; the checker is no part of it.
                    context = browser.new_context(
                        viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
                    )
                    page = context.new_page()
                    page.set_default_timeout(120_000)
                    page.goto(path.resolve().as_uri())
                    page.evaluate(OPEN)
                    if wide := page.evaluate(WIDER):
                        found.append(f"{path.name} {width} {scheme}: wider than the window: {wide[:SHOWN]}")
                    page.add_script_tag(content=script)
                    for fault in page.evaluate(RUN):
                        places = "; ".join(str(node["target"]) for node in fault["nodes"][:SHOWN])
                        where = f"{path.name} {width} {scheme}"
                        what = f"{fault['id']} ({fault['impact']}), {len(fault['nodes'])} times"
                        found.append(f"{where}: {what}: {fault['help']}: {places}")
                    context.close()
    return found


if __name__ == "__main__":
    axe, *places = sys.argv[1:]
    lines = faults(Path(axe).read_text(encoding="utf-8"), [Path(place) for place in places])
    print(*lines or ["no fault found"], sep="\n")
    sys.exit(bool(lines))
