"""Write the tables of attacks in the README and in docs from the literals of the attacks: ``make tables``."""

from pathlib import Path

from securitynet_hub.attacks.listing import fill_tables

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def main() -> None:
    """Rewrite every page whose tables have changed."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if (filled := fill_tables(text)) != text:
            page.write_text(filled, encoding="utf-8")
            print(f"written: {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
